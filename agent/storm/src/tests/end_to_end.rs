//! Requests, redirects, names and whole storms against real servers.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use spillway_model::api::{SiteStatus, Status};
use spillway_model::load::{Load, Part, UplinkLoad};
use spillway_model::{Mode, Share, SiteId, Tier, UnixMillis};
use spillway_part::{Shutdown, clock};
use tokio::sync::Semaphore;

use super::fixture::{CLOUD, Hit, Lab, SITE, answer, send, totals, until};
use crate::cohort::{Side, Via};
use crate::mix::Operation;
use crate::schedule::Schedule;
use crate::{Mix, Options, Profile, Progress, SOURCES, StormError, address, run};

const NOW: Duration = Duration::ZERO;

/// A lab whose site sends everyone to the cloud, whose cloud says who it is.
async fn spilling(cache_control: &'static str) -> Lab {
    let authority = Arc::new(std::sync::OnceLock::<String>::new());
    let known = authority.clone();
    let lab = Lab::new(move |hit: Hit| {
        let authority = known.clone();
        async move {
            if hit.at == CLOUD {
                let said = [
                    ("x-spillway-served-by", "cloud"),
                    ("x-spillway-function", "one-code"),
                    ("x-spillway-generation", "42"),
                ];
                return answer(200, &said);
            }
            let (_, path) = hit.line.split_once(' ').unwrap();
            let location = format!("http://{}{path}", authority.get().unwrap());
            answer(307, &[("location", location.as_str()), ("cache-control", cache_control)])
        }
    })
    .await;
    authority.set(lab.cloud_authority()).unwrap();
    lab
}

#[tokio::test]
async fn a_redirect_is_followed_with_method_and_body_and_remembered() {
    let lab = spilling("private, max-age=60").await;
    let world = lab.world(2);
    for _ in 0..3 {
        send(&world, 0, Operation::Scan, NOW).await;
    }
    let (site, cloud) = (lab.hits_at(SITE), lab.hits_at(CLOUD));
    assert_eq!((site.len(), cloud.len()), (1, 3), "affinity spares the detour");
    assert!(cloud.iter().all(|hit| hit.line == "POST /v1/scans" && hit.body == site[0].body));
    assert!(cloud.iter().all(|hit| hit.host == lab.cloud_authority()));
    assert!(cloud.iter().all(|hit| hit.peer == IpAddr::from(address(SOURCES, 0))));
    let connections: HashSet<_> = cloud.iter().map(|hit| hit.connection).collect();
    assert_eq!(connections.len(), 1, "one connection is kept");
    send(&world, 1, Operation::Scan, NOW).await;
    assert_eq!(lab.hits_at(SITE).len(), 2, "affinity is the client's own");

    let totals = totals(&world);
    assert_eq!((totals.ok, totals.redirects, totals.failed), (4, 2, 0));
    assert_eq!(totals.served, [("cloud".to_owned(), 4)].into());
    assert_eq!(totals.functions, [("one-code".to_owned(), 4)].into());
    let moves = &world.recorder().moves;
    assert_eq!(moves.len(), 2, "each client's first side");
    assert_eq!(
        (&moves[0].to, moves[0].via, moves[0].generation),
        (&Side::Cloud, Via::Redirect, Some(42))
    );
    let rank =
        spillway_model::rank::rank(&lab.config.plan.salt, IpAddr::from(address(SOURCES, 0)).into());
    assert_eq!(moves[0].rank.to_bits(), rank.to_bits());
}

