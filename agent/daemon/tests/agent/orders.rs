//! Orders, the operators' and those of alarms: who may give them, what they may say, and how long they
//! hold.

use spillway_model::api::{AlarmChange, AlarmState, EventStatus, Explain, KnobStatus, Status};
use spillway_model::{KnobId, SiteId, Tier, UnixMillis};
use spillway_part::clock;

use crate::site::{Running, Site, error_of};

const TIER_2: &str = r#"{"tier":2,"for_secs":600,"by":"ann: drill"}"#;

#[tokio::test]
async fn orders_need_the_token() {
    let site = Site::new(1000).await;
    let mut running = Running::start(&site).await;
    let strangers = [
        running.client.clone(),
        running.client.clone().with_token("0123456789abcdef0123456789abcdeX".to_owned()),
        running.client.clone().with_token("0".to_owned()),
        running.client.clone().with_token(String::new()),
    ];
    for stranger in strangers {
        running.operator = stranger;
        for (method, path) in [
            ("PUT", "/v1/tier"),
            ("DELETE", "/v1/tier"),
            ("PUT", "/v1/knobs/qr-text"),
            ("DELETE", "/v1/knobs/nothing"),
            ("PUT", "/v1/shares/east"),
            ("DELETE", "/v1/shares/east"),
            ("PUT", "/v1/gateways"),
            ("DELETE", "/v1/gateways"),
            ("PUT", "/v1/mode"),
            ("DELETE", "/v1/mode"),
            ("PUT", "/v1/events/sale"),
            ("DELETE", "/v1/events/sale"),
            ("POST", "/v1/alarms"),
        ] {
            let answer = running.send(method, path, TIER_2).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.headers[http::header::WWW_AUTHENTICATE], "Bearer");
            assert!(error_of(&answer).contains("operator.token"));
        }
    }
    assert_eq!(running.json::<Status>("/v1/status").await.tier, Tier::Normal);
    running.stop().await;
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let long = format!(r#"{{"tier":1,"for_secs":60,"by":"{}"}}"#, "x".repeat(201));
    for (body, expected) in [
        (r#"{"tier":4,"for_secs":60,"by":"a"}"#, "4 is not a tier"),
        (r#"{"tier":1,"for_secs":0,"by":"a"}"#, "write 1 to 86400"),
        (r#"{"tier":1,"for_secs":86401,"by":"a"}"#, "write 1 to 86400"),
        (r#"{"tier":1,"for_secs":60,"by":""}"#, "who and why"),
        (long.as_str(), "who and why"),
        (r#"{"tier":1,"for_secs":60,"by":"ann\u001b[2J"}"#, "control character \\u{1b}"),
        (r#"{"tier":1,"for_secs":60,"by":"ann\nroot: fine"}"#, "control character \\u{a}"),
        (r#"{"tier":1,"for_secs":60}"#, "missing field `by`"),
        (r#"{"tier":1,"for_secs":60,"by":"a","more":1}"#, "unknown field `more`"),
        ("", "not such an order"),
    ] {
        let answer = running.send("PUT", "/v1/tier", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(error_of(&answer).contains(expected), "{body}: {}", error_of(&answer));
    }
    let large = format!(r#"{{"by":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(running.send("PUT", "/v1/tier", &large).await.status, 413);
    let knob = r#"{"on":true,"for_secs":60,"by":"a"}"#;
    for path in ["/v1/knobs/nothing", "/v1/knobs/%20", "/v1/knobs/QR"] {
        let answer = running.send("PUT", path, knob).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(error_of(&answer).contains("notices-cached, stats-frozen, history-hidden"));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_knob_is_turned_on_and_held_off() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let on = r#"{"on":true,"for_secs":60,"by":"bob: test"}"#;
    let answer = running.send("PUT", "/v1/knobs/qr-text", on).await;
    let knob: KnobStatus = serde_json::from_slice(&answer.body).unwrap();
    assert!(knob.on && knob.by.unwrap().contains("bob: test"));
    let off = r#"{"on":false,"for_secs":6000,"by":"eve: shop week"}"#;
    let answer = running.send("PUT", "/v1/knobs/qr-text", off).await;
    let knob: KnobStatus = serde_json::from_slice(&answer.body).unwrap();
    let (order, replaced) = (knob.order.unwrap(), knob.replaced.unwrap());
    assert_eq!(
        (order.what.as_str(), order.by.as_str()),
        ("knob qr-text held off", "eve: shop week")
    );
    assert_eq!((replaced.what.as_str(), replaced.by.as_str()), ("knob qr-text on", "bob: test"));
    assert!(!knob.on && knob.until == Some(order.until) && order.until > replaced.until);
    running.send("PUT", "/v1/tier", TIER_2).await;
    let knobs: Vec<KnobStatus> = running.json("/v1/knobs").await;
    let is_on = |id: &str| knobs.iter().any(|knob| knob.id.as_str() == id && knob.on);
    assert!(!is_on("qr-text") && is_on("history-hidden"));
    // Cleared, it does what its tier says again.
    let answer = running.send("DELETE", "/v1/knobs/qr-text", "").await;
    assert!(serde_json::from_slice::<KnobStatus>(&answer.body).unwrap().on);
    running.stop().await;
}

#[tokio::test]
async fn an_order_on_the_tier_is_shown_and_names_the_one_it_replaces() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let status = |answer: &spillway_part::client::Answer| -> Status {
        serde_json::from_slice(&answer.body).unwrap()
    };
    let first = status(&running.send("PUT", "/v1/tier", TIER_2).await);
    assert_eq!(first.replaced, None);
    let bob = r#"{"tier":1,"for_secs":60,"by":"bob: storm"}"#;
    let second = status(&running.send("PUT", "/v1/tier", bob).await);
    assert_eq!(second.replaced, Some(first.orders[0].clone()));
    assert_eq!(second.orders[0].what, "at least tier 1 (invisible)");
    assert_eq!(running.json::<Status>("/v1/status").await.orders, second.orders);
    // A knob that is on by that order ends with it, not with the plan's lease.
    let knobs: Vec<KnobStatus> = running.json("/v1/knobs").await;
    assert_eq!(knobs[0].until, Some(second.orders[0].until));
    let cleared = status(&running.send("DELETE", "/v1/tier", "").await);
    assert_eq!(cleared.replaced.unwrap().by, "bob: storm");
    assert!(cleared.orders.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn orders_survive_a_restart_and_are_audited() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    running.send("PUT", "/v1/tier", TIER_2).await;
    let held = running.json::<Status>("/v1/status").await.generation;
    running.stop().await;

    let running = Running::start(&site).await;
    running.send("PUT", "/v1/knobs/qr-text", r#"{"on":true,"for_secs":1,"by":"bob"}"#).await;
    let status: Status = running.json("/v1/status").await;
    assert_eq!(status.tier, Tier::Visible);
    assert!(status.generation >= held);
    running.send("DELETE", "/v1/tier", "").await;
    running.stop().await;

    let audit = site.journal_rows().audit().await;
    let expected = [
        ("ann: drill", "at least tier 2 (visible) for 600 s"),
        ("bob", "knob qr-text on for 1 s"),
        ("the operator", "tier cleared"),
    ];
    let expected = expected.map(|(who, what)| (who.to_owned(), what.to_owned()));
    assert_eq!(audit, expected);
}

/// Time is passed in here, so nothing waits for an order to end.
#[tokio::test]
async fn orders_end_by_themselves() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    agent.tick(clock::now()).await;
    let knob = KnobId::new("qr-text").unwrap();
    let running = Running::serve(&site, agent).await;
    running.send("PUT", "/v1/knobs/qr-text", r#"{"on":true,"for_secs":600,"by":"bob"}"#).await;
    running.stop().await;

    let mut agent = site.agent().await;
    let later = |secs: u64| UnixMillis(clock::now().0 + secs * 1000);
    agent.tick(later(1)).await;
    assert!(agent.plans().load().knob_on(&knob, later(1)));
    agent.tick(later(601)).await;
    assert!(!agent.plans().load().knobs.contains_key(&knob));
}

#[tokio::test]
async fn a_share_is_held_and_given_back() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let order = r#"{"share":0.4,"for_secs":600,"by":"ann: drill"}"#;
    let answer = running.send("PUT", "/v1/shares/east", order).await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    let east = SiteId::new("east").unwrap();
    assert!((status.sites[&east].share.get() - 0.4).abs() < 1e-9);
    assert_eq!(status.orders[0].what, "share east exactly 40.0 %");
    assert!(status.headline.contains("held there by order"), "{}", status.headline);
    let explain: Explain = running.json("/v1/explain").await;
    let reasons = explain.decision.unwrap().reasons.join("\n");
    assert!(reasons.contains("exactly 40.0 % by order of ann: drill"), "{reasons}");
    for (path, body, code, expected) in [
        ("/v1/shares/west", order, 404, "no site `west`; there are east"),
        ("/v1/shares/east", r#"{"share":1.5,"for_secs":60,"by":"a"}"#, 400, "1.5 is not a share"),
        ("/v1/shares/east", r#"{"share":0.5,"for_secs":0,"by":"a"}"#, 400, "write 1 to 86400"),
        (
            "/v1/gateways",
            r#"{"gateways":2,"for_secs":60,"by":"a"}"#,
            400,
            "no gateways in the cloud",
        ),
    ] {
        let answer = running.send("PUT", path, body).await;
        assert_eq!(answer.status, code, "{body}");
        assert!(error_of(&answer).contains(expected), "{body}: {}", error_of(&answer));
    }
    running.stop().await;

    let running = Running::start(&site).await;
    assert_eq!(running.json::<Status>("/v1/status").await.orders, status.orders, "it is kept");
    let answer = running.send("DELETE", "/v1/shares/east", "").await;
    let cleared: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(cleared.replaced.unwrap().subject, "share east");
    running.stop().await;
    let audit = site.journal_rows().audit().await;
    let expected = [
        ("ann: drill", "share east exactly 40.0 % for 600 s"),
        ("the operator", "share east cleared"),
    ];
    assert_eq!(audit, expected.map(|(who, what)| (who.to_owned(), what.to_owned())));
}

#[tokio::test]
async fn gateways_are_held_within_the_configurations_most() {
    let mut site = Site::new(1000).await;
    site.add_aws().await;
    let running = Running::start(&site).await;
    let order = r#"{"gateways":2,"bound":"at-least","for_secs":600,"by":"ann: drill"}"#;
    let answer = running.send("PUT", "/v1/gateways", order).await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status.cloud.fleet.unwrap().wanted.gateways, 2);
    assert_eq!(status.orders[0].what, "at least 2 cloud gateways");
    let answer = running.send("PUT", "/v1/gateways", &order.replace(":2", ":5")).await;
    assert_eq!(
        (answer.status, error_of(&answer).contains("allows 4 at most")),
        (400.try_into().unwrap(), true)
    );
    let answer = running.send("DELETE", "/v1/gateways", "").await;
    let cleared: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(cleared.replaced.unwrap().subject, "gateways");
    running.stop().await;
}

#[tokio::test]
async fn an_event_is_announced_listed_and_removed() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let begins = clock::now().plus_secs(600);
    let event = |factor: f64, site: &str| {
        let order = serde_json::json!({
            "at": begins, "for_secs": 60, "factor": factor, "site": site, "by": "ann: sale",
        });
        order.to_string()
    };
    let answer = running.send("PUT", "/v1/events/sale", &event(6.0, "east")).await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    let order = &status.orders[0];
    assert_eq!((order.subject.as_str(), order.until), ("event sale", begins.plus_secs(60)));
    let events: Vec<EventStatus> = running.json("/v1/events").await;
    assert_eq!((events.len(), events[0].at, events[0].factor), (1, begins, 6.0));
    let explain: Explain = running.json("/v1/explain").await;
    let reasons = explain.decision.unwrap().reasons.join("\n");
    assert!(reasons.contains("event sale: 6 times the usual demand at east in "), "{reasons}");
    for (path, body, code, expected) in [
        ("/v1/events/sale", event(0.5, "east"), 400, "`factor` is 0.5"),
        ("/v1/events/sale", event(6.0, "west"), 404, "no site `west`; there are east"),
        ("/v1/events/Sale", event(6.0, "east"), 400, "not a name"),
        ("/v1/events/sale", TIER_2.to_owned(), 400, "not such an order"),
    ] {
        let answer = running.send("PUT", path, &body).await;
        assert_eq!(answer.status, code, "{body}");
        assert!(error_of(&answer).contains(expected), "{body}: {}", error_of(&answer));
    }
    running.stop().await;

    let running = Running::start(&site).await;
    assert_eq!(running.json::<Vec<EventStatus>>("/v1/events").await, events, "it is kept");
    let answer = running.send("DELETE", "/v1/events/sale", "").await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status.replaced.unwrap().by, "ann: sale");
    assert!(running.json::<Vec<EventStatus>>("/v1/events").await.is_empty());
    running.stop().await;
    let audit = site.journal_rows().audit().await;
    let expected = format!("event sale: 6 times the usual demand at east from {begins} for 60 s");
    let expected = [("ann: sale", expected.as_str()), ("the operator", "event sale cleared")];
    assert_eq!(audit, expected.map(|(who, what)| (who.to_owned(), what.to_owned())));
}

fn change(alarm: &str, state: AlarmState, changed_at: UnixMillis) -> AlarmChange {
    AlarmChange {
        alarm: alarm.to_owned(),
        state,
        changed_at,
        tier: Tier::Visible,
        lease_secs: 600,
        site: None,
        why: "5 % fail".to_owned(),
    }
}

async fn tell(running: &Running, change: &AlarmChange) -> Status {
    let answer = running.send("POST", "/v1/alarms", &serde_json::to_string(change).unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn ordered(status: &Status) -> Vec<(&str, &str)> {
    status.orders.iter().map(|order| (order.subject.as_str(), order.by.as_str())).collect()
}

#[tokio::test]
async fn an_alarm_raises_the_tier_until_it_is_over() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let began = clock::now();
    let on = change("shop/failing", AlarmState::Alarm, began);
    let status = tell(&running, &on).await;
    assert_eq!((status.tier, status.replaced), (Tier::Visible, None));
    let of_alarm = ("alarm shop/failing", "alarm shop/failing: 5 % fail");
    assert_eq!(status.orders.len(), 1);
    let order = &status.orders[0];
    assert_eq!((order.subject.as_str(), order.by.as_str()), of_alarm);
    assert_eq!(
        (order.what.as_str(), order.until),
        ("at least tier 2 (visible)", began.plus_secs(600))
    );
    let explain: Explain = running.json("/v1/explain").await;
    assert_eq!(explain.orders, status.orders);
    let reasons = explain.decision.unwrap().reasons.join("\n");
    assert!(reasons.contains("by order of alarm shop/failing: 5 % fail"), "{reasons}");
    let knobs: Vec<KnobStatus> = running.json("/v1/knobs").await;
    assert_eq!((knobs[0].on, knobs[0].until), (true, Some(began.plus_secs(600))));

    // The operator's order is one beside it: clearing that leaves the alarm's.
    running.send("PUT", "/v1/tier", r#"{"tier":1,"for_secs":60,"by":"ann: drill"}"#).await;
    let status: Status = running.json("/v1/status").await;
    assert_eq!(ordered(&status), [("tier", "ann: drill"), of_alarm]);
    assert_eq!(status.tier, Tier::Visible);
    let cleared = running.send("DELETE", "/v1/tier", "").await;
    let cleared: Status = serde_json::from_slice(&cleared.body).unwrap();
    assert_eq!(ordered(&cleared), [of_alarm]);

    // It comes again, and late, by other ways; nobody knows what it is; another site has one.
    let unknown = change("shop/failing", AlarmState::InsufficientData, began.plus_millis(5));
    let earlier = change("shop/failing", AlarmState::Ok, UnixMillis(began.0 - 1000));
    let elsewhere = SiteId::new("elsewhere").unwrap();
    let elsewhere =
        AlarmChange { site: Some(elsewhere), ..change("far", AlarmState::Alarm, began) };
    for passed_over in [on.clone(), unknown, earlier, elsewhere] {
        assert_eq!(ordered(&tell(&running, &passed_over).await), [of_alarm], "{passed_over:?}");
    }
    let here = Some(SiteId::new("east").unwrap());
    let near = AlarmChange { site: here, ..change("near", AlarmState::Alarm, began) };
    assert_eq!(tell(&running, &near).await.orders.len(), 2);

    let over = change("shop/failing", AlarmState::Ok, began.plus_millis(10));
    let status = tell(&running, &over).await;
    assert_eq!(status.replaced.unwrap().subject, "alarm shop/failing");
    assert_eq!(status.orders.len(), 1);
    assert_eq!(tell(&running, &on).await.orders.len(), 1, "it is over");
    running.stop().await;
}

#[tokio::test]
async fn what_alarms_order_survives_a_restart_and_is_audited() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let began = clock::now();
    let on = change("shop/failing", AlarmState::Alarm, began);
    tell(&running, &on).await;
    tell(&running, &on).await;
    let over = change("shop/slow", AlarmState::Ok, began);
    tell(&running, &over).await;
    running.stop().await;

    let running = Running::start(&site).await;
    let late = change("shop/slow", AlarmState::Alarm, UnixMillis(began.0 - 5));
    let status = tell(&running, &late).await;
    assert_eq!(ordered(&status), [("alarm shop/failing", "alarm shop/failing: 5 % fail")]);
    assert_eq!((status.orders[0].until, status.tier), (began.plus_secs(600), Tier::Visible));
    running.stop().await;

    let audit = site.journal_rows().audit().await;
    let expected = [
        ("alarm shop/failing: 5 % fail", "at least tier 2 (visible) for 600 s"),
        ("alarm shop/slow: 5 % fail", "the alarm is over"),
    ];
    assert_eq!(audit, expected.map(|(who, what)| (who.to_owned(), what.to_owned())));
}

#[tokio::test]
async fn a_change_that_makes_no_sense_is_refused() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let now = clock::now();
    let good = change("a", AlarmState::Alarm, now);
    let mut more = serde_json::to_value(&good).unwrap();
    more["more"] = 1.into();
    let ahead = change("a", AlarmState::Alarm, now.plus_secs(400));
    for (body, expected) in [
        (serde_json::to_value(AlarmChange { tier: Tier::Normal, ..good.clone() }), "`tier` is 0"),
        (serde_json::to_value(AlarmChange { lease_secs: 0, ..good }), "`lease_secs` is 0"),
        (serde_json::to_value(ahead), "s ahead of the agent's clock"),
        (Ok(more), "unknown field `more`"),
    ] {
        let body = body.unwrap().to_string();
        let answer = running.send("POST", "/v1/alarms", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(error_of(&answer).contains(expected), "{body}: {}", error_of(&answer));
    }
    assert!(running.json::<Status>("/v1/status").await.orders.is_empty());
    running.stop().await;
}
