//! The cloud on AWS: that what is named can be meant, and that what belongs together is there.

use super::super::Config;
use super::super::aws::{Aws, AwsAlarmEndpoint, AwsGateways, AwsProgram};
use super::Faults;

/// Least capacity units that AWS reserves at an application load balancer.
const UNITS_MIN: u32 = 100;
/// Longest name of an alias on Lambda.
const ALIAS_CHARS_MAX: usize = 128;

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    let Some(aws) = &config.cloud.aws else { return };
    if !label(&aws.region) {
        let message = format!("`{}` is no region: write one as eu-central-1", aws.region);
        faults.at("cloud.aws.region", message);
    }
    if !label(&aws.name) {
        let message = format!(
            "`{}` is no name of a site set: write `name` of Terraform's module public",
            aws.name
        );
        faults.at("cloud.aws.name", message);
    }
    if let Some(gateways) = &aws.gateways {
        check_gateways(aws, gateways, faults);
    }
    arns_of_balancing(aws, faults);
    let arns = aws.rules.iter().enumerate();
    faults
        .unique(arns.map(|(i, rule)| (format!("cloud.aws.rule.{i}.arn"), &rule.arn)), |arn, _| {
            format!("rule `{arn}` stands twice")
        });
    for (name, function) in &aws.functions {
        let serves = config.cloud.functions.iter().any(|function| &function.name == name);
        let message = match function.program {
            AwsProgram::OneCode if !serves => format!("there is no [[cloud.function]] `{name}`"),
            AwsProgram::Alarm if serves => {
                format!("program alarm serves no groups: leave out [[cloud.function]] `{name}`")
            }
            AwsProgram::OneCode | AwsProgram::Alarm => continue,
        };
        let path = format!("cloud.aws.functions.{name}");
        faults.between(&path, &["cloud.function.*.name"], message);
    }
    check_functions(aws, faults);
    if let Some(url) = &aws.alarm_queue
        && !(url.starts_with("https://") || url.starts_with("http://"))
    {
        let message = format!("`{url}` is no URL: write output `queue.url` of module alarms");
        faults.at("cloud.aws.alarm_queue", message);
    } else if let Some(region) = aws.alarm_queue.as_deref().and_then(region_of_queue) {
        in_region(faults, "cloud.aws.alarm_queue", region, aws);
    }
    if let Some(endpoint) = &aws.alarm_endpoint {
        check_alarm_endpoint(endpoint, faults);
    }
    if let Some(capacity) = &aws.capacity
        && (1..UNITS_MIN).contains(&capacity.max_units)
    {
        let message = format!(
            "{} is too small: AWS reserves at least {UNITS_MIN}; write 0 for none",
            capacity.max_units
        );
        faults.at("cloud.aws.capacity.max_units", message);
    }
    if let Some(replicas) = &aws.replicas {
        for (key, max, of, there) in [
            ("cache_max", replicas.cache_max, "cache", aws.cache.is_some()),
            ("database_max", replicas.database_max, "database", aws.database.is_some()),
        ] {
            if max > 0 && !there {
                let message = format!("there is no cloud.aws.{of} to add replicas to");
                let path = format!("cloud.aws.replicas.{key}");
                faults.between(&path, &[&format!("cloud.aws.{of}")], message);
            }
        }
    }
    for (key, value) in [("cache", &aws.cache), ("database", &aws.database)] {
        if let Some(value) = value {
            named(faults, format!("cloud.aws.{key}"), value);
        }
    }
}

fn check_alarm_endpoint(endpoint: &AwsAlarmEndpoint, faults: &mut Faults<'_>) {
    const PATH: &str = "cloud.aws.alarm_endpoint";
    if endpoint.topics.is_empty() {
        let message = "name the topics that may deliver here: output `topics` of module alarms";
        faults.at(format!("{PATH}.topics"), message);
    }
    for (i, topic) in endpoint.topics.iter().enumerate() {
        // Of any region: what AWS estimates of spend it tells in one of them only.
        if !Arn::read(topic).is_some_and(|arn| arn.service == "sns" && !arn.resource.contains(':'))
        {
            let message =
                format!("`{topic}` is no ARN of a topic: write one as Terraform gives it out");
            faults.at(format!("{PATH}.topics.{i}"), message);
        }
    }
    if let Some(url) = &endpoint.stand_in
        && !url.starts_with("http://")
    {
        let message = format!("`{url}` is no http URL of a stand-in: leave it out for AWS itself");
        faults.at(format!("{PATH}.stand_in"), message);
    }
}

fn check_gateways(aws: &Aws, gateways: &AwsGateways, faults: &mut Faults<'_>) {
    let path = |key: &str| format!("cloud.aws.gateways.{key}");
    match (&gateways.autoscaling_group, &gateways.launch_template) {
        (Some(name), None) => named(faults, path("autoscaling_group"), name),
        (None, Some(id)) => named(faults, path("launch_template"), id),
        (Some(_), Some(_)) => faults.between(
            &path("launch_template"),
            &[&path("autoscaling_group")],
            "the Auto Scaling group starts gateways already: leave one of the two out",
        ),
        (None, None) => faults.between(
            "cloud.aws.gateways",
            &[&path("autoscaling_group"), &path("launch_template")],
            "name what starts gateways: autoscaling_group, or launch_template and subnets",
        ),
    }
    if gateways.launch_template.is_some() == gateways.subnets.is_empty() {
        faults.between(
            &path("subnets"),
            &[&path("launch_template")],
            "name subnets together with a launch template, and only then",
        );
    }
    for (i, subnet) in gateways.subnets.iter().enumerate() {
        named(faults, path(&format!("subnets.{i}")), subnet);
    }
    if aws.rules.is_empty() {
        let message =
            "no [[cloud.aws.rule]] would send requests to the gateways: name at least one";
        faults.between("cloud.aws.gateways", &["cloud.aws.rule"], message);
    }
}

