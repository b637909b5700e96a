//! Every call that is made is one that `terraform/modules/link` lets the agent make.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders of this crate that run with another identity than the agent's.
const OTHERS: [&str; 2] = ["deploy", "tests"];

/// Files below a folder with an ending, but for those of other identities.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            if !OTHERS.contains(&name) {
                found.extend(files(&path, ending));
            }
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Texts in quotes of the form `service:Operation`.
fn operations(text: &str) -> BTreeSet<String> {
    let is = |text: &&str| {
        let Some((service, operation)) = text.split_once(':') else { return false };
        !service.is_empty()
            && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && operation.starts_with(|c: char| c.is_ascii_uppercase())
            && operation.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    text.split('"').filter(is).map(str::to_owned).collect()
}

#[test]
fn what_is_called_is_granted() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let link = here.join("../../terraform/modules/link");
    let mut granted = BTreeSet::new();
    for file in files(&link, ".tf") {
        if file.file_name().unwrap().to_str().unwrap().starts_with("grants") {
            granted.extend(operations(&std::fs::read_to_string(file).unwrap()));
        }
    }
    let mut called = BTreeSet::new();
    for file in files(&here.join("src"), ".rs") {
        if OTHERS.iter().any(|name| file.ends_with(format!("{name}.rs"))) {
            continue;
        }
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        called.extend(operations(code));
    }
    assert!(called.len() > 30, "{called:?}");
    let missing: Vec<_> = called.difference(&granted).collect();
    assert!(missing.is_empty(), "terraform/modules/link/grants*.tf lacks {missing:?}");
}
