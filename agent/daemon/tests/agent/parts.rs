//! Reading the parts: one that is ill is missing, and holds nobody up.

use std::time::Duration;

use spillway_model::UnixMillis;
use spillway_model::api::Status;
use spillway_model::load::{FleetLoad, Part};
use spillway_part::clock;

use crate::site::{Mood, Running, START, Site};

#[tokio::test]
async fn every_part_is_read_and_named() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    site.second(&mut agent, 10).await;
    let running = Running::serve(&site, agent).await;
    let status: Status = running.json("/v1/status").await;
    let names: Vec<_> = status.parts.iter().map(|part| part.name.as_str()).collect();
    let expected = ["dns", "east-balancer", "east-gw-1", "east-gw-2", "east-one-code", "cloud"];
    assert_eq!(names, expected);
    assert!(status.parts.iter().all(|part| part.error.is_none()), "{:?}", status.parts);
    assert!(status.parts.iter().all(|part| part.generation.is_some()));
    assert!(status.at.0 > START);
    running.stop().await;
}

#[tokio::test]
async fn a_cloud_on_aws_is_read_with_what_it_warns_of() {
    let mut site = Site::new(3000).await;
    site.add_aws().await;
    let there = FleetLoad {
        seen_at: UnixMillis(START),
        gateways_launched: 2,
        warnings: vec!["missing permission ec2:RunInstances".to_owned()],
        ..FleetLoad::default()
    };
    site.fake(Part::Aws).load.lock().unwrap().fleet = Some(there.clone());
    let mut agent = site.agent().await;
    site.second(&mut agent, 10).await;
    let running = Running::serve(&site, agent).await;
    let status: Status = running.json("/v1/status").await;
    let part = status.parts.iter().find(|part| part.part == Part::Aws).unwrap();
    assert_eq!((part.name.as_str(), part.error.as_deref()), ("aws", None));
    assert_eq!(status.cloud.fleet.unwrap().there, Some(there));
    let told = "aws: missing permission ec2:RunInstances".to_owned();
    assert!(status.warnings.contains(&told), "{:?}", status.warnings);
    running.stop().await;

    // One that does not answer is missing by this name.
    site.set_mood(Part::Aws, Mood::Error);
    let mut agent = site.agent().await;
    site.second(&mut agent, 10).await;
    let running = Running::serve(&site, agent).await;
    let status: Status = running.json("/v1/status").await;
    assert_eq!(status.cloud.fleet.unwrap().there, None);
    assert!(!status.warnings.contains(&told), "{:?}", status.warnings);
    running.stop().await;
}

#[tokio::test]
async fn an_ill_part_is_missing_and_the_tick_ends_in_time() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    site.set_mood(Part::Dns, Mood::Never);
    site.set_mood(Part::Balancer, Mood::Garbage);
    site.set_mood(Part::Service, Mood::Error);
    site.fake(Part::Cloud).load.lock().unwrap().part = Part::Agent;
    let began = clock::instant();
    site.second(&mut agent, 10).await;
    assert!(began.elapsed() < Duration::from_millis(3000), "{:?}", began.elapsed());

    let mut journal = site.journal_rows().connect().await;
    let body: String =
        sqlx::query_scalar("SELECT body FROM observations").fetch_one(&mut journal).await.unwrap();
    let observation: spillway_decide::Observation = serde_json::from_str(&body).unwrap();
    let missing = &observation.missing;
    for (part, reason) in [
        ("dns", "no answer from"),
        ("balancer east", "cannot read the answer"),
        ("east-one-code", "500 Internal Server Error: no"),
        ("cloud", "answers as agent, but the configuration has the cloud there"),
    ] {
        assert!(missing.get(part).is_some_and(|text| text.contains(reason)), "{part}: {missing:?}");
    }
    assert_eq!(observation.loads.len(), 2);
}

#[tokio::test]
async fn interface_counters_are_read_where_one_is_named() {
    let site = Site::new(3000).await;
    for (interface, found) in [("lo", true), ("none0", false)] {
        let config = site.changed(&[("site.0.uplink.interface", interface.into())]);
        let mut agent = spillway_daemon::Agent::start(config).await.unwrap();
        site.second(&mut agent, 10).await;
        let mut journal = site.journal_rows().connect().await;
        let last = "SELECT body FROM observations WHERE id = (SELECT MAX(id) FROM observations)";
        let body: String = sqlx::query_scalar(last).fetch_one(&mut journal).await.unwrap();
        let observation: spillway_decide::Observation = serde_json::from_str(&body).unwrap();
        assert_eq!(observation.interface_bytes.len(), usize::from(found), "{interface}");
        let said = observation.missing.contains_key("interface none0 of east");
        assert_eq!(said, !found, "{:?}", observation.missing);
    }
}
