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
        "7:8: invalid type: string \"http\", expected a whole number from 0 to 65535",
        "integer `-5`, expected a whole number, 0 or more",
        "unknown field `wieghted_qps`",
        "floating point `1.5`, expected a whole number, 0 or more",
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
    assert!(found[0].starts_with("6:12: `code.example.test` must differ"), "{found:#?}");
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
    let tables = ["agent", "cloud", "dns", "plan", "route", "service", "site", "store"];
    let expected: Vec<_> = tables.iter().map(|t| format!("1:1: missing field `{t}`")).collect();
    assert_eq!(found, expected);
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
fn what_the_forecast_is_told_is_read_and_bad_dates_are_named() {
    let with = |line: &str| EXAMPLE.replace("# journal_hours = 72", line);
    let good = "holidays = [\"2026-12-25\", \"2027-01-01\"]\nutc_offset = \"+01:00\"\nforecast_quantile = 0.9";
    let agent = Config::parse(&with(good), Path::new(".")).unwrap().agent;
    let days: Vec<u64> = agent.holidays.iter().map(|date| date.day()).collect();
    assert_eq!((days, agent.forecast_quantile), (vec![20_812, 20_819], 0.9));
    assert_eq!(agent.utc_offset.local(crate::UnixMillis(5)).0, 3_600_005);
    for (line, said) in [
        ("holidays = [\"2026-02-29\"]", "`2026-02-29` is no date such as 2026-12-25"),
        ("utc_offset = \"Europe/Berlin\"", "`Europe/Berlin` is no offset from UTC such as +01:00"),
        ("forecast_quantile = 1.0", "1 must be from 0.5 to 0.999"),
        ("forecast_quantile = nan", "NaN must be from 0.5 to 0.999"),
    ] {
        let found = problems(&with(line));
        assert!(found.len() == 1 && found[0].contains(said), "{found:#?}");
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
        let text = EXAMPLE.replace(from, to);
        let found = problems(&text).join("\n");
        assert!(found.contains("sources = [\"IP\"]"), "{found}");
        // Behind the cloud's load balancer nobody is believed by a PROXY header.
        let text = text.replace("# forwards = false", "forwards = true");
        let config = Config::parse(&text, Path::new(".")).unwrap();
        assert!(!believed(&config.sites[0].balancer, "127.0.0.1"));
        let found = problems(&text.replace("# sources", "sources")).join("\n");
        assert!(found.contains("write one or the other"), "{found}");
    }
}

/// Mistakes at one line: text to find and to put there, and what is said of it.
fn told(cases: &[(&str, &str, &str)]) {
    for (from, to, expected) in cases {
        assert_eq!(EXAMPLE.matches(from).count(), 1, "{from}");
        let found = problems(&EXAMPLE.replace(from, to));
        let line = EXAMPLE[..EXAMPLE.find(from).unwrap()].matches('\n').count() + 1;
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert!(found[0].starts_with(&format!("{line}:")), "line {line}: {found:#?}");
        assert!(found[0].contains(expected), "{expected}: {found:#?}");
    }
}

