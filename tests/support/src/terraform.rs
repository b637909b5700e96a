//! Terraform, with settings of its own, in a copy of the tree.

use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, on_path};
use crate::{Ran, run, wait_until};

const AWS: &str = "registry.terraform.io/hashicorp/aws";

/// A copy of `terraform/` and `examples/`, and how Terraform is run in it.
#[derive(Debug)]
pub struct Terraform {
    // The process before its folder.
    attached: Option<(Process, String)>,
    folder: TempDir,
}

impl Terraform {
    /// What is missing of Terraform and its AWS provider here, for a person to read.
    #[must_use]
    pub fn missing() -> Vec<&'static str> {
        let provider = on_path("terraform") && mirror().is_none() && !registry_answers();
        let without = "Terraform's AWS provider (SPILLWAY_TF_PLUGINS names a folder that has it)";
        let lacks = [(!on_path("terraform"), "terraform"), (provider, without)];
        lacks.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect()
    }

    /// Copies the tree of `repository`.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn copy(repository: &Path) -> Self {
        let Ok(folder) = TempDir::with_prefix("spillway-") else { panic!("no temporary folder") };
        let made = ["terraform", "examples"]
            .iter()
            .try_for_each(|part| copy(&repository.join(part), &folder.path().join(part)))
            .and_then(|()| settings(folder.path()));
        if let Err(e) = made {
            panic!("cannot copy {} to {}: {e}", repository.display(), folder.path().display());
        }
        Self { attached: None, folder }
    }

    /// A folder or file of the copy, by its path in `terraform/`.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("terraform").join(below)
    }

    /// Folders that stand by themselves: modules, stacks, and the one of the remote state.
    #[must_use]
    pub fn folders(&self) -> Vec<String> {
        let below = |parent: &str| -> Vec<String> {
            let entries = fs::read_dir(self.path(parent)).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names.map(|name| format!("{parent}/{name}")).collect()
        };
        let mut all = [below("modules"), below("stacks"), vec!["state".to_owned()]].concat();
        all.retain(|folder| self.path(folder).join("versions.tf").exists());
        all.sort();
        all
    }

    /// Runs a command in a folder of the copy.
    #[must_use]
    pub fn run(&self, folder: &str, arguments: &[&str], environment: &[(&str, String)]) -> Ran {
        let mut command = Command::new("terraform");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            // What whoever runs the test set for work of their own.
            if ["TF_", "AWS_"].iter().any(|start| name.starts_with(start)) {
                command.env_remove(&*name);
            }
        }
        command.current_dir(self.path(folder)).args(arguments).arg("-no-color");
        command.env("TF_CLI_CONFIG_FILE", self.folder.path().join("terraformrc"));
        command.env("TF_IN_AUTOMATION", "true").env("TF_INPUT", "false");
        // It makes more garbage than it holds, and there are cores to spare for nothing.
        command.env("GOGC", "400");
        // What fails is told at once.
        command.env("AWS_MAX_ATTEMPTS", "3");
        if let Some((_, reattach)) = &self.attached {
            command.env("TF_REATTACH_PROVIDERS", reattach);
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        run(&command, AT_MOST)
    }

    /// Gets a folder's modules and providers.
    ///
    /// # Panics
    /// With what Terraform said, when it fails.
    pub fn init(&self, folder: &str) {
        self.init_with(folder, &["-backend=false"], &[]);
    }

    /// The same with options, such as where its state is.
    ///
    /// # Panics
    /// With what Terraform said, when it fails.
    pub fn init_with(&self, folder: &str, options: &[&str], environment: &[(&str, String)]) {
        // Terraform's cache of what the registry gave is not for several at once.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.run(folder, &[&["init"], options].concat(), environment).good();
    }

    /// Starts the AWS provider that `folder` was initialised with, once for all later commands, instead
    /// of once or more for each. For what calls no API: it keeps one configuration only.
    ///
    /// # Panics
    /// When it does not start.
    pub fn attach(&mut self, folder: &str) {
        let mut provider = self.path(folder).join(".terraform/providers").join(AWS);
        while provider.is_dir() {
            let entries = fs::read_dir(&provider).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.retain(|path| path.is_dir() || path.to_string_lossy().contains("provider-aws"));
            match paths.pop() {
                Some(path) => provider = path,
                None => panic!("{} has no AWS provider", provider.display()),
            }
        }
        let log = self.folder.path().join("provider.log");
        let process = Process::logged(Command::new(provider).arg("-debug"), &log);
        let mut reattach = String::new();
        wait_until("the provider says where it is", Duration::from_secs(60), || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let found =
                said.split_once("TF_REATTACH_PROVIDERS='").and_then(|(_, r)| r.split_once("'\n"));
            reattach = found.map(|(found, _)| found.to_owned()).unwrap_or_default();
            !reattach.is_empty()
        });
        self.attached = Some((process, reattach));
    }
}

/// No command takes nearly this long.
const AT_MOST: Duration = Duration::from_secs(420);

/// Terraform's own configuration, instead of whatever a person has.
fn settings(folder: &Path) -> io::Result<()> {
    let plugins = match mirror() {
        Some(mirror) => format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
            mirror.display()
        ),
        None => {
            // What the registry gave is kept for the next time.
            let cache = crate::run::tools().unwrap_or_else(|| folder.to_owned()).join("terraform");
            fs::create_dir_all(&cache)?;
            format!("plugin_cache_dir = \"{}\"\n", cache.display())
        }
    };
    fs::write(folder.join("terraformrc"), format!("disable_checkpoint = true\n{plugins}"))
}

/// A folder that has the AWS provider as a mirror has it: the one that is named, else the usual ones.
fn mirror() -> Option<PathBuf> {
    let named = std::env::var_os("SPILLWAY_TF_PLUGINS").filter(|named| !named.is_empty());
    if let Some(named) = named {
        return Some(named.into());
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let of_home = [".terraform.d/plugins", ".local/share/terraform/plugins"];
    let of_home = of_home.iter().filter_map(|path| Some(home.as_ref()?.join(path)));
    let usual = ["/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins", "/opt"];
    let usual = of_home.chain(usual.iter().map(PathBuf::from));
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    // /opt holds more than this: /opt/SOMETHING has it, or /opt/SOMETHING/SOMETHING.
    let usual = usual.flat_map(|folder| {
        let one: Vec<PathBuf> = below(&folder);
        let two: Vec<PathBuf> = one.iter().flat_map(|folder| below(folder)).collect();
        std::iter::once(folder).chain(one).chain(two)
    });
    usual.into_iter().find(|folder| folder.join(AWS).is_dir())
}

fn registry_answers() -> bool {
    let addresses = ("registry.terraform.io", 443).to_socket_addrs();
    let reached = |address| TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok();
    addresses.is_ok_and(|mut addresses| addresses.any(reached))
}

/// A tree without what Terraform wrote into it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let written = name == ".terraform" || name.to_string_lossy().contains(".tfstate");
        if written {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(name))?;
        } else {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
