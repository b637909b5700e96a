//! The cloud on AWS: that what is named can be meant, and that what belongs together is there.

use super::super::Config;
use super::super::aws::{Aws, AwsGateways};
use super::Faults;

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    let Some(aws) = &config.cloud.aws else { return };
    let label = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
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
    for (i, rule) in aws.rules.iter().enumerate() {
        arn(faults, format!("cloud.aws.rule.{i}.arn"), &rule.arn);
        arn(faults, format!("cloud.aws.rule.{i}.target_group"), &rule.target_group);
    }
    let arns = aws.rules.iter().enumerate();
    faults
        .unique(arns.map(|(i, rule)| (format!("cloud.aws.rule.{i}.arn"), &rule.arn)), |arn, _| {
            format!("rule `{arn}` stands twice")
        });
    for name in aws.functions.keys() {
        if !config.cloud.functions.iter().any(|function| &function.name == name) {
            let message = format!("there is no [[cloud.function]] `{name}`");
            let path = format!("cloud.aws.functions.{name}");
            faults.between(&path, &["cloud.function.*.name"], message);
        }
    }
    for (name, function) in &aws.functions {
        for (key, value) in [("name", &function.name), ("alias", &function.alias)] {
            named(faults, format!("cloud.aws.functions.{name}.{key}"), value);
        }
    }
    if let Some(url) = &aws.alarm_queue
        && !(url.starts_with("https://") || url.starts_with("http://"))
    {
        let message = format!("`{url}` is no URL: write output `queue.url` of module alarms");
        faults.at("cloud.aws.alarm_queue", message);
    }
    for (key, value) in [
        ("cache", &aws.cache),
        ("database", &aws.database),
        ("artifacts_bucket", &aws.artifacts_bucket),
    ] {
        if let Some(value) = value {
            named(faults, format!("cloud.aws.{key}"), value);
        }
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
    arn(faults, path("target_group"), &gateways.target_group);
    if aws.rules.is_empty() {
        let message =
            "no [[cloud.aws.rule]] would send requests to the gateways: name at least one";
        faults.between("cloud.aws.gateways", &["cloud.aws.rule"], message);
    }
}

fn arn(faults: &mut Faults<'_>, path: String, value: &str) {
    if !value.starts_with("arn:") || value.contains(char::is_whitespace) {
        faults.at(path, format!("`{value}` is no ARN: write one as Terraform gives it out"));
    }
}

fn named(faults: &mut Faults<'_>, path: String, value: &str) {
    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        faults.at(path, format!("`{value}` is no name: write it as Terraform gives it out"));
    }
}