#[test]
fn routes_that_the_gateway_would_refuse_are_found() {
    let path = "path = \"/v1/users/{user}/qr\"";
    told(&[
        (path, "path = \"v1/qr\"", "`v1/qr` cannot be routed: a path starts with `/`"),
        (path, "path = \"/v1/{user/qr\"", "as {name}, in one pair of braces"),
        (path, "path = \"/v1/{}/qr\"", "as {name}, in one pair of braces"),
        (path, "path = \"/v1/{a}{b}\"", "one {parameter}"),
        (path, "path = \"/v1/{*rest}/qr\"", "{*rest} stands at the end only"),
        (path, "path = \"/v1/qr?x=1\"", "no query"),
        (path, "path = \"/v1/users/{user}/code\"", "is route `code` already"),
        (path, "path = \"/v1/users/{id}/code\"", "from `/v1/users/{user}/code` of route `code`"),
        ("id = \"qr\"", "id = \"code\"", "route `code` stands twice"),
        (
            "method = \"POST\"\npath = \"/v1/scans\"",
            "method = \"\"\npath = \"/v1/scans\"",
            "`` is no method",
        ),
    ]);
    let other = "\n[[route]]\nid = \"other\"\nhost = \"b.test:80\"\npath = \"/v1/notices\"\ngroup = \"codes\"\n";
    let found = problems(&format!("{EXAMPLE}{other}"));
    assert!(found[0].contains("`b.test:80` is not a host name"), "{found:#?}");
    let good = format!("{EXAMPLE}{}", other.replace(":80", ""));
    assert!(Config::parse(&good, Path::new(".")).is_ok(), "a host of its own hides nothing");
}

#[test]
fn doors_that_clients_would_not_find_open_are_found() {
    told(&[
        (
            "listen = \"127.0.1.1:8080\"",
            "listen = \"127.0.1.1:8081\"",
            "`127.0.1.1:8081` is not on port 8080",
        ),
        (
            "listen = \"127.0.2.1:8080\"",
            "listen = \"127.0.2.1:80\"",
            "`127.0.2.1:80` is not on port 8080",
        ),
        (
            "vips = [\"127.0.1.1\"]",
            "vips = [\"127.0.1.1\", \"127.0.1.2\"]",
            "takes nothing for `127.0.1.2`",
        ),
        (
            "slb_addresses = [\"127.0.2.1\"]",
            "slb_addresses = [\"127.0.2.1\", \"127.0.1.1\"]",
            "`127.0.1.1` is a VIP of site `east`",
        ),
        (
            "slb_addresses = [\"127.0.2.1\"]",
            "slb_addresses = [\"127.0.2.1\", \"0.0.0.0\"]",
            "cannot connect to `0.0.0.0`",
        ),
        (
            "listen = \"127.0.2.1:8080\"",
            "listen = \"127.0.2.9:8080\"",
            "`127.0.2.9` is none of cloud.slb_addresses",
        ),
        ("listen = \"127.0.0.1:9100\"", "listen = \"9100\"", "`9100` is not an address and a port"),
        (
            "vips = [\"127.0.1.1\"]",
            "vips = [\"127.0.1.1\", \"east\"]",
            "`east` is not an IP address",
        ),
    ]);
    let anywhere = EXAMPLE
        .replace("listen = \"127.0.1.1:8080\"", "listen = \"[::]:8080\"")
        .replace("listen = \"127.0.2.1:8080\"", "listen = \"0.0.0.0:8080\"");
    assert!(Config::parse(&anywhere, Path::new(".")).is_ok());
}

#[test]
fn stores_that_no_driver_would_open_are_found_without_their_passwords() {
    let (shards, cache) = ("\"sqlite:one-code.db\"", "cache = \"process\"");
    told(&[
        (shards, "\"sqlite:\"", "`sqlite:` is not the path of a file"),
        (shards, "\"mysql://a:b@h/d\"", "`mysql://a:…@h/d` is of no known kind: write sqlite:FILE"),
        (shards, "\"postgres:///codes\"", "`postgres:///codes` names no host"),
        (shards, "\"postgres://u:pw@h\"", "`postgres://u:…@h` names no database"),
        (shards, "\"postgres://h:x/d\"", "has no port"),
        (shards, "\"sqlite:a.db\", \"sqlite:a.db\"", "`sqlite:a.db` stands twice"),
        (
            cache,
            "cache = \"redis://\"",
            "`redis://` names no host: write \"process\" or redis://HOST:PORT",
        ),
        (cache, "cache = \"redis:/h:1\"", "`redis:/h:1` is of no known kind"),
        (cache, "cache = \"redis://h:70000\"", "has no port"),
        (cache, "cache = \"redis://h:1/x\"", "no number for its database"),
    ]);
    for good in
        ["postgres://u:p@[::1]:5432/d", "postgres:///d?host=/run/postgresql", "postgresql://h/d"]
    {
        let text = EXAMPLE.replace("sqlite:one-code.db", good);
        assert!(Config::parse(&text, Path::new(".")).is_ok(), "{good}");
    }
    for good in ["redis://h", "redis://:p@[::1]:6379/0", "rediss://cache.example.test:6379"] {
        let text = EXAMPLE.replace("\"process\"", &format!("\"{good}\""));
        assert!(Config::parse(&text, Path::new(".")).is_ok(), "{good}");
    }
}

