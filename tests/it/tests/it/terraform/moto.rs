//! A whole site set from nothing to nothing: Terraform makes it in moto, the agent scales it, and
//! Terraform has nothing to change after that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_model::config::Config;
use spillway_model::plan::{Plan, signing_key};
use spillway_model::{Fleet, SignedPlan, SiteId, UnixMillis};
use spillway_test_support::{Block, Moto, Ran, Terraform, program, run};

use crate::beside;
use crate::packages::{cannot, repository};

/// A folder in a copy of the tree, and the server that it is applied against.
struct Stack {
    terraform: Terraform,
    moto: Moto,
    folder: &'static str,
    variables: Vec<String>,
}

impl Stack {
    /// `terraform/FOLDER`, not initialised yet; none where it cannot be tried.
    fn new(test: &str, folder: &'static str) -> Option<Self> {
        let mut missing = Terraform::missing();
        let moto = if missing.is_empty() { Moto::start() } else { None };
        if missing.is_empty() && moto.is_none() {
            missing.push("moto");
        }
        if cannot(test, &[], &missing) {
            return None;
        }
        let (terraform, moto) = (Terraform::copy(&repository()), moto?);
        // What moto gives back otherwise than it was written is left alone, in this copy.
        for folder in terraform.folders() {
            let folder = terraform.path(&folder);
            for file in fs::read_dir(folder.join("tests/moto")).into_iter().flatten() {
                let file = file.unwrap();
                fs::copy(file.path(), folder.join(file.file_name())).unwrap();
            }
        }
        Some(Self { terraform, moto, folder, variables: Vec::new() })
    }

    /// With its state in a bucket, and the variables of a file in `tests/moto`.
    fn with_state(test: &str, folder: &'static str, variables: &str) -> Option<Self> {
        let mut this = Self::new(test, folder)?;
        this.moto.rest("s3", "PUT", "/states", "");
        this.init(&["bucket=states", "region=eu-central-1", "key=stack.tfstate"]);
        let file = this.terraform.path("tests/moto").join(variables);
        this.variables = vec![format!("-var-file={}", file.display())];
        Some(this)
    }

    fn init(&self, backend: &[&str]) {
        let backend = backend.iter().map(|setting| format!("-backend-config={setting}"));
        let options: Vec<String> = backend.collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.terraform.init_with(self.folder, &options, &self.moto.environment());
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.terraform.run(self.folder, arguments, &self.moto.environment())
    }

    /// The same with the stack's variables.
    fn with_variables(&self, arguments: &[&str]) -> Ran {
        let variables: Vec<&str> = self.variables.iter().map(String::as_str).collect();
        self.run(&[arguments, &["-parallelism=40"], &variables].concat())
    }

    fn apply(&self) {
        let ran = self.with_variables(&["apply", "-auto-approve"]);
        assert!(ran.code == Some(0), "{ran}\n{}", self.moto.log());
    }

    fn destroy(&self) {
        let ran = self.with_variables(&["destroy", "-auto-approve"]);
        assert!(ran.code == Some(0), "{ran}\n{}", self.moto.log());
        assert_eq!(self.run(&["state", "list"]).good(), "");
    }

    /// What Terraform would change, if anything.
    fn changes(&self) -> Option<String> {
        let plan = self.with_variables(&["plan", "-detailed-exitcode"]);
        match plan.code {
            Some(0) => None,
            Some(2) => Some(plan.out),
            _ => panic!("{plan}\n{}", self.moto.log()),
        }
    }

    /// What a plan with other text in the variables' file is refused for.
    fn refused(&self, changes: &[(&str, &str)]) -> String {
        let file = self.variables[0].strip_prefix("-var-file=").unwrap();
        let mut text = fs::read_to_string(file).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}: {text}");
            text = text.replace(from, to);
        }
        let other = self.terraform.path("tests/moto/other.tfvars");
        fs::write(&other, text).unwrap();
        let plan = self.run(&["plan", &format!("-var-file={}", other.display())]);
        assert_eq!(plan.code, Some(1), "{plan}");
        // In one line, as it is broken wherever the line is full.
        plan.err.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn output(&self, name: &str) -> Value {
        serde_json::from_str(&self.run(&["output", "-json", name]).good()).unwrap()
    }
}

/// The programs of a site whose configuration Terraform wrote.
struct Site {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    _block: Block,
}

impl Site {
    /// The configuration is as it was written, but that its state is kept here, and no agent runs.
    fn new(config: &str, zones: &Value, agent: &str, stack: &Stack) -> Self {
        let (folder, block) = (tempfile::tempdir().unwrap(), Block::claim());
        let nobody = format!("{}:1", block.address(1));
        let moved = config.replace("\"/var/lib/spillway\"", "\"state\"").replace(agent, &nobody);
        assert_ne!(moved, config);
        write(&folder.path().join("spillway.toml"), moved.as_bytes());
        for (path, zone) in zones.as_object().unwrap() {
            write(&folder.path().join(path), zone.as_str().unwrap().as_bytes());
        }
        let environment = stack.moto.environment().to_vec();
        Self { folder, environment, _block: block }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Runs a program of the workspace on the configuration.
    fn run(&self, name: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program(name));
        command.arg("--config").arg(self.path("spillway.toml")).args(arguments);
        command.current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        run(&command, Duration::from_secs(240))
    }

