//! What alarms ask for. The last change of each alarm is remembered for as long as an order by it
//! could hold, so that a change that comes again or late changes nothing.

use std::collections::BTreeMap;

use spillway_model::api::{
    ALARM_CHARS_MAX, AlarmChange, AlarmState, BY_CHARS_MAX, TierOrder, unprintable,
};
use spillway_model::{Tier, UnixMillis};

use crate::orders::{FOR_SECS_MAX, NotTaken};

/// Most alarms that are remembered.
pub(crate) const ALARMS_MAX: usize = 1000;
/// How far the cloud's clock may be ahead of ours. A change from further ahead would make all later
/// ones of its alarm look old.
pub(crate) const AHEAD_SECS_MAX: u64 = 300;

/// The alarms that are known.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    last: BTreeMap<String, AlarmChange>,
}

impl Alarms {
    /// Whether a change says something new at `now`.
    pub(crate) fn is_news(&self, change: &AlarmChange, now: UnixMillis) -> Result<bool, NotTaken> {
        let ahead_secs = change.changed_at.millis_since(now) / 1000;
        if ahead_secs > AHEAD_SECS_MAX {
            return Err(NotTaken::Ahead(ahead_secs));
        }
        let over = forgotten_at(change) <= now;
        match self.last.get(&change.alarm) {
            _ if over || change.state == AlarmState::InsufficientData => Ok(false),
            Some(last) => Ok(last.changed_at < change.changed_at),
            None if self.last.len() < ALARMS_MAX || self.idlest(now).is_some() => Ok(true),
            None => Err(NotTaken::TooManyAlarms),
        }
    }

    /// Remembers a change that is news; where there is no room, instead of the one that has asked for
    /// nothing for longest.
    pub(crate) fn take(&mut self, change: AlarmChange, now: UnixMillis) {
        if self.last.len() >= ALARMS_MAX
            && !self.last.contains_key(&change.alarm)
            && let Some(idlest) = self.idlest(now)
        {
            self.last.remove(&idlest);
        }
        self.last.insert(change.alarm.clone(), change);
    }

    /// Forgets what no order could hold of any more.
    pub(crate) fn forget(&mut self, now: UnixMillis) {
        self.last.retain(|_, change| now < forgotten_at(change));
    }

    /// The orders in force at `now`, by alarm.
    pub(crate) fn orders(&self, now: UnixMillis) -> BTreeMap<String, (TierOrder, UnixMillis)> {
        let orders = self.last.values().filter_map(|change| {
            let until = asks_until(change).filter(|until| now < *until)?;
            Some((change.alarm.clone(), (order(change), until)))
        });
        orders.collect()
    }

    fn idlest(&self, now: UnixMillis) -> Option<String> {
        let idle = self.last.values().filter(|c| asks_until(c).is_none_or(|until| until <= now));
        idle.min_by_key(|change| change.changed_at).map(|change| change.alarm.clone())
    }
}

/// Until when a change must be remembered: no order by an older one can hold then.
pub(crate) fn forgotten_at(change: &AlarmChange) -> UnixMillis {
    change.changed_at.plus_secs(FOR_SECS_MAX)
}

/// Until when it asks for its tier; `None` when it does not.
fn asks_until(change: &AlarmChange) -> Option<UnixMillis> {
    let asks = change.state == AlarmState::Alarm;
    asks.then(|| change.changed_at.plus_secs(change.lease_secs))
}

/// What it orders.
pub(crate) fn order(change: &AlarmChange) -> TierOrder {
    TierOrder { tier: change.tier, for_secs: change.lease_secs, by: by(change) }
}

/// Who gives the order and why, as people read it.
pub(crate) fn by(change: &AlarmChange) -> String {
    format!("alarm {}: {}", change.alarm, change.why).chars().take(BY_CHARS_MAX).collect()
}