#[tokio::test]
async fn affinity_lasts_as_long_as_it_was_given() {
    let lab = spilling("max-age=1").await;
    let world = lab.world(1);
    let start = clock::instant();
    send(&world, 0, Operation::Code, NOW).await;
    while lab.hits_at(SITE).len() < 2 {
        send(&world, 0, Operation::Code, NOW).await;
        assert!(start.elapsed() < Duration::from_secs(10), "the client never came back");
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(totals(&world).failed, 0);
}

#[tokio::test]
async fn without_an_age_the_next_request_starts_at_the_service() {
    let lab = spilling("no-store").await;
    let world = lab.world(1);
    for _ in 0..3 {
        send(&world, 0, Operation::Qr, NOW).await;
    }
    assert_eq!((lab.hits_at(SITE).len(), lab.hits_at(CLOUD).len()), (3, 3));
    let connections: HashSet<_> =
        lab.hits.lock().unwrap().iter().map(|hit| hit.connection).collect();
    assert_eq!(connections.len(), 2, "both connections are kept");
}

#[tokio::test]
async fn loops_and_long_chains_are_given_up() {
    let lab = Lab::new(|hit: Hit| async move {
        let (_, path) = hit.line.split_once(' ').unwrap();
        match path {
            "/v1/notices" => answer(307, &[("location", "/v1/notices")]),
            // Every answer leads one path further.
            path => answer(307, &[("location", format!("{path}x").as_str())]),
        }
    })
    .await;
    let world = lab.world(1);
    send(&world, 0, Operation::Notices, NOW).await;
    assert_eq!(lab.hits_at(SITE).len(), 1, "back to where it was");
    send(&world, 0, Operation::Code, NOW).await;
    assert_eq!(lab.hits_at(SITE).len(), 1 + 4, "three 307 are followed");
    assert_eq!(totals(&world).failures.redirect_loop, 2);
    assert_eq!(world.recorder().moves.len(), 0);
}

#[tokio::test]
async fn names_are_asked_for_again_when_their_ttl_is_over() {
    let lab = Lab::new(|_| async { answer(200, &[]) }).await;
    let host = lab.config.service.host.clone();
    lab.dns.lock().unwrap().names.insert(host.clone(), (SITE, 1));
    let world = lab.world(1);
    let start = clock::instant();
    send(&world, 0, Operation::Code, NOW).await;
    lab.dns.lock().unwrap().names.insert(host, (CLOUD, 60));
    while lab.hits_at(CLOUD).is_empty() {
        send(&world, 0, Operation::Code, NOW).await;
        assert!(start.elapsed() < Duration::from_secs(10), "the client never asked again");
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
    let asked = lab.dns.lock().unwrap().asked.clone();
    assert_eq!(
        asked,
        [(address(SOURCES, 0).into(), "udp"); 2],
        "once per TTL, from its own address"
    );
    let moves = &world.recorder().moves;
    let sides: Vec<_> = moves.iter().map(|m| (m.to.to_string(), m.via)).collect();
    assert_eq!(sides, [("east".to_owned(), Via::Dns), ("cloud".to_owned(), Via::Dns)]);
}

#[tokio::test]
async fn a_name_server_may_lose_packets_and_truncate_but_not_deny() {
    let lab = Lab::new(|_| async { answer(200, &[]) }).await;
    let world = lab.world(3);
    lab.dns.lock().unwrap().deaf = 2;
    send(&world, 0, Operation::Code, NOW).await;
    assert_eq!(lab.dns.lock().unwrap().asked.len(), 3);

    lab.dns.lock().unwrap().truncate = true;
    send(&world, 1, Operation::Code, NOW).await;
    let last = lab.dns.lock().unwrap().asked.last().copied();
    assert_eq!(last, Some((address(SOURCES, 1).into(), "tcp")));
    assert_eq!(totals(&world).ok, 2);

    lab.dns.lock().unwrap().names.clear();
    send(&world, 2, Operation::Code, NOW).await;
    send(&world, 2, Operation::Code, NOW).await;
    assert_eq!(totals(&world).failures.dns, 2);
    assert_eq!(lab.dns.lock().unwrap().asked.len(), 3 + 2 + 2, "a failure is remembered a moment");
}

#[tokio::test]
async fn outcomes_are_told_apart() {
    let lab = Lab::new(|hit: Hit| async move {
        match hit.line.as_str() {
            "GET /v1/notices" => answer(503, &[("x-spillway-tier", "3"), ("retry-after", "30")]),
            "GET /v1/venues/v008/stats" => answer(200, &[("x-spillway-knob", "stats-frozen")]),
            "GET /v1/users/u000001/qr" => answer(502, &[]),
            "GET /v1/users/u000001/scans" => answer(404, &[]),
            _ => answer(200, &[]),
        }
    })
    .await;
    let world = lab.world(1);
    use Operation::{Code, History, Notices, Qr, Stats};
    for operation in [Notices, Stats, Qr, History, Code] {
        send(&world, 0, operation, NOW).await;
    }
    let counts = totals(&world);
    assert_eq!((counts.ok, counts.refused, counts.failed), (2, 1, 2));
    assert_eq!(counts.degraded, 1, "an answer that a knob shaped is one, and ok");
    assert_eq!((counts.failures.http_5xx, counts.failures.http_4xx), (1, 1));
    assert_eq!(counts.served, [("east".to_owned(), 2)].into(), "told by address");

    let mut elsewhere = Lab::new(|_| async { answer(200, &[]) }).await;
    // Nobody listens there.
    elsewhere.config.service.port = 1;
    let world = elsewhere.world(1);
    send(&world, 0, Operation::Code, NOW).await;
    assert_eq!(totals(&world).failures.connect, 1);
}

#[tokio::test]
async fn latency_counts_from_the_intended_start() {
    let lab = Lab::new(|_| async { answer(200, &[]) }).await;
    let world = lab.world(1);
    // The storm must be old enough for a request to be late in it.
    until("the storm ages", || world.start.elapsed() > Duration::from_millis(300)).await;
    send(&world, 0, Operation::Code, Duration::from_millis(300)).await;
    let latency = totals(&world).latency;
    assert!(latency.p50_ms >= 300.0, "{latency:?}");
}

/// The server answers nobody until the fortieth request is there. A generator that waited for
/// answers would never send it.
#[tokio::test]
async fn arrivals_do_not_wait_for_answers() {
    const HELD: usize = 40;
    let (arrived, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let lab = Lab::new(move |_| {
        let (arrived, gate) = (arrived.clone(), gate.clone());
        async move {
            if arrived.fetch_add(1, SeqCst) + 1 == HELD {
                gate.add_permits(Semaphore::MAX_PERMITS);
            }
            drop(gate.acquire().await);
            answer(200, &[])
        }
    })
    .await;
    let mut options = Options::new(Profile::Constant { rate: 150.0, secs: 0.6 });
    // More clients than connections per client can hold up.
    options.clients = 200;
    let (curve, mix) = (options.profile.curve().unwrap(), Mix::default());
    let schedule: Vec<_> = Schedule::new(&curve, &mix, 200, 1).collect();
    let config = Arc::new(lab.config.clone());
    let report = run(config, options, Progress::Silent, Shutdown::new()).await.unwrap();
    assert_eq!(
        (report.totals.ok, report.totals.arrivals),
        (schedule.len() as u64, schedule.len() as u64)
    );
    let held = schedule[HELD - 1].at - schedule[0].at;
    // Stored in steps of a thousandth.
    assert!(
        report.totals.latency.max_ms >= held.as_secs_f64() * 999.0,
        "the first request waited {held:?}: {:?}",
        report.totals.latency
    );
}

#[tokio::test]
async fn a_client_has_at_most_six_connections() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let lab = Lab::new(move |_| {
        let gate = held.clone();
        async move {
            drop(gate.acquire().await);
            answer(200, &[])
        }
    })
    .await;
    let world = lab.world(1);
    let requests: Vec<_> = (0..10)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { send(&world, 0, Operation::Code, NOW).await })
        })
        .collect();
    until("six requests are under way", || lab.hits_at(SITE).len() == 6).await;
    assert_eq!(world.clients[0].slots.available_permits(), 0);
    gate.add_permits(Semaphore::MAX_PERMITS);
    for request in requests {
        request.await.unwrap();
    }
    let connections: HashSet<_> = lab.hits_at(SITE).iter().map(|hit| hit.connection).collect();
    assert_eq!((connections.len(), totals(&world).ok), (6, 10));
    assert_eq!(lab.dns.lock().unwrap().asked.len(), 1, "requests of a client ask once");
}

