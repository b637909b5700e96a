//! The Debian packages and their units, under a systemd of their own where there is root to be had.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use spillway_test_support::{Process, program};

use crate::{alone, beside};

/// Exposure that a unit may have at most, in tenths, as `systemd-analyze security` counts it: of 100.
const EXPOSURE_MAX: &str = "20";

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether a test has to be left out for want of programs, which it then says past the test runner.
pub(crate) fn cannot(test: &str, programs: &[&str], more: &[&str]) -> bool {
    let found = |program: &str| {
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        })
    };
    let missing = programs.iter().filter(|program| !found(program));
    let missing: Vec<_> = missing.chain(more).copied().collect();
    if !missing.is_empty() {
        let _ = writeln!(
            std::io::stderr(),
            "\nNOT TESTED: {test}, for want of {}.\n",
            missing.join(", ")
        );
    }
    !missing.is_empty()
}

/// The packages of the programs under test, in `folder`.
fn packages(folder: &Path, version: &str) {
    let programs = program("spillway");
    let built = Command::new(repository().join("agent/cli/debian/build"))
        .args([programs.parent().unwrap(), folder])
        .arg(version)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

#[test]
fn units_are_sound_and_hardened() {
    let _beside = beside();
    if cannot("packages and units", &["systemd-analyze", "dpkg-deb", "strip"], &[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (debs, root) = (folder.path().join("debs"), folder.path().join("root"));
    packages(&debs, "1.0");
    for deb in std::fs::read_dir(&debs).unwrap() {
        let unpacked =
            Command::new("dpkg-deb").arg("-x").arg(deb.unwrap().path()).arg(&root).status();
        assert!(unpacked.unwrap().success());
    }
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let example = root.join("usr/share/doc/spillway/examples/spillway.toml");
    let (good, said) = run(Command::new(root.join("usr/bin/spillway")).arg("check").arg(&example));
    assert!(good && said.contains("good"), "{said}");
    let units = std::fs::read_dir(root.join("usr/lib/systemd/system")).unwrap();
    let units = units.map(|unit| unit.unwrap().file_name().into_string().unwrap());
    let units: Vec<String> = units.filter(|unit| unit.ends_with(".service")).collect();
    assert!(units.len() >= 7, "{units:?}");
    for unit in units {
        let (hardened, said) =
            run(Command::new("systemd-analyze").arg(format!("--root={}", root.display())).args([
                "--no-pager",
                "--offline=true",
                "--threshold",
                EXPOSURE_MAX,
                "security",
                &unit,
            ]));
        assert!(hardened, "{unit}: {said}");
    }
    // What Terraform starts is what the packages bring.
    let read =
        |file: &str| std::fs::read_to_string(repository().join("terraform/modules").join(file));
    let (private, public) =
        (read("private/parts.tf").unwrap(), read("public/variables_parts.tf").unwrap());
    let started = private.split('"').chain(public.split('"'));
    let started: BTreeSet<&str> = started
        .filter(|word| word.starts_with("spillway-"))
        .map(|word| word.split_once('@').map_or(word, |(template, _)| &word[..=template.len()]))
        .collect();
    assert!(
        started.contains("spillway-dns") && started.contains("spillway-gateway@"),
        "{started:?}"
    );
    let aws = program("spillway").with_file_name("spillway-aws").exists();
    for unit in started.into_iter().filter(|unit| aws || *unit != "spillway-aws") {
        let file = root.join(format!("usr/lib/systemd/system/{unit}.service"));
        assert!(file.exists(), "{unit}");
    }
    // The generator makes a socket where the configuration says, and none where there is none.
    let text = std::fs::read_to_string(&example).unwrap();
    let generator = root.join("usr/lib/systemd/system-generators/spillway-dns-socket");
    let script = std::fs::read_to_string(generator).unwrap();
    let config = folder.path().join("spillway.toml");
    let script = script.replace("/etc/spillway/spillway.toml", &config.display().to_string());
    let made = folder.path().join("made");
    std::fs::create_dir(&made).unwrap();
    let generate = || run(Command::new("sh").args(["-c", &script, "sh"]).arg(&made)).0;
    assert!(generate());
    assert_eq!(std::fs::read_dir(&made).unwrap().count(), 0);
    std::fs::write(&config, &text).unwrap();
    assert!(generate());
    let socket = std::fs::read_to_string(made.join("spillway-dns.socket")).unwrap();
    for kind in ["Datagram", "Stream"] {
        assert!(socket.contains(&format!("\nListen{kind}=127.0.0.1:5300\n")), "{socket}");
    }
}

#[test]
fn a_host_installs_upgrades_and_keeps_serving() {
    let _alone = alone();
    let programs = ["unshare", "setpriv", "dpkg", "dpkg-deb", "strip", "dig", "ip", "systemctl"];
    let root = rustix::process::geteuid().is_root();
    let systemd = Path::new("/lib/systemd/systemd").exists();
    let mut namespaces = Command::new("unshare");
    namespaces.args(["--mount", "--pid", "--fork", "--net", "--cgroup"]);
    namespaces.args(["mount", "-t", "tmpfs", "none", "/mnt"]);
    let namespaces = namespaces.output().is_ok_and(|output| output.status.success());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let more = [
        (!mounts.contains(" cgroup2 ")).then_some("a mounted cgroup2"),
        (!root).then_some("root"),
        (!systemd).then_some("systemd"),
        (!namespaces).then_some("namespaces"),
    ];
    let more: Vec<&str> = more.into_iter().flatten().collect();
    if cannot("packages under systemd", &programs, &more) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (version, name) in [("1.0", "old"), ("1.1", "new")] {
        packages(&folder.path().join(name), version);
    }
    std::fs::create_dir(folder.path().join("host")).unwrap();
    let lab = repository().join("tests/it/packages");
    std::fs::copy(lab.join("story"), folder.path().join("story")).unwrap();
    let told = folder.path().join("told");
    std::fs::write(&told, "").unwrap();
    let mut host = Command::new(lab.join("host"));
    host.arg(folder.path());
    let mut host = Process::adopt(host);
    let ended = host.wait(Duration::from_secs(240));
    let told = std::fs::read_to_string(told).unwrap();
    assert!(told.lines().any(|line| line == "all held"), "{ended:?}: {told}");
}
