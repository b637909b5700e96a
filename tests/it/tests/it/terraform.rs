//! Terraform: format, checks, each folder's own tests, and the private side on hosts that are namespaces.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_test_support::{Terraform, program, python_tool, run};

use crate::beside;
use crate::packages::{cannot, repository};

mod moto;

#[test]
fn it_is_formatted() {
    let _beside = beside();
    if cannot("the format of Terraform", &["terraform"], &[]) {
        return;
    }
    let terraform = Terraform::copy(&repository());
    let check = || terraform.run(".", &["fmt", "-check", "-recursive", "-diff"], &[]);
    let _ = check().good();
    // And what is not would be found.
    fs::write(terraform.path("modules/wrong.tf"), "locals {\n a = 1\n}\n").unwrap();
    assert_eq!(check().code, Some(3));
}

#[test]
fn every_folder_is_valid_and_holds_its_own_tests() {
    let _beside = beside();
    let missing = Terraform::missing();
    if cannot("Terraform's modules and stacks", &[], &missing) {
        return;
    }
    let mut terraform = Terraform::copy(&repository());
    let folders = terraform.folders();
    assert!(folders.len() >= 4, "{folders:?}");
    for folder in &folders {
        terraform.init(folder);
    }
    terraform.attach("modules/public");
    let mut wrong = String::new();
    for folder in &folders {
        for command in ["validate", "test"] {
            let ran = terraform.run(folder, &[command], &[]);
            let nothing = ran.out.contains("Success! 0 passed");
            if ran.code != Some(0) || nothing {
                wrong.push_str(&format!("{folder}: {ran}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // And what does not hold would be found: a default other than the module's tests expect.
    let file = terraform.path("modules/private/variables_site.tf");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("optional(number, 53)", "optional(number, 54)")).unwrap();
    let filter = "-filter=tests/rendered.tftest.hcl";
    let failed = terraform.run("modules/private", &["test", filter], &[]);
    assert_eq!(failed.code, Some(1), "{failed}");
}

#[test]
fn checkov_finds_nothing() {
    let _beside = beside();
    let checkov = python_tool("checkov");
    if cannot("Terraform's policies", &[], if checkov.is_none() { &["checkov"] } else { &[] }) {
        return;
    }
    let terraform = Terraform::copy(&repository());
    // What is wrong is found, and it alone.
    let wrong =
        "resource \"aws_ebs_volume\" \"wrong\" {\n  availability_zone = \"a\"\n  size = 1\n}\n";
    fs::create_dir(terraform.path("modules/wrong")).unwrap();
    fs::write(terraform.path("modules/wrong/main.tf"), wrong).unwrap();
    let mut command = Command::new(checkov.unwrap());
    command.current_dir(terraform.path("."));
    command.args(["--directory", ".", "--framework", "terraform", "--output", "json"]);
    command.args(["--skip-download", "--soft-fail"]);
    let found = run(&command, Duration::from_secs(300)).good();
    let found: Value = serde_json::from_str(&found).unwrap_or_else(|e| panic!("{e}: {found}"));
    let failed = found["results"]["failed_checks"].as_array().unwrap();
    let said: Vec<String> = failed
        .iter()
        .map(|check| format!("{} {} {}", check["check_id"], check["file_path"], check["resource"]))
        .collect();
    assert!(said.iter().any(|check| check.contains("wrong")), "{said:?}");
    assert!(said.iter().all(|check| check.contains("wrong")), "{said:#?}");
    assert_eq!(found["summary"]["parsing_errors"], 0, "{found}");
}

/// What `run.sh` ends with when something is missing here.
const MISSING: i32 = 77;

#[test]
fn the_private_side_is_installed_and_upgraded() {
    let _beside = beside();
    let test = "the private side on hosts";
    if cannot(test, &["terraform", "unshare", "nsenter", "ip", "dpkg-deb", "ssh-keygen"], &[]) {
        return;
    }
    let mut story = Command::new(repository().join("terraform/tests/private/run.sh"));
    story.env("SPILLWAY", program("spillway"));
    let story = run(&story, Duration::from_secs(480));
    if story.code == Some(MISSING) {
        let why = story.err.lines().rfind(|line| line.starts_with("!!"));
        cannot(test, &[], &[why.unwrap_or("what it does not say")]);
        return;
    }
    assert!(story.code == Some(0) && story.out.contains("== all held"), "{story}");
}