#[test]
fn replicas_go_with_shards_on_servers() {
    let none = "# replicas = []";
    assert!(Config::parse(EXAMPLE, Path::new(".")).unwrap().store.replicas.is_empty());
    let text = EXAMPLE.replace("\"sqlite:one-code.db\"", "\"postgres://a/d\", \"postgres://b/d\"");
    let parsed = |replicas: &str| {
        let text = text.replace(none, &format!("replicas = [{replicas}]"));
        Config::parse(&text, Path::new(".")).map(|config| config.store.replicas)
    };
    assert_eq!(parsed("\"\", \"postgres://u:p@c/d\"").unwrap(), ["", "postgres://u:p@c/d"]);
    for (replicas, says) in [
        ("\"\"", "there are 1 replicas for 2 shards"),
        ("\"\", \"postgres://a/d\"", "`postgres://a/d` stands twice"),
        ("\"redis://u:pw@c\", \"\"", "`redis://u:…@c` is of no known kind: write postgres://"),
        ("\"sqlite:a.db\", \"\"", "`sqlite:a.db` is of a shard that is a file, or is one"),
        ("\"postgres://c\", \"\"", "names no database"),
    ] {
        let told = parsed(replicas).unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
    told(&[(none, "replicas = [\"postgres://c/d\"]", "is of a shard that is a file, or is one")]);
}

#[test]
fn mirrors_of_the_plan_are_redis_servers() {
    let none = "# mirrors = [\"redis://127.0.0.1:6379\"]";
    assert!(Config::parse(EXAMPLE, Path::new(".")).unwrap().plan.mirrors.is_empty());
    let two = EXAMPLE.replace(none, "mirrors = [\"redis://a:1\", \"rediss://a:1\"]");
    let mirrors = Config::parse(&two, Path::new(".")).unwrap().plan.mirrors;
    assert_eq!(mirrors, ["redis://a:1", "rediss://a:1"]);
    let nine: String = (0..9).map(|i| format!("\"redis://h{i}\",")).collect();
    told(&[
        (none, "mirrors = [\"process\"]", "`process` is of no known kind: write redis://HOST"),
        (none, "mirrors = [\"rediss://u:pw@:1\"]", "`rediss://u:…@:1` names no host"),
        (none, "mirrors = [\"redis://h\", \"redis://h\"]", "`redis://h` stands twice"),
        (none, &format!("mirrors = [{nine}]"), "there are 9 mirrors; write 8 at most"),
    ]);
}

#[test]
fn what_does_not_read_hides_nothing_and_brings_up_nothing() {
    let text = EXAMPLE
        // Nothing depends on what should have stood there.
        .replace("port = 8080 ", "port = \"http\" ")
        .replace("listen = \"127.0.1.1:8080\"", "listen = 8080")
        .replace("groups = [\"codes\", \"scans\", \"venues\", \"notices\"]   #", "groups = 5 #")
        .replace("sheds = [\"register\", \"history\"", "sheds = [\"Register!\", \"past\"")
        .replace("[site.capacity]", "\"a.b\" = 1\n[site.capacity]")
        .replace("p95_ms = 400 ", "p95_ms = 0 ")
        .replace("lease_secs = 30", "lease_secs = 1")
        .replace("# lease_secs", "lease_secs");
    let found = problems(&text);
    let says = [
        "string \"http\"",
        "1 is too small",
        "unknown field `a.b`",
        "0 must be a number above 0",
        "integer `8080`",
        "integer `5`, expected a list",
        "`Register!` is not a name",
        "there is no route `past`",
    ];
    assert_eq!(found.len(), says.len(), "{found:#?}");
    for (problem, said) in found.iter().zip(says) {
        assert!(problem.contains(said), "{said}: {found:#?}");
    }
}

#[test]
fn a_key_that_stands_twice_hides_nothing() {
    let text = EXAMPLE.replace("port = 8080 ", "port = 0\nport = 8080 ");
    let found = problems(&text);
    assert!(found[0].starts_with("7:8: clients cannot ask for port 0"), "{found:#?}");
    assert!(found[1].starts_with("8:1: this key stands twice"), "{found:#?}");
}

#[test]
fn a_mode_and_a_budget_are_read_and_their_mistakes_named() {
    let with = |agent: &str, budget: &str| {
        let text = EXAMPLE.replace("[agent]\n", &format!("[agent]\n{agent}\n"));
        Config::parse(&format!("{text}\n[cloud.budget]\n{budget}\n"), Path::new("."))
    };
    let good =
        with("mode = \"shadow\"\nbeside = \"10.0.0.1:9100\"", "usd_per_month = 200").unwrap();
    assert_eq!((good.agent.mode, good.agent.beside.is_some()), (Mode::Shadow, true));
    let budget = good.cloud.budget.unwrap();
    assert_eq!((budget.usd_per_hour, budget.usd_per_month), (None, Some(200.0)));
    let example = Config::parse(EXAMPLE, Path::new(".")).unwrap();
    assert!(example.agent.mode.acts() && example.cloud.budget.is_none());
    for (agent, budget, told) in [
        ("mode = \"watch\"", "usd_per_hour = 1", "unknown variant `watch`"),
        ("beside = \"127.0.0.1:9100\"", "usd_per_hour = 1", "the agent cannot run beside itself"),
        (
            "",
            "usd_per_hour = 0",
            "0 must be above 0 and at most 1000000: leave it out for no limit",
        ),
        ("", "usd_per_hour = -1", "-1 must be above 0"),
        ("", "usd_per_month = nan", "NaN must be above 0"),
        ("", "usd_per_hour = 1\nusd_per_second_over = 1e9", "1000000000 must be above 0"),
        ("", "usd_per_second_over = 1", "there is no cap: write usd_per_hour or usd_per_month"),
        ("", "usd_per_day = 1", "unknown field `usd_per_day`"),
    ] {
        let found = with(agent, budget).unwrap_err().to_string();
        assert!(found.contains(told), "{agent} {budget}: {found}");
    }
}

#[test]
fn very_many_mistakes_end_with_a_word_of_it() {
    let route = "[[route]]\nid = \"x\"\npath = 1\nweight = true\ngroup = 2\n";
    let found = problems(&format!("{EXAMPLE}{}", route.repeat(50)));
    assert_eq!(found.len(), 101);
    assert!(found[100].contains("there are more mistakes"), "{}", found[100]);
}

/// The example with its section for AWS, and mistakes in it: text to find and to put there.
fn on_aws(edits: &[(&str, &str)]) -> Result<Config, Problems> {
    let mut text = read::uncommented(EXAMPLE);
    for (from, to) in edits {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    Config::parse(&text, Path::new("."))
}

#[test]
fn the_section_for_aws_is_valid_once_uncommented() {
    let aws = on_aws(&[]).unwrap().cloud.aws.unwrap();
    let gateways = aws.gateways.unwrap();
    assert_eq!((gateways.max, gateways.boot_secs), (8, 60));
    assert_eq!(aws.rules.len(), 1);
    assert_eq!(aws.functions["one-code"].alias, "live");
    assert_eq!(aws.functions["one-code"].program, AwsProgram::OneCode);
    assert_eq!(aws.functions["alarm"].program, AwsProgram::Alarm);
    let defaults = [
        ("boot_secs = 60 ", "# "),
        ("gateway_usd_per_hour = 0.0725", ""),
        ("functions_usd_per_million = 0.53", ""),
        ("alias = \"live\" ", "# "),
        ("program = \"one-code\" ", "# "),
    ];
    let aws = on_aws(&defaults).unwrap().cloud.aws.unwrap();
    let gateways = aws.gateways.unwrap();
    assert_eq!(gateways.boot_secs, 60);
    let prices = (aws.prices.gateway_usd_per_hour, aws.prices.functions_usd_per_million);
    assert_eq!(prices, (0.0725, 0.53));
    let function = &aws.functions["one-code"];
    assert_eq!((function.alias.as_str(), function.program), ("live", AwsProgram::OneCode));
    assert_eq!((function.warm_max, function.warm_qps), (20, 50.0));
    let endpoint = aws.alarm_endpoint.unwrap();
    assert_eq!((endpoint.topics.len(), endpoint.stand_in), (1, None));
    let capacity = aws.capacity.unwrap();
    assert_eq!((capacity.max_units, capacity.requests_per_connection), (500, 1.0));
    assert_eq!((capacity.after_secs, capacity.keep_secs), (30, 3600));
    let replicas = aws.replicas.unwrap();
    assert_eq!((replicas.cache_max, replicas.database_max), (1, 2));
    assert_eq!((replicas.after_secs, replicas.keep_secs, aws.billing), (120, 1800, true));
    let template = [(
        "autoscaling_group = \"east-gateways\"\n# launch_template",
        "subnets = [\"subnet-1\"]\nlaunch_template",
    )];
    assert!(on_aws(&template).is_ok());
}

#[test]
fn mistakes_about_aws_are_found() {
    let cases = [
        ("region = \"eu-central-1\"", "region = \"Frankfurt\"", "`Frankfurt` is no region"),
        (
            "region = \"eu-central-1\"",
            "region = \"eu-west-1\"",
            "region `eu-central-1` is not cloud.aws.region, which is `eu-west-1`",
        ),
        (
            "https://sqs.eu-central-1.",
            "https://sqs.eu-west-1.",
            "region `eu-west-1` is not cloud.aws.region",
        ),
        ("topics = [\"arn:aws:sns:", "topics = [\"arn:aws:sns:x:", "no ARN of a topic"),
        (
            "123456789012:targetgroup/east-gateways/",
            "123456789012:loadbalancer/app/east/",
            "is no ARN of a target group, which has `:targetgroup/` in it",
        ),
        (
            "123456789012:targetgroup/east-one-code/",
            "123456789012:listener-rule/app/east/",
            "is no ARN of a target group",
        ),
        ("listener-rule/app/east/", "listener/app/east/", "is no ARN of a rule"),
        ("loadbalancer/app/east/", "loadbalancer/net/east/", "is no ARN of an application load"),
        (
            "123456789012:targetgroup/east-gateways/",
            "123456789013:targetgroup/east-gateways/",
            "account 123456789013 is not 123456789012, which cloud.aws.rule.0.arn is in",
        ),
        (
            "name = \"east-alarm\"",
            "name = \"east-one-code\"",
            "`east-one-code` is the function of cloud.aws.functions.alarm.name already",
        ),
        ("alias = \"live\" ", "alias = \"3\" ", "`3` is the number of a version"),
        ("alias = \"live\" ", "alias = \"now:on\" ", "`now:on` is no alias"),
        (
            "admin = \"127.0.0.1:9411\"",
            "admin = \"127.0.0.1:9401\"",
            "9401 is taken by cloud.local.admin",
        ),
        ("weighted_qps = 1500              #", "weighted_qps = 0 #", "0 must be a number above 0"),
        ("max = 8 ", "max = 0 ", "0 is too small"),
        ("boot_secs = 60 ", "boot_secs = 90_000 ", "90000 is too large"),
        ("gateway_usd_per_hour = 0.0725", "gateway_usd_per_hour = 0", "0 must be above 0"),
        ("# launch_template", "launch_template", "leave one of the two out"),
        ("autoscaling_group = ", "# ", "name what starts gateways"),
        ("# subnets", "subnets", "together with a launch template"),
        ("alarm_queue = \"https", "alarm_queue = \"sqs", "is no URL"),
        (
            "[cloud.aws.functions.one-code]",
            "[cloud.aws.functions.other]",
            "there is no [[cloud.function]] `other`",
        ),
        (
            "[[cloud.function]]\nname = \"one-code\"",
            "[[cloud.function]]\nname = \"alarm\"\ngroups = [\"notices\"]\n\n[[cloud.function]]\nname = \"one-code\"",
            "program alarm serves no groups",
        ),
        ("program = \"alarm\"", "program = \"siren\"", "unknown variant `siren`"),
        ("cache = \"east-cache\"", "cache = \"\"", "`` is no name"),
        ("cache = \"east-cache\"", "", "no cloud.aws.cache to add replicas to"),
        ("max_units = 500 ", "max_units = 99 ", "AWS reserves at least 100"),
        ("load_balancer = \"arn:", "load_balancer = \"", "is no ARN"),
        ("cache_max = 1 ", "cache_max = 6 ", "6 is too large"),
        ("warm_qps = 50 ", "# warm_qps", "0 must be a number above 0"),
        (
            "listen = \"0.0.0.0:8443\"",
            "listen = \"127.0.0.1:9401\"",
            "is taken by cloud.local.admin",
        ),
        ("topics = [\"arn:aws:sns:", "topics = [\"arn:aws:sqs:", "no ARN of a topic"),
        (
            "# requests_per_connection",
            "requests_per_connection = 0.0 # ",
            "0 must be a number above 0",
        ),
        ("name = \"east-one-code\"\nalias", "name = \"\"\nalias", "`` is no name"),
        ("[[cloud.aws.rule]]\narn = \"arn:", "[[cloud.aws.rule]]\narn = \"", "is no ARN"),
        // What is missing is told where it is missing, and hides no other mistake.
        ("region = \"eu-central-1\"", "", "missing field `region`"),
        ("name = \"east-one-code\"\nalias", "alias", "missing field `name`"),
        (
            "[cloud.aws.functions.one-code]\nname",
            "[cloud.aws.functions.other]\n# name",
            "missing field `name`",
        ),
    ];
    for (from, to, said) in cases {
        let found = on_aws(&[(from, to), ("p95_ms = 400 ", "p95_ms = 0 ")]).unwrap_err().0;
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|problem| problem.contains(said)), "{said}: {told:#?}");
        assert!(
            told.iter().any(|problem| problem.contains("0 must be a number above 0")),
            "{told:#?}"
        );
    }
    let text = read::uncommented(EXAMPLE);
    let rule = text.find("[[cloud.aws.rule]]").unwrap();
    let end = rule + text[rule..].find("\n\n").unwrap();
    let found = Config::parse(&format!("{}{}", &text[..rule], &text[end..]), Path::new("."));
    assert!(found.unwrap_err().to_string().contains("no [[cloud.aws.rule]] would send requests"));
}