/// The agent's and a balancer's answers, which change with every reading.
fn observed(readings: &AtomicU32, path: &str) -> String {
    let reading = readings.fetch_add(1, SeqCst);
    let east = SiteId::new("east").unwrap();
    if path == "/v1/status" {
        let site = SiteStatus { share: Share::clamped(0.25), ..SiteStatus::default() };
        let status = Status {
            at: clock::now(),
            generation: 7,
            tier: Tier::Invisible,
            headline: String::new(),
            warnings: Vec::new(),
            mode: Mode::Act,
            advice: Vec::new(),
            orders: Vec::new(),
            knobs: Vec::new(),
            replaced: None,
            sites: [(east, site)].into(),
            cloud: spillway_model::api::CloudStatus::default(),
            parts: Vec::new(),
        };
        return serde_json::to_string(&status).unwrap();
    }
    let at = UnixMillis(1000 * u64::from(reading));
    let uplink = UplinkLoad { bytes: 500_000 * u64::from(reading), ..UplinkLoad::default() };
    let load = Load {
        generation: 7,
        uplink: Some(uplink),
        ..Load::new(Part::Balancer, "east", Some(east), 1, at)
    };
    serde_json::to_string(&load).unwrap()
}

#[tokio::test]
async fn a_storm_is_reported_second_by_second() {
    let readings = Arc::new(AtomicU32::new(0));
    let mut lab = Lab::new(move |hit: Hit| {
        let readings = readings.clone();
        async move {
            let (_, path) = hit.line.split_once(' ').unwrap();
            if hit.at != CLOUD || !["/v1/status", "/v1/load"].contains(&path) {
                return answer(200, &[("x-spillway-served-by", "east")]);
            }
            // What is observed is served by the cloud's listener, beside all else.
            let body = observed(&readings, path);
            http::Response::new(http_body_util::Full::new(body.into()))
        }
    })
    .await;
    let watched = (CLOUD, lab.config.service.port).into();
    lab.config.agent.listen = watched;
    lab.config.sites[0].balancer.admin = watched;
    let mut options = Options::new(Profile::Step { base: 50.0, peak: 200.0, at: 1.0, secs: 3.0 });
    options.clients = 30;
    let (told, tell) = std::sync::mpsc::channel();
    let progress = Progress::Each(Box::new(move |second| told.send(second.clone()).unwrap()));
    let config = Arc::new(lab.config.clone());
    let report = run(config, options, progress, Shutdown::new()).await.unwrap();

    assert_eq!(report.seconds.len(), 3);
    let wanted: Vec<_> = report.seconds.iter().map(|second| second.wanted).collect();
    assert_eq!(wanted, [50.0, 200.0, 200.0]);
    let totals = &report.totals;
    assert_eq!(totals.served, [("east".to_owned(), totals.arrivals)].into());
    assert_eq!((totals.ok, totals.failed, totals.abandoned), (totals.arrivals, 0, 0));
    let of_seconds: u64 = report.seconds.iter().map(|second| second.site).sum();
    assert_eq!(of_seconds, totals.ok);
    assert!(report.seconds.iter().all(|second| second.p99_ms >= second.p50_ms));
    assert!(report.seconds.iter().all(|second| second.p50_ms.is_some()));
    // Two readings a look: a second of the reporting clock, and half a megabyte, each.
    let seen = report.seconds.iter().rev().find(|second| second.share.is_some()).unwrap();
    assert_eq!(seen.uplink_bits_per_sec, Some(4e6));
    assert_eq!(
        (seen.share, seen.tier, seen.generation),
        (Some(0.25), Some(Tier::Invisible), Some(7))
    );
    assert!(totals.uplink_bytes.is_some_and(|bytes| bytes >= 500_000));
    assert_eq!(report.shares.values().map(Vec::len).collect::<Vec<_>>(), [1]);
    assert_eq!(report.moves.len(), 30, "every client's first side");
    assert!(totals.connections < totals.arrivals, "connections are kept");
    let peers: HashSet<_> = lab.hits_at(SITE).iter().map(|hit| hit.peer).collect();
    assert_eq!(peers, (0..30).map(|i| IpAddr::from(address(SOURCES, i))).collect());
    assert!(tell.try_iter().count() >= 2);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<crate::Report>(&json).unwrap(), report);
}

