//! Sites that help one another, as name servers tell it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use proptest::prelude::*;
use spillway_model::plan::Help;
use spillway_model::rank::{self, Place};
use spillway_model::{ClientPrefix, Config, Plan, Share, SiteId};

use super::support::{Ask, CONFIG, addresses, zones};
use crate::{Outcome, Snapshot, Steering, explain};

fn id(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

fn config() -> Config {
    let text = CONFIG
        .replace("id = \"east\"", "id = \"east\"\nhelped_by = [\"west\"]")
        .replace("id = \"west\"", "id = \"west\"\nhost = \"west.example.test\"");
    Config::parse(&text, Path::new("")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn plan(share: f64, below: f64) -> Plan {
    let mut plan = Plan::initial([id("east"), id("west")], 5);
    let help = Help { site: id("west"), below: Share::clamped(below), until: Share::ONE };
    let east = plan.sites.get_mut(&id("east")).unwrap();
    (east.share, east.helped) = (Share::clamped(share), vec![help]);
    plan
}

fn snapshot(plan: &Plan) -> Snapshot {
    let (config, mut zones) = (config(), zones());
    for (place, site) in config.sites.iter().enumerate() {
        if let Some(host) = &site.host {
            zones.site(place, host, &site.vips).unwrap();
        }
    }
    Snapshot::new(Arc::new(zones), Steering::new(&config, plan))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The answer is where the plan has the client; two name servers agree, and so does what is explained.
    #[test]
    fn an_answer_is_the_place_of_the_client(octets: [u8; 4], share in 0.0..=1.0, below in 0.0..=1.0) {
        let address = IpAddr::from(octets);
        let (config, plan) = (config(), plan(share, below));
        let prefix = ClientPrefix::from(address);
        let home = rank::home(&config.plan.salt, prefix, &config.sites, |site| &site.id).unwrap();
        let (site, outcome) = match rank::place(&config.plan.salt, prefix, &plan.sites[&home.id]) {
            Place::Home => (Some(&home.id), Outcome::ToSite),
            Place::Site(helper) => (Some(helper), Outcome::ToSite),
            Place::Cloud => (None, Outcome::ToCloud),
        };
        let expected = match site.and_then(|id| config.site(id)) {
            Some(site) => site.vips.iter().copied().filter(IpAddr::is_ipv4).collect(),
            None => config.cloud.slb_addresses.clone(),
        };
        for snapshot in [snapshot(&plan), snapshot(&plan)] {
            let ask = Ask { source: address, ..Ask::new("code.example.test.", RecordType::A) };
            let (became, message) = ask.answer(&snapshot);
            prop_assert_eq!(became, outcome);
            prop_assert_eq!(addresses(&message), expected.clone());
            let explained = explain(&snapshot, address);
            prop_assert_eq!(explained.to_cloud, site.is_none());
            prop_assert_eq!(explained.helped_by.as_ref(), site.filter(|id| **id != home.id));
        }
    }
}

#[test]
fn a_site_that_is_not_configured_helps_nobody() {
    let mut plan = plan(1.0, 1.0);
    plan.sites.get_mut(&id("east")).unwrap().helped[0].site = id("north");
    let snapshot = snapshot(&plan);
    for i in 0..50 {
        let explained = explain(&snapshot, IpAddr::from([10, 0, i, 1]));
        assert_eq!(explained.to_cloud, explained.site == Some(id("east")));
        assert_eq!(explained.helped_by, None);
    }
}

#[test]
fn a_sites_own_name_has_its_addresses() {
    let snapshot = snapshot(&plan(1.0, 1.0));
    let (outcome, message) = Ask::new("west.example.test.", RecordType::A).answer(&snapshot);
    assert_eq!((outcome, message.metadata.response_code), (Outcome::Plain, ResponseCode::NoError));
    assert_eq!(addresses(&message), ["192.0.2.101".parse::<IpAddr>().unwrap()]);
    assert_eq!(message.answers[0].ttl, 5);
    let mut zones = zones();
    assert!(zones.site(1, "west.elsewhere.test", &[]).is_ok(), "others answer for it");
    let other = ["192.0.2.9".parse().unwrap()];
    let refused = zones.site(1, "ns1.example.test", &other).unwrap_err().to_string();
    assert!(refused.contains("site.vips has others"), "{refused}");
}