/// The key of a line of the example, if it is of the form `key = value`.
fn key_of(line: &str) -> Option<&str> {
    line.split_once(" = ").map(|(key, _)| key).filter(|key| !key.starts_with('#'))
}

/// A line `key = value` of the example made wrong in one of four ways; None when the line has none.
fn broken(line: &str, way: usize) -> Option<String> {
    let (key, value) = (key_of(line)?, line.split_once(" = ")?.1);
    // Each is found by a rule of its own, whatever else is broken.
    let rules = [
        ("port", "70_000"),
        ("host", "\"HOST\""),
        ("slb_host", "\"a..b\""),
        ("bits_per_sec", "1"),
        ("queue_bytes", "9_000_000_000"),
        ("weighted_qps", "nan"),
        ("p95_ms", "-1"),
        ("ttl_secs", "0"),
        ("share_step_down", "0.0"),
        ("tier", "0"),
        ("weight", "0"),
        ("path", "\"no-slash\""),
        ("method", "\"get\""),
        ("zone_files", "[]"),
        ("vips", "[]"),
        ("slb_addresses", "[]"),
        ("shards", "[\"mysql://h/d\"]"),
        ("cache", "\"redis://\""),
        ("environments_max", "1_000_000"),
        ("name", "\"../up\""),
        ("sheds", "[\"no-such-route\"]"),
        ("group", "\"no-such-group\""),
        ("releases", "1.5"),
        ("salt", "\"short\""),
        ("spill", "[\"teleport\"]"),
    ];
    let wrong_type = if value.starts_with('"') { "12.5" } else { "\"text\"" };
    match way {
        0 => Some(format!("{key} = {wrong_type}")),
        1 => Some(format!("{line}\n{key}_x = 1")),
        2 => Some(format!("{key}_x = 1")),
        _ => rules.iter().find(|(k, _)| *k == key).map(|(_, bad)| format!("{key} = {bad}")),
    }
}