#[tokio::test]
async fn a_storm_can_be_ended_early() {
    let lab = Lab::new(|_| async { answer(200, &[]) }).await;
    let shutdown = Shutdown::new();
    let end = shutdown.clone();
    let progress = Progress::Each(Box::new(move |_| end.cancel()));
    let options = Options::new(Profile::Constant { rate: 50.0, secs: 3600.0 });
    let config = Arc::new(lab.config.clone());
    let report = run(config, options, progress, shutdown).await.unwrap();
    assert!(report.interrupted);
    assert!(report.seconds.len() < 60, "{}", report.seconds.len());
    assert_eq!(report.totals.failed, 0);
}

#[tokio::test]
async fn clients_need_addresses_of_this_machine() {
    let lab = Lab::new(|_| async { answer(200, &[]) }).await;
    let start = |sources| {
        let profile = Profile::Constant { rate: 50.0, secs: 60.0 };
        let options = Options { sources, ..Options::new(profile) };
        run(Arc::new(lab.config.clone()), options, Progress::Silent, Shutdown::new())
    };
    // TEST-NET-1 is no machine's.
    let error = start([192, 0, 2, 0].into()).await.unwrap_err().to_string();
    assert!(error.contains("--sources is 192.0.2.0: use the first address of a /10"), "{error}");
    let error = start([192, 0, 0, 0].into()).await.unwrap_err().to_string();
    assert!(error.contains("ip route add local 192.0.0.0/10 dev lo"), "{error}");
}