    /// Keeps a signed plan that wants `fleet`, as `spillway-aws run` does of the agent's.
    fn keep_plan(&self, generation: u64, fleet: Fleet) {
        let key = fs::read_to_string(self.path("state/plan.key")).unwrap();
        let mut plan = Plan::initial([SiteId::new("east").unwrap()], 5);
        plan.generation = generation;
        plan.issued_at = UnixMillis(1_000);
        plan.fleet = fleet;
        let signed = SignedPlan::sign(&plan, &signing_key(&key).unwrap()).unwrap();
        write(&self.path("state/plans/aws.json"), &serde_json::to_vec(&signed).unwrap());
    }
}

fn write(file: &Path, bytes: &[u8]) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

/// What a round of `spillway-aws --json` says of the fleet, in its last line.
fn fleet(ran: Ran) -> BTreeMap<String, Value> {
    let out = ran.good();
    let told: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(told["settled"], true, "{out}");
    let seen = told["seen"].as_object().unwrap();
    seen.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Ships the functions that `./just functions` built, by steps, where it has built them.
fn deploy(site: &Site, moto: &Moto) {
    let built = program("spillway").ancestors().nth(2).unwrap().join("lambda");
    let missing = !built.join("arm64/one-code/bootstrap").exists();
    let wanted = if missing { &["built functions (`./just functions`)"][..] } else { &[] };
    if cannot("the deployment of functions to moto", &[], wanted) {
        return;
    }
    let deploy = |more: &[&str]| {
        let from = ["--json", "deploy", "--from", built.to_str().unwrap()];
        site.run("spillway", &[&from, more].concat())
    };
    let config = fs::read_to_string(site.path("spillway.toml")).unwrap();
    let config: toml::Table = toml::from_str(&config).unwrap();
    let functions = config["cloud"]["aws"]["functions"].as_table().unwrap();
    let functions: Vec<&str> = functions.values().filter_map(|f| f["name"].as_str()).collect();
    assert!(functions.len() >= 2, "{functions:?}");
    let live = || -> Vec<u32> {
        let version = |name: &&str| {
            let path = format!("/2015-03-31/functions/{name}/aliases/live");
            let alias: Value =
                serde_json::from_str(&moto.rest("lambda", "GET", &path, "")).unwrap();
            alias["FunctionVersion"].as_str().unwrap().parse().unwrap()
        };
        functions.iter().map(version).collect()
    };
    let before = live();
    let _ = deploy(&["--steps", "50,100", "--hold", "1s"]).good();
    let shipped = live();
    assert!(before.iter().zip(&shipped).all(|(before, after)| before < after), "{shipped:?}");
    let _ = deploy(&["--steps", "50,100", "--hold", "1s"]).good();
    assert_eq!(live(), shipped, "the same code is not shipped again");
}

/// In the bucket is what an instance starts from: packages, the key and a configuration that the program
/// finds good.
fn what_gateways_start_from(stack: &Stack, zones: &Value) {
    let storage = &stack.output("cloud")["storage"];
    let bucket = storage["artifacts_bucket"].as_str().unwrap();
    let keys: Vec<&str> =
        storage["artifacts"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert_eq!(keys, ["config/plan.pub", "config/spillway.toml", "packages/spillway.deb"]);
    let object = |key: &str| stack.moto.rest("s3", "GET", &format!("/{bucket}/{key}"), "");
    assert_eq!(object("config/plan.pub"), "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAC3NzaC1lZDI1NTE5AA\n");
    assert!(object("packages/spillway.deb").starts_with("No package"));

    let config = object("config/spillway.toml");
    let site = Site::new(&config, zones, "10.8.0.11:9100", stack);
    let _ = site.run("spillway", &["check"]).good();
    let config = Config::parse(&config, site.folder.path()).unwrap();
    let here = &config.sites[0];
    assert_eq!((here.id.as_str(), config.sites.len()), ("east-cloud", 1));
    let (gateway, service) = (&here.gateways[0], &here.services[0]);
    assert_eq!((gateway.name.as_str(), service.name.as_str()), ("cloud-gateway", "cloud-service"));
    assert_eq!(gateway.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(gateway.admin.to_string(), "0.0.0.0:9311");
    assert!(config.routes.iter().all(|route| service.groups.contains(&route.group)), "{service:?}");
    assert!(config.cloud.aws.is_none());
}

#[test]
fn what_agent_and_deployment_do_leaves_terraform_nothing_to_change() {
    let _beside = beside();
    let test = "a whole stack against moto";
    let Some(stack) = Stack::with_state(test, "stacks/one-site", "one-site.tfvars") else {
        return;
    };
    let misspelt = stack.refused(&[
        ("gateways = { max = 8", "gateways = { maxx = 8"),
        ("group = \"venues\", weight = 3", "group = \"venues\", wieght = 3"),
    ]);
    for path in ["`public.gateways.maxx`", "`site_set.routes.stats.wieght`"] {
        assert!(misspelt.contains(path), "{misspelt}");
    }
    let unserved = stack.refused(&[("\"scans\", \"venues\", \"notices\"", "\"scans\"")]);
    assert!(unserved.contains("no function serves venues."), "{unserved}");

    stack.apply();
    assert_eq!(stack.changes(), None, "after the first apply");

    let config = stack.run(&["output", "-raw", "config"]).good();
    let zones = stack.output("zone_files");
    let site = Site::new(&config, &zones, "10.8.0.11:9100", &stack);
    let _ = site.run("spillway", &["check"]).good();
    let _ = site.run("spillway", &["keygen"]).good();
    what_gateways_start_from(&stack, &zones);
    site.keep_plan(7, Fleet { gateways: 2, gateway_percent: 50, ..Fleet::default() });
    let seen = fleet(site.run("spillway-aws", &["--json", "apply", "--within", "120"]));
    assert_eq!((&seen["gateways_healthy"], &seen["gateway_percent"]), (&2.into(), &50.into()));
    deploy(&site, &stack.moto);
    assert_eq!(stack.changes(), None, "after the agent has scaled up and functions were shipped");

    let seen = fleet(site.run("spillway-aws", &["--json", "drain", "--within", "120"]));
    assert_eq!((&seen["gateways_launched"], &seen["gateway_percent"]), (&0.into(), &0.into()));
    // What is Terraform's, and not the agent's, is seen when it changes, and it alone.
    let cloud = stack.output("cloud");
    let group = cloud["gateways"]["asg_name"].as_str().unwrap();
    let bound = "Action=UpdateAutoScalingGroup&Version=2011-01-01&MaxSize=3";
    stack.moto.query("autoscaling", &format!("{bound}&AutoScalingGroupName={group}"));
    let changes = stack.changes().expect("a bound of the group was changed");
    assert!(changes.contains("0 to add, 1 to change, 0 to destroy"), "{changes}");
    assert!(changes.contains("max_size"), "{changes}");
    stack.destroy();
}

#[test]
fn two_sites_in_two_regions_are_made_and_unmade() {
    let _beside = beside();
    let test = "two sites against moto";
    let Some(stack) = Stack::with_state(test, "stacks/two-sites", "two-sites.tfvars") else {
        return;
    };
    stack.apply();
    assert_eq!(stack.changes(), None, "after the first apply");
    stack.destroy();
}

#[test]
fn the_bucket_of_the_state_keeps_states_and_locks_them() {
    let _beside = beside();
    let Some(mut stack) = Stack::new("the remote state against moto", "state") else { return };
    stack.init(&[]);
    stack.variables = vec!["-var=region=eu-central-1".to_owned()];
    stack.apply();
    assert_eq!(stack.changes(), None, "after the first apply");
    let backend = stack.terraform.path("backend.hcl");
    fs::write(&backend, stack.run(&["output", "-raw", "backend"]).good()).unwrap();

    // A stack as small as can be, with the backend of the real ones.
    let real = fs::read_to_string(stack.terraform.path("stacks/one-site/versions.tf")).unwrap();
    let begin = real.find("backend \"s3\"").unwrap();
    let end = begin + real[begin..].find('}').unwrap();
    let small = format!(
        "terraform {{\n{}}}\n}}\nresource \"terraform_data\" \"it\" {{}}\n",
        &real[begin..end]
    );
    stack.folder = "stacks/small";
    stack.variables.clear();
    write(&stack.terraform.path("stacks/small/main.tf"), small.as_bytes());
    stack.init(&[backend.to_str().unwrap(), "key=small.tfstate"]);
    stack.apply();
    let bucket = stack.terraform.path("backend.hcl");
    let bucket = fs::read_to_string(bucket).unwrap();
    let bucket = bucket.split('"').nth(1).unwrap();
    let lock = format!("/{bucket}/small.tfstate.tflock");
    stack.moto.rest(
        "s3",
        "PUT",
        &lock,
        r#"{"ID":"1","Operation":"OperationTypeApply","Who":"somebody"}"#,
    );
    let locked = stack.run(&["apply", "-auto-approve"]);
    assert_eq!(locked.code, Some(1), "{locked}");
    assert!(locked.err.contains("Who:       somebody"), "{locked}");
    stack.moto.rest("s3", "DELETE", &lock, "");
    stack.apply();
}
