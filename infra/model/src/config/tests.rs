use std::path::Path;

use super::*;

const EXAMPLE: &str = include_str!("../../../../examples/spillway.toml");

fn problems(text: &str) -> Vec<String> {
    Config::parse(text, Path::new("."))
        .expect_err("mistakes are found")
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_example_is_valid() {
    let config = Config::parse(EXAMPLE, Path::new("examples")).unwrap();
    assert_eq!(config.sites[0].gateways.len(), 2);
    assert_eq!(config.state_path("plan.json"), Path::new("examples/../var/plan.json"));
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let text = EXAMPLE
        .replace("port = 8080                       #", "port = \"http\" #")
        .replace("bits_per_sec = 6_000_000", "bits_per_sec = -5")
        .replace("weighted_qps = 1500", "wieghted_qps = 1500")
        .replace("burst_per_10s = 1000 ", "burst_per_10s = 1.5 ")
        .replace("id = \"notices-cached\"", "id = \"Notices!\"");
    let found = problems(&text).join("\n");
    for expected in [
        "7:8: invalid type: string \"http\", expected u16",
        "integer `-5`, expected u64",
        "unknown field `wieghted_qps`",
        "floating point `1.5`, expected u64",
        "`Notices!` is not a name",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
}

#[test]
fn what_fits_nothing_else_is_reported_together() {
    let text = EXAMPLE
        .replace("slb_host = \"cloud.example.test\"", "slb_host = \"code.example.test\"")
        .replace("sheds = [\"register\"", "sheds = [\"nothing\"")
        .replace("admin = \"127.0.0.1:9312\"", "admin = \"127.0.0.1:9311\"")
        .replace("name = \"east-gw-2\"", "name = \"east-gw-1\"")
        .replace("p95_ms = 400", "p95_ms = nan");
    let found = problems(&text);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].starts_with("6:12: must differ"), "{found:#?}");
    assert!(found[3].contains("9311 is taken by site.0.gateway.0.admin"), "{found:#?}");
}

#[test]
fn a_syntax_error_is_reported_alone() {
    let found = problems(&EXAMPLE.replace("[service]", "[service"));
    assert!(found[0].starts_with("4:"), "{found:#?}");
}

#[test]
fn a_missing_table_and_an_empty_file() {
    let found = problems("");
    assert!(found[0].contains("missing field `service`"), "{found:#?}");
    let start = EXAMPLE.find("[store]").unwrap();
    let end = EXAMPLE.find("# One private data centre").unwrap();
    let found = problems(&format!("{}{}", &EXAMPLE[..start], &EXAMPLE[end..]));
    assert!(found[0].contains("missing field `store`"), "{found:#?}");
}

proptest::proptest! {
    /// A file cut or changed anywhere is read or refused, never a panic or an endless loop.
    #[test]
    fn no_text_breaks_the_reader(at in 0..EXAMPLE.len(), byte in 32u8..127, cut: bool) {
        let mut text = EXAMPLE.as_bytes().to_vec();
        if cut { text.truncate(at); } else { text[at] = byte; }
        if let Err(problems) = Config::parse(&String::from_utf8_lossy(&text), Path::new(".")) {
            proptest::prop_assert!(!problems.0.is_empty());
        }
    }
}

#[test]
fn edits_replace_values_at_paths() {
    let edits = [
        ("site.0.uplink.bits_per_sec", toml::Value::from(9_000_000)),
        ("cloud.local.burst_per_10s", toml::Value::from(2)),
        ("plan.lease_secs", toml::Value::from(7)),
    ];
    let config = Config::parse(&edited(EXAMPLE, &edits).unwrap(), Path::new(".")).unwrap();
    assert_eq!(config.sites[0].uplink.bits_per_sec, 9_000_000);
    assert_eq!(config.cloud.local.unwrap().burst_per_10s, 2);
    assert_eq!(config.plan.lease_secs, 7);
    let nowhere = [("site.5.uplink.bits_per_sec", toml::Value::from(1))];
    assert!(matches!(edited(EXAMPLE, &nowhere), Err(EditError::NoSuchPlace(_))));
}

#[test]
fn names_stay_in_their_folder_and_numbers_in_reason() {
    let text = EXAMPLE
        .replace("name = \"east-gw-1\"", "name = \"../../x\"")
        .replace("name = \"east-gw-2\"", "name = \"dns\"")
        .replace("cold_start_ms = 150 ", "cold_start_ms = 9223372036854775807 ")
        .replace("ttl_secs = 5 ", "ttl_secs = 4294967295 ");
    let found = problems(&text).join("\n");
    for expected in [
        "`../../x` is not a name",
        "`dns` is the name of another part",
        "9223372036854775807 is too large",
        "4294967295 is too large",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
}

#[test]
fn gateways_believe_the_balancer_and_nobody_else() {
    let balancer = |line: &str| {
        let text = EXAMPLE.replace("# sources = [\"127.0.0.1\"]", line);
        Config::parse(&text, Path::new(".")).unwrap().sites[0].balancer.clone()
    };
    let believed = |balancer: &Balancer, peer: &str| balancer.believed(peer.parse().unwrap());
    let by_default = balancer("");
    assert!(believed(&by_default, "127.0.0.1") && believed(&by_default, "::ffff:127.0.0.1"));
    assert!(!believed(&by_default, "127.0.1.1") && !believed(&by_default, "10.0.0.1"));
    let named = balancer("sources = [\"10.0.0.7\", \"2001:db8::7\"]");
    assert!(believed(&named, "10.0.0.7") && believed(&named, "2001:db8::7"));
    assert!(!believed(&named, "127.0.0.1") && !believed(&named, "10.0.0.8"));

    // Nothing can be concluded from an admin address that the gateways never see.
    for (from, to) in [
        ("admin = \"127.0.0.1:9301\"", "admin = \"0.0.0.0:9301\""),
        ("listen = \"127.0.1.11:8080\"", "listen = \"10.0.0.11:8080\""),
    ] {
        let found = problems(&EXAMPLE.replace(from, to)).join("\n");
        assert!(found.contains("sources = [\"IP\"]"), "{found}");
    }
}