/// Whether the change is one; the answer says what to write instead.
pub(crate) fn check(change: &AlarmChange) -> Result<(), String> {
    let fits = |text: &str, chars_max: usize| {
        !text.trim().is_empty()
            && text.chars().count() <= chars_max
            && !text.chars().any(unprintable)
    };
    if !fits(&change.alarm, ALARM_CHARS_MAX) {
        return Err(format!(
            "`alarm` is the alarm's name: write 1 to {ALARM_CHARS_MAX} characters, none of them a control character"
        ));
    }
    if !fits(&change.why, BY_CHARS_MAX) {
        return Err(format!(
            "`why` says why the alarm changed: write 1 to {BY_CHARS_MAX} characters, none of them a control character"
        ));
    }
    if change.tier == Tier::Normal {
        return Err("`tier` is 0, which asks for nothing: write 1, 2 or 3".to_owned());
    }
    if !(1..=FOR_SECS_MAX).contains(&change.lease_secs) {
        return Err(format!(
            "`lease_secs` is {}, but every order ends: write 1 to {FOR_SECS_MAX}",
            change.lease_secs
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_800_000_000;
    const NOW: UnixMillis = UnixMillis(START * 1000);

    fn at(secs: u64) -> UnixMillis {
        UnixMillis((START + secs) * 1000)
    }

    fn change(alarm: &str, state: AlarmState, secs: u64) -> AlarmChange {
        AlarmChange {
            alarm: alarm.to_owned(),
            state,
            changed_at: at(secs),
            tier: Tier::Visible,
            lease_secs: 600,
            site: None,
            why: "it is slow".to_owned(),
        }
    }

    /// Takes a change if it is news, and says whether it was.
    fn hear(alarms: &mut Alarms, change: AlarmChange, now: UnixMillis) -> bool {
        let news = alarms.is_news(&change, now).unwrap();
        if news {
            alarms.take(change, now);
        }
        news
    }

    #[test]
    fn an_alarm_orders_until_it_is_over_or_its_lease_ends() {
        let mut alarms = Alarms::default();
        assert!(hear(&mut alarms, change("slow", AlarmState::Alarm, 0), at(5)));
        let orders = alarms.orders(at(5));
        let (order, until) = &orders["slow"];
        assert_eq!((order.tier, order.by.as_str()), (Tier::Visible, "alarm slow: it is slow"));
        assert_eq!(*until, at(600), "counted from the change, not from when it is heard of");
        assert_eq!(alarms.orders(at(599)).len(), 1);
        assert!(alarms.orders(at(600)).is_empty());

        assert!(hear(&mut alarms, change("failing", AlarmState::Alarm, 100), at(101)));
        assert_eq!(alarms.orders(at(101)).len(), 2);
        assert!(!hear(&mut alarms, change("slow", AlarmState::InsufficientData, 110), at(110)));
        assert_eq!(alarms.orders(at(110)).len(), 2, "that nobody knows withdraws nothing");
        assert!(hear(&mut alarms, change("slow", AlarmState::Ok, 120), at(120)));
        assert_eq!(alarms.orders(at(120)).keys().collect::<Vec<_>>(), ["failing"]);
    }

    #[test]
    fn what_comes_again_or_late_changes_nothing() {
        let mut alarms = Alarms::default();
        // The end of an alarm overtakes its beginning.
        assert!(hear(&mut alarms, change("slow", AlarmState::Ok, 60), at(60)));
        assert!(!hear(&mut alarms, change("slow", AlarmState::Alarm, 0), at(61)));
        assert!(!hear(&mut alarms, change("slow", AlarmState::Alarm, 60), at(61)));
        assert!(alarms.orders(at(61)).is_empty());
        let again = change("slow", AlarmState::Alarm, 90);
        assert!(hear(&mut alarms, again.clone(), at(90)));
        assert!(!hear(&mut alarms, again, at(91)));
        assert!(!hear(&mut alarms, change("slow", AlarmState::Ok, 60), at(92)));
        assert_eq!(alarms.orders(at(92)).len(), 1);
        // What is a day old could order nothing, so it is no news, and nothing is kept of it.
        assert!(!hear(&mut alarms, change("old", AlarmState::Alarm, 0), at(FOR_SECS_MAX)));
        alarms.forget(at(90 + FOR_SECS_MAX - 1));
        assert_eq!(alarms.last.len(), 1);
        alarms.forget(at(90 + FOR_SECS_MAX));
        assert!(alarms.last.is_empty());
    }

    #[test]
    fn a_change_from_the_future_is_refused() {
        let alarms = Alarms::default();
        assert_eq!(alarms.is_news(&change("slow", AlarmState::Alarm, 300), NOW), Ok(true));
        let refused = alarms.is_news(&change("slow", AlarmState::Alarm, 301), NOW);
        assert_eq!(refused, Err(NotTaken::Ahead(301)));
    }

    #[test]
    fn there_is_room_for_as_many_alarms_as_ask() {
        let mut alarms = Alarms::default();
        let limit = u64::try_from(ALARMS_MAX).unwrap();
        for n in 0..limit {
            let state = if n == 7 { AlarmState::Ok } else { AlarmState::Alarm };
            assert!(hear(&mut alarms, change(&format!("a{n}"), state, 0), NOW));
        }
        assert!(hear(&mut alarms, change("more", AlarmState::Alarm, 1), at(1)));
        assert!(!alarms.last.contains_key("a7"), "the one that asks for nothing makes room");
        let refused = alarms.is_news(&change("most", AlarmState::Alarm, 1), at(1));
        assert_eq!(refused, Err(NotTaken::TooManyAlarms));
        assert!(hear(&mut alarms, change("a0", AlarmState::Ok, 1), at(1)), "it is known");
        assert!(hear(&mut alarms, change("most", AlarmState::Alarm, 2), at(2)));
        assert_eq!(alarms.last.len(), ALARMS_MAX);
    }

    #[test]
    fn a_change_that_makes_no_sense_is_told() {
        let good = change("slow", AlarmState::Alarm, 0);
        assert_eq!(check(&good), Ok(()));
        let long = AlarmChange { alarm: "é".repeat(255), why: "é".repeat(200), ..good.clone() };
        assert_eq!(check(&long), Ok(()));
        assert_eq!(by(&long).chars().count(), BY_CHARS_MAX);
        for (bad, says) in [
            (AlarmChange { alarm: " ".to_owned(), ..good.clone() }, "`alarm`"),
            (AlarmChange { alarm: "x".repeat(256), ..good.clone() }, "`alarm`"),
            (AlarmChange { alarm: "a\u{1b}[2J".to_owned(), ..good.clone() }, "`alarm`"),
            (AlarmChange { why: String::new(), ..good.clone() }, "`why`"),
            (AlarmChange { why: "a\u{202e}".to_owned(), ..good.clone() }, "`why`"),
            (AlarmChange { why: "x".repeat(201), ..good.clone() }, "`why`"),
            (AlarmChange { tier: Tier::Normal, ..good.clone() }, "`tier` is 0"),
            (AlarmChange { lease_secs: 0, ..good.clone() }, "`lease_secs` is 0"),
            (AlarmChange { lease_secs: 86_401, ..good }, "`lease_secs` is 86401"),
        ] {
            let message = check(&bad).unwrap_err();
            assert!(message.starts_with(says), "{message}");
        }
    }

    proptest! {
        /// Whatever way and order changes come in, and how often: once all have come, what is in force
        /// is what the newest of each alarm says.
        #[test]
        fn the_order_of_arrival_does_not_matter(
            changes in prop::collection::vec((0..3_u8, any::<bool>(), 0..50_u64), 1..20),
            again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            seed in any::<u64>(),
        ) {
            let mut all: Vec<AlarmChange> = changes.iter().enumerate().map(|(n, (alarm, on, secs))| {
                let state = if *on { AlarmState::Alarm } else { AlarmState::Ok };
                // No alarm changes twice in a millisecond.
                let mut change = change(&format!("a{alarm}"), state, *secs);
                change.changed_at.0 += u64::try_from(n).unwrap();
                change
            }).collect();
            let mut newest = BTreeMap::<String, AlarmChange>::new();
            for change in &all {
                let known = newest.get(&change.alarm).is_some_and(|c| c.changed_at > change.changed_at);
                if !known {
                    newest.insert(change.alarm.clone(), change.clone());
                }
            }
            all.extend(again.iter().map(|index| index.get(&all).clone()).collect::<Vec<_>>());
            let key = |change: &AlarmChange| change.changed_at.0.wrapping_mul(seed | 1);
            all.sort_by_key(key);
            let (mut alarms, now) = (Alarms::default(), at(60));
            for change in all {
                hear(&mut alarms, change, now);
            }
            let on: Vec<_> = newest.values().filter(|c| c.state == AlarmState::Alarm).collect();
            let orders = alarms.orders(now);
            prop_assert_eq!(orders.keys().collect::<Vec<_>>(), on.iter().map(|c| &c.alarm).collect::<Vec<_>>());
        }
    }
}
