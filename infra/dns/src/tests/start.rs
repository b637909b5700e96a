//! From a configuration file to zones, and what is said when that fails.

use std::path::Path;
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use spillway_model::{Config, Plan};
use spillway_part::{Shutdown, start};

use super::support::{Ask, CONFIG, addresses};
use crate::{DnsError, Snapshot, Steering, ZoneError, ZoneErrors, run, zones};

#[test]
fn the_example_is_served() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/spillway.toml");
    let config = start::load_config(&file).unwrap();
    let plan = Plan::initial(config.sites.iter().map(|site| site.id.clone()), config.dns.ttl_secs);
    let zones = zones(&config).unwrap();
    let snapshot = Snapshot::new(Arc::new(zones), Steering::new(&config, &plan));
    let ask = Ask::new(&format!("{}.", config.service.host), RecordType::A);
    assert_eq!(addresses(&ask.answer(&snapshot).1), config.sites[0].vips);
    let ask = Ask::new(&format!("{}.", config.service.slb_host), RecordType::A);
    assert_eq!(addresses(&ask.answer(&snapshot).1), config.cloud.slb_addresses);
}

#[tokio::test]
async fn wrong_zones_are_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(Config::parse(CONFIG, folder.path()).unwrap());
    let file = folder.path().join("example.test.zone");
    let missing = run(config.clone(), Shutdown::new()).await.unwrap_err();
    let DnsError::Zone(ZoneErrors(missing)) = missing else { panic!("{missing}") };
    assert!(matches!(&missing[..], [ZoneError::Read { path, .. }] if *path == file));

    std::fs::write(&file, "example.test. 5 SOA a. b. 1 2 3 4 5\n@ NS a.\nx A 1.2.3\ny A 4\n")
        .unwrap();
    let wrong = run(config.clone(), Shutdown::new()).await.unwrap_err();
    let line = |n, what| format!("{}:{n}: `{what}` is not an IPv4 address", file.display());
    let expected = [line(3, "1.2.3"), line(4, "4")].join("\n");
    assert_eq!(wrong.to_string(), expected);

    std::fs::write(&file, "other.test. 5 SOA a. b. 1 2 3 4 5\n@ NS a.\n").unwrap();
    let elsewhere = run(config, Shutdown::new()).await.unwrap_err();
    let expected = "cannot steer code.example.test.: no zone file has the zone it is in";
    assert_eq!(elsewhere.to_string(), expected);
}
