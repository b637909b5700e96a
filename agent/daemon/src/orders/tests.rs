use spillway_model::Tier;

use super::*;

fn tier(for_secs: u64, by: &str) -> Order {
    Order::Tier(Some(TierOrder { tier: Tier::Visible, for_secs, by: by.to_owned() }))
}

#[test]
fn an_order_ends_and_says_who_gave_it() {
    assert!(tier(1, "ann: drill").check().is_ok());
    assert!(tier(FOR_SECS_MAX, &"é".repeat(200)).check().is_ok());
    for bad in [
        tier(0, "ann"),
        tier(FOR_SECS_MAX + 1, "ann"),
        tier(60, " "),
        tier(60, ""),
        tier(60, &"x".repeat(201)),
        tier(60, "ann: \u{1b}[2J"),
        tier(60, "ann\nand another line"),
        tier(60, "\u{202e}nna"),
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    assert!(Order::Tier(None).check().is_ok());
}

#[test]
fn orders_end_by_themselves() {
    let book = OrderBook::default();
    book.apply(tier(10, "ann"), UnixMillis(1000));
    let knob = KnobId::new("qr-text").unwrap();
    let order = KnobOrder { on: false, for_secs: 20, by: "bob".to_owned() };
    let version = book.apply(Order::Knob(knob, Some(order)), UnixMillis(1000)).version;
    let (orders, seen) = book.live(UnixMillis(10_999));
    assert_eq!((orders.tier.is_some(), orders.knobs.len(), seen), (true, 1, version));
    let (orders, _) = book.live(UnixMillis(11_000));
    assert_eq!((orders.tier.is_some(), orders.knobs.len()), (false, 1));
    assert!(book.live(UnixMillis(21_000)).0.knobs.is_empty());
}

#[test]
fn an_order_names_the_one_it_replaces() {
    let book = OrderBook::default();
    let at = UnixMillis(1000);
    assert_eq!(book.apply(tier(10, "ann: drill"), at).replaced, None);
    let replaced = book.apply(tier(20, "bob: storm"), at).replaced.unwrap();
    assert_eq!((replaced.subject.as_str(), replaced.by.as_str()), ("tier", "ann: drill"));
    assert_eq!(replaced.what, "at least tier 2 (visible)");
    assert_eq!(replaced.until, UnixMillis(11_000));
    assert_eq!(book.apply(Order::Tier(None), at).replaced.unwrap().by, "bob: storm");
    assert_eq!(book.apply(Order::Tier(None), at).replaced, None);

    let knob = |on| {
        let order = KnobOrder { on, for_secs: 5, by: "ann: drill".to_owned() };
        Order::Knob(KnobId::new("qr-text").unwrap(), Some(order))
    };
    assert_eq!(book.apply(knob(false), at).replaced, None);
    let replaced = book.apply(knob(true), at).replaced.unwrap();
    assert_eq!(replaced.what, "knob qr-text held off");
    let ended = UnixMillis(6000);
    assert_eq!(book.apply(knob(true), ended).replaced, None, "it had ended by itself");
}

#[test]
fn a_knob_is_told_with_the_end_of_its_order() {
    let status = |on, tier| KnobStatus {
        id: KnobId::new("qr-text").unwrap(),
        tier,
        owner: String::new(),
        users_see: String::new(),
        releases: spillway_model::Share::ZERO,
        on,
        until: on.then_some(UnixMillis(2000)),
        by: on.then(|| "tier 2".to_owned()),
        order: None,
        replaced: None,
    };
    let told = |mut status: KnobStatus, orders: &Orders| {
        tell_knob(&mut status, orders, UnixMillis(1000));
        (status.until.map(|until| until.0), status.by, status.order.map(|order| order.what))
    };
    let mut orders = Orders::default();
    let by_tier = Some("tier 2".to_owned());
    assert_eq!(told(status(true, Tier::Visible), &orders), (Some(2000), by_tier.clone(), None));

    let order = TierOrder { tier: Tier::Visible, for_secs: 60, by: "ann: drill".to_owned() };
    orders.tier = Some((order, UnixMillis(60_000)));
    let by_ann = Some("ann: drill".to_owned());
    assert_eq!(told(status(true, Tier::Visible), &orders), (Some(60_000), by_ann, None));
    assert_eq!(told(status(true, Tier::Severe), &orders), (Some(2000), by_tier, None));

    let order = KnobOrder { on: false, for_secs: 90, by: "bob: shop week".to_owned() };
    orders.knobs.insert(KnobId::new("qr-text").unwrap(), (order, UnixMillis(90_000)));
    let (until, by, what) = told(status(false, Tier::Visible), &orders);
    assert_eq!((until, by.as_deref()), (Some(90_000), Some("bob: shop week")));
    assert_eq!(what.as_deref(), Some("knob qr-text held off"));
}

fn event(at: u64, for_secs: u64, factor: f64) -> EventOrder {
    EventOrder { at: UnixMillis(at), for_secs, factor, site: None, by: "ann: sale".to_owned() }
}

#[test]
fn an_event_is_kept_until_it_is_over() {
    let (book, now) = (OrderBook::default(), UnixMillis(1000));
    let sale = EventId::new("sale").unwrap();
    let order = |event| Order::Event(sale.clone(), event);
    for bad in [0.0, 0.99, 1000.1, f64::NAN, f64::INFINITY] {
        assert!(order(Some(event(5000, 10, bad))).check().unwrap_err().contains("`factor`"));
    }
    let given = order(Some(event(5000, 10, 6.0)));
    assert_eq!(given.check(), Ok(()));
    assert_eq!(given.kept_until(now), Some(UnixMillis(15_000)), "not from now on");
    assert_eq!(
        given.what(),
        "event sale: 6 times the usual demand from 1970-01-01T00:00:05.000Z for 10 s"
    );
    assert_eq!(book.apply(given.clone(), now).replaced, None);
    assert_eq!(told(&book.live(now).0)[0].subject, "event sale");
    assert_eq!(book.apply(given.clone(), now).replaced.unwrap().until, UnixMillis(15_000));
    assert!(book.live(UnixMillis(15_000)).0.events.is_empty());

    let body = given.body().unwrap().unwrap();
    let rows = vec![("event sale".to_owned(), UnixMillis(15_000), body)];
    let restored = OrderBook::restore(rows, now).live(now).0;
    assert_eq!(restored.events[&sale].0, event(5000, 10, 6.0));

    let news = |event| book.is_news(&order(Some(event)), UnixMillis(20_000));
    assert_eq!(news(event(5000, 10, 6.0)), Err(NotTaken::Over));
    assert_eq!(news(event(10_000, 11, 6.0)), Ok(true), "it goes on");
    assert_eq!(news(event(400 * 86_400_000, 10, 6.0)), Err(NotTaken::Far));
    for n in 0..EVENTS_MAX {
        let name = EventId::new(&format!("e{n}")).unwrap();
        book.apply(Order::Event(name, Some(event(30_000, 10, 6.0))), now);
    }
    assert_eq!(news(event(30_000, 10, 6.0)), Err(NotTaken::TooManyEvents));
    assert_eq!(book.apply(order(None), now).replaced, None);
}

#[test]
fn orders_come_back_from_the_journal() {
    let body = tier(10, "ann").body().unwrap().unwrap();
    let rows = vec![
        ("tier".to_owned(), UnixMillis(9000), body.clone()),
        ("knob qr-text".to_owned(), UnixMillis(9000), body),
        ("knob QR".to_owned(), UnixMillis(9000), "{}".to_owned()),
        ("else".to_owned(), UnixMillis(9000), "{}".to_owned()),
    ];
    let (orders, _) = OrderBook::restore(rows, UnixMillis(0)).live(UnixMillis(0));
    assert_eq!(orders.tier.unwrap().1, UnixMillis(9000));
    assert!(orders.knobs.is_empty());
}

fn alarm(name: &str, state: AlarmState, at: u64) -> Order {
    Order::Alarm(AlarmChange {
        alarm: name.to_owned(),
        state,
        changed_at: UnixMillis(at),
        tier: Tier::Severe,
        lease_secs: 60,
        site: None,
        why: "5 % fail".to_owned(),
    })
}

#[test]
fn an_alarm_orders_beside_the_operator() {
    let (book, at) = (OrderBook::default(), UnixMillis(1000));
    book.apply(tier(10, "ann: drill"), at);
    assert_eq!(book.apply(alarm("failing", AlarmState::Alarm, 500), at).replaced, None);
    let orders = told(&book.live(at).0);
    let told: Vec<_> = orders.iter().map(|o| (o.subject.as_str(), o.what.as_str())).collect();
    let expected =
        [("tier", "at least tier 2 (visible)"), ("alarm failing", "at least tier 3 (severe)")];
    assert_eq!(told, expected);
    assert_eq!((orders[1].by.as_str(), orders[1].until.0), ("alarm failing: 5 % fail", 60_500));
    // Each clears its own.
    assert_eq!(book.apply(Order::Tier(None), at).replaced.unwrap().subject, "tier");
    assert_eq!(book.live(at).0.alarms.len(), 1);
    let over = book.apply(alarm("failing", AlarmState::Ok, 600), at);
    assert_eq!(over.replaced.unwrap().subject, "alarm failing");
    assert!(book.live(at).0.alarms.is_empty());
    let version = book.live(at).1;
    let unheard_of = book.apply(alarm("slow", AlarmState::Ok, 600), at);
    assert_eq!((unheard_of.version, unheard_of.replaced), (version, None), "no effect");
    let again = alarm("failing", AlarmState::Alarm, 600);
    assert_eq!(book.is_news(&again, at), Ok(false));
    assert_eq!(book.is_news(&Order::Tier(None), at), Ok(true));
}

#[test]
fn what_alarms_said_comes_back_from_the_journal() {
    let (on, over) = (alarm("a", AlarmState::Alarm, 500), alarm("b", AlarmState::Ok, 600));
    let row = |order: &Order| {
        let until = order.kept_until(UnixMillis(0)).unwrap();
        (order.subject(), until, order.body().unwrap().unwrap())
    };
    assert_eq!(row(&on).1, UnixMillis(500 + 86_400_000));
    let now = UnixMillis(1000);
    let mut rows = vec![row(&on), row(&over)];
    rows.push(("alarm c".to_owned(), rows[0].1, "{}".to_owned()));
    let book = OrderBook::restore(rows, now);
    assert_eq!(book.live(now).0.alarms.keys().collect::<Vec<_>>(), ["a"]);
    for known in [on, over, alarm("b", AlarmState::Alarm, 550)] {
        assert_eq!(book.is_news(&known, now), Ok(false), "{known:?}");
    }
    assert!(book.live(UnixMillis(60_500)).0.alarms.is_empty(), "the lease goes on as it was");
}