/// Breaks lines of the example; returns the text, the lines that are wrong in it, and those at which
/// what is missing then is told.
fn break_lines(at: &std::collections::BTreeMap<usize, usize>) -> (String, Vec<usize>, Vec<usize>) {
    let (mut text, mut line, mut wrong, mut also) = (String::new(), 1, Vec::new(), Vec::new());
    let mut header = 1;
    // Whether these are wrong cannot be known while a name that they could mean does not read.
    let lines: Vec<_> = EXAMPLE.lines().collect();
    let unread = at.iter().any(|(i, way)| {
        matches!((key_of(lines[*i]), way), (Some("id" | "groups"), 0 | 2) | (Some("spill"), 0 | 3))
    });
    let hidden = |i: usize, way: usize| {
        way == 3 && unread && matches!(key_of(lines[i]), Some("sheds" | "group"))
    };
    for (i, original) in EXAMPLE.lines().enumerate() {
        if original.starts_with('[') {
            header = line;
        }
        let made = at
            .get(&i)
            .filter(|way| !hidden(i, **way))
            .and_then(|way| Some((way, broken(original, *way)?)));
        let new = match made {
            Some((way, new)) => {
                wrong.push(if *way == 1 { line + 1 } else { line });
                if *way == 2 {
                    also.push(header);
                }
                new
            }
            None => original.to_owned(),
        };
        line += new.matches('\n').count() + 1;
        text.push_str(&new);
        text.push('\n');
    }
    (text, wrong, also)
}

proptest::proptest! {
    #[test]
    fn every_place_that_is_broken_is_told_and_no_other(
        at in proptest::collection::btree_map(0..EXAMPLE.lines().count(), 0_usize..4, 1..40)
    ) {
        let (text, wrong, also) = break_lines(&at);
        let Err(found) = Config::parse(&text, Path::new(".")) else {
            proptest::prop_assert!(wrong.is_empty());
            return Ok(());
        };
        let lines: Vec<_> = found.0.iter().map(|problem| problem.line).collect();
        proptest::prop_assert!(lines.is_sorted());
        for line in &wrong {
            proptest::prop_assert!(lines.contains(line), "line {line} of\n{text}\n{found}");
        }
        for line in lines {
            let known = wrong.contains(&line) || also.contains(&line);
            proptest::prop_assert!(known, "line {line} of\n{text}\n{found}");
        }
    }
}
