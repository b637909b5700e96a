//! The decision against a small Lambda of its own, and everything against the stand-in of AWS.

mod decision;
mod stand_in;
mod world;

/// Texts in quotes that begin with the name of a service, as permissions do.
fn permissions(text: &str) -> std::collections::BTreeSet<&str> {
    let is = |text: &&str| ["lambda:", "cloudwatch:"].iter().any(|name| text.starts_with(name));
    text.split('"').filter(is).collect()
}

#[test]
fn what_is_called_is_granted_and_told() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let policy = read(&here.join("../../terraform/modules/public/deployer.tf"));
    let help = read(&here.join("src/shipping.rs"));
    let mut called = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(here.join("src/deploy")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let text = read(&path);
            let code = text.split("#[cfg(test)]").next().unwrap();
            called.extend(permissions(code).into_iter().map(str::to_owned));
        }
    }
    assert!(called.len() > 10, "{called:?}");
    for permission in called {
        assert!(permissions(&policy).contains(permission.as_str()), "{permission} is not granted");
        let operation = permission.split(':').nth(1).unwrap();
        assert!(help.contains(operation), "`deploy --help` does not tell {permission}");
    }
}