/// What stands in `[cloud.aws.functions]`: each is a function of its own, and its alias can be one.
fn check_functions(aws: &Aws, faults: &mut Faults<'_>) {
    let path = |name: &str, key: &str| format!("cloud.aws.functions.{name}.{key}");
    for (name, function) in &aws.functions {
        named(faults, path(name, "name"), &function.name);
        let alias = &function.alias;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !((1..=ALIAS_CHARS_MAX).contains(&alias.len()) && alias.bytes().all(plain)) {
            let message = format!(
                "`{alias}` is no alias: write 1 to {ALIAS_CHARS_MAX} letters, digits, `-` and `_`"
            );
            faults.at(path(name, "alias"), message);
        } else if alias.bytes().all(|b| b.is_ascii_digit()) {
            let message =
                format!("`{alias}` is the number of a version: write the name of an alias");
            faults.at(path(name, "alias"), message);
        }
    }
    let names = aws.functions.iter().map(|(name, there)| (path(name, "name"), &there.name));
    faults.unique(names, |name, first| {
        format!("`{name}` is the function of {first} already; each is one of its own on Lambda")
    });
}

/// What the load balancer is made of: of the right kind each, in the region that is asked for it, and in
/// one account, since a rule forwards to nothing of another.
fn arns_of_balancing(aws: &Aws, faults: &mut Faults<'_>) {
    let mut all = Vec::new();
    for (i, rule) in aws.rules.iter().enumerate() {
        let path = |key: &str| format!("cloud.aws.rule.{i}.{key}");
        all.push((path("arn"), &rule.arn, RULE));
        all.push((path("target_group"), &rule.target_group, TARGET_GROUP));
    }
    if let Some(gateways) = &aws.gateways {
        let path = "cloud.aws.gateways.target_group".to_owned();
        all.push((path, &gateways.target_group, TARGET_GROUP));
    }
    if let Some(capacity) = &aws.capacity {
        let path = "cloud.aws.capacity.load_balancer".to_owned();
        all.push((path, &capacity.load_balancer, LOAD_BALANCER));
    }
    let mut first: Option<(String, &str)> = None;
    for (path, value, (what, begin)) in all {
        let Some(arn) = Arn::read(value) else {
            faults.at(path, format!("`{value}` is no ARN: write one as Terraform gives it out"));
            continue;
        };
        if arn.service != "elasticloadbalancing" || !arn.resource.starts_with(begin) {
            let message = format!("`{value}` is no ARN of {what}, which has `:{begin}` in it");
            faults.at(path, message);
            continue;
        }
        in_region(faults, &path, arn.region, aws);
        if faults.made_up(&path) {
            continue;
        }
        match &first {
            None => first = Some((path, arn.account)),
            Some((of, account)) if *account != arn.account => {
                let message = format!(
                    "account {} is not {account}, which {of} is in: a load balancer uses nothing of another account",
                    arn.account
                );
                faults.between(&path, &[of], message);
            }
            Some(_) => {}
        }
    }
}

/// What an ARN is of, and how its resource begins.
type Kind = (&'static str, &'static str);
const RULE: Kind = ("a rule of an application load balancer", "listener-rule/app/");
const TARGET_GROUP: Kind = ("a target group", "targetgroup/");
const LOAD_BALANCER: Kind = ("an application load balancer", "loadbalancer/app/");

/// The parts of an ARN that are looked at.
struct Arn<'a> {
    service: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    /// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
    fn read(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", _, service, region, account, resource] = parts[..] else { return None };
        let whole = !resource.is_empty() && !text.contains(char::is_whitespace);
        whole.then_some(Self { service, region, account, resource })
    }
}

/// The region that is in the URL of a queue of AWS itself.
fn region_of_queue(url: &str) -> Option<&str> {
    let host = url.split_once("://")?.1.split(['/', ':']).next()?;
    let (region, rest) = host.strip_prefix("sqs.")?.split_once('.')?;
    rest.starts_with("amazonaws.com").then_some(region)
}

/// Of lower-case letters, digits and dashes, as regions and site sets have their names.
fn label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(plain)
}

/// Every call goes to the one region that is configured. One that is none is told of already.
fn in_region(faults: &mut Faults<'_>, path: &str, region: &str, aws: &Aws) {
    if region != aws.region && label(&aws.region) {
        let message = format!(
            "region `{region}` is not cloud.aws.region, which is `{}`: write both of one region",
            aws.region
        );
        faults.between(path, &["cloud.aws.region"], message);
    }
}

fn named(faults: &mut Faults<'_>, path: String, value: &str) {
    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        faults.at(path, format!("`{value}` is no name: write it as Terraform gives it out"));
    }
}
