use std::path::Path;

use proptest::prelude::*;

use super::*;

fn policy() -> Policy {
    let text = include_str!("../../../../examples/spillway.toml");
    Policy::new(&spillway_model::Config::parse(text, Path::new(".")).unwrap())
}

/// So many times what fills the uplink, and of what the processors serve.
fn demands(policy: &Policy, bits: f64, weight: f64) -> Demands {
    let site = &policy.sites[0];
    let of = |more: f64| Expected {
        movable_bits: more * bits * site.cap,
        movable_weight: more * weight * site.weighted_qps,
        ..Expected::default()
    };
    Demands { lasting: of(0.9), likely: of(0.95), soon: of(1.0), later: of(1.1) }
}

fn host(policy: &Policy, load: Demands) -> Host<'_> {
    let is = Standing::Open { whole: true, strained: false };
    Host { site: &policy.sites[0], is, load, redirect_bits: 0.0 }
}

const OPEN: Standing = Standing::Open { whole: true, strained: false };

proptest! {
    /// What is offered fits beside what is there, of several that are helped too; a step more would not.
    #[test]
    fn no_more_is_offered_than_there_is_room_for(
        own in (0.0..1.2, 0.0..1.2), guests in prop::collection::vec((0.01..3.0, 0.01..3.0), 1..4),
        from in 0.0..0.5,
    ) {
        let policy = policy();
        let mut host = host(&policy, demands(&policy, own.0, own.1));
        let site = &policy.sites[0];
        let fits = |load: &Expected| {
            load.home_bits(0.0) <= CALM * load.line(site.cap, policy.uplink_target, 0.0)
                && load.home_weight(0.0) <= CALM * site.weighted_qps * policy.compute_target
        };
        for (bits, weight) in guests {
            let guest = demands(&policy, bits, weight);
            let part = host.most(&policy, &guest, from, true);
            prop_assert!(part <= host.most(&policy, &guest, from, false), "a margin is room kept");
            let more = host.load.later.with(&guest.later, from, from + part + STEP);
            prop_assert!(from + part + STEP > 1.0 || !fits(&more));
            if part > 0.0 {
                prop_assert!(fits(&host.load.later.with(&guest.later, from, from + part)));
                prop_assert!(!host.presses(&policy, &guest, from, from + part));
            }
            host.take(&guest, from, from + part);
            prop_assert!(part <= 0.0 || fits(&host.load.later));
        }
        let room = host.room(&policy);
        prop_assert!(room.bits >= 0.0 && room.weight >= 0.0);
    }

    /// Whatever the room does: what is taken is taken at once, and given again after a dwell at the soonest.
    #[test]
    fn room_is_taken_at_once_and_given_after_a_dwell(
        rooms in prop::collection::vec((0.0..1.0, any::<bool>()), 1..120),
    ) {
        let policy = policy();
        let (mut state, mut given, mut taken) = (HelpState::default(), 0.0, None);
        for (secs, (room, presses)) in rooms.into_iter().enumerate() {
            let at = UnixMillis(1_800_000_000_000 + 1000 * secs as u64);
            let fit = Fit { room: 0.9 * room, least: room, presses };
            let (part, _) = state.step(&policy, OPEN, fit, given, false, at);
            if presses {
                prop_assert!(part <= f64::max(room, 0.0) || part <= given.min(room), "{part} of {room}");
            }
            if part < given {
                prop_assert!(presses && part <= room);
                taken = Some(at);
            } else if part > given {
                prop_assert!(part <= 0.9 * room, "{part} of {room}");
                let waited = taken.is_none_or(|taken| at.millis_since(taken) >= 10_000);
                prop_assert!(waited, "given {part} again too soon");
            }
            given = part;
        }
    }
}

#[test]
fn who_is_not_seen_holds_and_who_does_not_serve_gives_nothing() {
    let policy = policy();
    let at = |secs: u64| UnixMillis(1_800_000_000_000 + 1000 * secs);
    let fit = Fit { room: 0.5, least: 0.5, presses: false };
    let mut state = HelpState::default();
    let mut step = |is, given, dead, secs| state.step(&policy, is, fit, given, dead, at(secs)).0;
    assert_eq!(step(OPEN, 0.0, false, 0), 0.5);
    assert_eq!(step(Standing::Open { whole: false, strained: false }, 0.2, false, 1), 0.2);
    for secs in 2..12 {
        assert_eq!(step(Standing::Unseen, 0.3, false, secs), 0.3);
    }
    assert_eq!(step(Standing::Unseen, 0.3, true, 12), 0.3, "there is nowhere else");
    assert_eq!(step(Standing::Unseen, 0.3, false, 12), 0.0);
    assert_eq!(step(OPEN, 0.0, false, 13), 0.0, "it waits for a dwell");
    assert_eq!(step(OPEN, 0.0, false, 40), 0.5);
    assert_eq!(step(Standing::Closed("it is down"), 0.5, true, 41), 0.0);
    let strained = Standing::Open { whole: true, strained: true };
    assert_eq!(step(strained, 0.5, false, 42), 0.5, "that room was just taken may be why");
    assert_eq!(step(strained, 0.5, false, 45), 0.0);
}

#[test]
fn what_falls_is_followed_until_dns_is_asked_again() {
    let policy = policy();
    let at = |secs: u64| UnixMillis(1_800_000_000_000 + 1000 * secs);
    let mut bound = Followed::default();
    bound.set(&policy, 0.5, at(0));
    bound.set(&policy, 0.2, at(10));
    bound.set(&policy, 0.1, at(12));
    assert_eq!((bound.largest(&policy, at(12)), bound.largest(&policy, at(18))), (0.5, 0.5));
    assert_eq!(bound.largest(&policy, at(19)), 0.1, "the TTL of the example is five seconds");
    bound.set(&policy, 0.3, at(20));
    assert_eq!(bound.largest(&policy, at(20)), 0.3);
    let mut part = 0.0;
    for (now, least, most) in [(0.4, 0.4, 0.4), (0.0, 0.2, 0.3), (0.0, 0.1, 0.25), (0.6, 0.6, 0.6)]
    {
        part = followed(&policy, part, now);
        assert!((least..=most).contains(&part), "{part}");
    }
    for _ in 0..40 {
        part = followed(&policy, part, 0.0);
    }
    assert_eq!(part, 0.0);
}