#[tokio::test]
async fn a_storm_stays_on_this_machine() {
    let lab = Lab::new(|_| async { answer(200, &[]) }).await;
    let start = |lab: &Lab| {
        let options = Options::new(Profile::Constant { rate: 50.0, secs: 60.0 });
        run(Arc::new(lab.config.clone()), options, Progress::Silent, Shutdown::new())
    };
    let host = lab.config.service.host.clone();
    lab.dns.lock().unwrap().names.insert(host, ([192, 0, 2, 1].into(), 60));
    let error = start(&lab).await.unwrap_err();
    assert!(matches!(error, StormError::Remote { .. }), "{error}");
    assert!(error.to_string().contains("192.0.2.1, which is not on this machine"), "{error}");

    // A redirect may not lead away either.
    let away = Lab::new(|_| async { answer(307, &[("location", "http://192.0.2.9/")]) }).await;
    let error = start(&away).await.unwrap_err();
    assert!(error.to_string().contains("`192.0.2.9` is at 192.0.2.9"), "{error}");
}

#[tokio::test]
async fn nothing_there_is_one_clear_error() {
    let mut lab = Lab::new(|_| async { answer(200, &[]) }).await;
    lab.config.dns.listen = ([127, 0, 0, 3], 1).into();
    let mut options = Options::new(Profile::Constant { rate: 50.0, secs: 60.0 });
    let config = Arc::new(lab.config.clone());
    let storm = |options| run(config.clone(), options, Progress::Silent, Shutdown::new());
    let error = storm(options.clone()).await.unwrap_err();
    assert!(error.to_string().contains("at the name server 127.0.0.3:1"), "{error}");
    options.clients = 0;
    let error = storm(options).await.unwrap_err();
    assert_eq!(error.to_string(), "the number of clients is 0: use 1 to 98304");
}

#[tokio::test]
async fn arrivals_beyond_the_bound_are_overruns() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let lab = Lab::new(move |_| {
        let gate = held.clone();
        async move {
            drop(gate.acquire().await);
            answer(200, &[])
        }
    })
    .await;
    let mut options = Options::new(Profile::Constant { rate: 100.0, secs: 1.0 });
    options.in_flight_max = 5;
    let config = Arc::new(lab.config.clone());
    let storm = tokio::spawn(run(config, options, Progress::Silent, Shutdown::new()));
    until("five requests are under way", || lab.hits_at(SITE).len() == 5).await;
    gate.add_permits(Semaphore::MAX_PERMITS);
    let totals = storm.await.unwrap().unwrap().totals;
    assert_eq!(totals.ok + totals.failures.overrun, totals.arrivals);
    assert_eq!((totals.sent, totals.failed), (totals.ok, totals.failures.overrun));
}
