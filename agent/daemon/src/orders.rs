//! Orders, the operators' and those of alarms: each is a lease, kept in the journal so that it
//! survives a restart.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use spillway_decide::Orders;
use spillway_model::api::{
    AlarmChange, AlarmState, BY_CHARS_MAX, KnobOrder, KnobStatus, OrderStatus, TierOrder,
    unprintable,
};
use spillway_model::{KnobId, UnixMillis};

use crate::alarms::{self, Alarms, NotTaken};

/// Longest an order may hold, in seconds.
pub(crate) const FOR_SECS_MAX: u64 = 86_400;

/// An order that is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Tier(Option<TierOrder>),
    Knob(KnobId, Option<KnobOrder>),
    Alarm(AlarmChange),
}

impl Order {
    /// What it is about, as the journal's key.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Tier(_) => "tier".to_owned(),
            Self::Knob(id, _) => format!("knob {id}"),
            Self::Alarm(change) => format!("alarm {}", change.alarm),
        }
    }

    /// How long an operator's order holds and who gave it; `None` when it clears.
    fn terms(&self) -> Option<(u64, &str)> {
        match self {
            Self::Tier(order) => order.as_ref().map(|o| (o.for_secs, o.by.as_str())),
            Self::Knob(_, order) => order.as_ref().map(|o| (o.for_secs, o.by.as_str())),
            Self::Alarm(_) => None,
        }
    }

    /// Who gives it, for the audit.
    pub(crate) fn who(&self) -> Cow<'_, str> {
        match self {
            Self::Alarm(change) => Cow::Owned(alarms::by(change)),
            _ => Cow::Borrowed(self.terms().map_or("the operator", |(_, by)| by)),
        }
    }

    /// Until when the journal keeps it, given at `now`; `None` when it clears. The end of an alarm is
    /// kept like its beginning, which may come later.
    pub(crate) fn kept_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        match self {
            Self::Alarm(change) => Some(alarms::forgotten_at(change)),
            _ => self.terms().map(|(for_secs, _)| now.plus_secs(for_secs)),
        }
    }

    /// The order as JSON, for the journal; `None` when it clears.
    pub(crate) fn body(&self) -> Result<Option<String>, serde_json::Error> {
        match self {
            Self::Tier(order) => order.as_ref().map(serde_json::to_string).transpose(),
            Self::Knob(_, order) => order.as_ref().map(serde_json::to_string).transpose(),
            Self::Alarm(change) => serde_json::to_string(change).map(Some),
        }
    }

    /// What it does, for the audit.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Tier(None) => "tier cleared".to_owned(),
            Self::Tier(Some(order)) => format!("{} for {} s", tier_what(order), order.for_secs),
            Self::Knob(id, None) => format!("knob {id} cleared"),
            Self::Knob(id, Some(order)) => {
                format!("{} for {} s", knob_what(id, order), order.for_secs)
            }
            Self::Alarm(change) if change.state == AlarmState::Alarm => {
                format!("{} for {} s", tier_what(&alarms::order(change)), change.lease_secs)
            }
            Self::Alarm(_) => "the alarm is over".to_owned(),
        }
    }

    /// Whether it may be given; the answer says what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Self::Alarm(change) = self {
            return alarms::check(change);
        }
        let Some((for_secs, by)) = self.terms() else { return Ok(()) };
        if !(1..=FOR_SECS_MAX).contains(&for_secs) {
            return Err(format!(
                "`for_secs` is {for_secs}, but every order ends: write 1 to {FOR_SECS_MAX}"
            ));
        }
        let chars = by.trim().chars().count();
        if chars == 0 || by.chars().count() > BY_CHARS_MAX {
            return Err(format!(
                "`by` says who and why, for the audit: write 1 to {BY_CHARS_MAX} characters"
            ));
        }
        if let Some(c) = by.chars().find(|c| unprintable(*c)) {
            return Err(format!(
                "`by` says who and why, for people to read: leave out the control character {}",
                c.escape_unicode()
            ));
        }
        Ok(())
    }
}

fn tier_what(order: &TierOrder) -> String {
    format!("at least tier {}", order.tier)
}

fn knob_what(id: &KnobId, order: &KnobOrder) -> String {
    format!("knob {id} {}", if order.on { "on" } else { "held off" })
}

fn tier_status(order: &TierOrder, until: UnixMillis) -> OrderStatus {
    let (what, by) = (tier_what(order), order.by.clone());
    OrderStatus { subject: "tier".to_owned(), what, by, until }
}

fn knob_status(id: &KnobId, order: &KnobOrder, until: UnixMillis) -> OrderStatus {
    let (what, by) = (knob_what(id, order), order.by.clone());
    OrderStatus { subject: format!("knob {id}"), what, by, until }
}

fn alarm_status(alarm: &str, order: &TierOrder, until: UnixMillis) -> OrderStatus {
    OrderStatus { subject: format!("alarm {alarm}"), ..tier_status(order, until) }
}

/// Orders as people are told of them: on the tier the operator's, then those of alarms, then on knobs.
pub(crate) fn told(orders: &Orders) -> Vec<OrderStatus> {
    let tier = orders.tier.iter().map(|(order, until)| tier_status(order, *until));
    let alarms =
        orders.alarms.iter().map(|(name, (order, until))| alarm_status(name, order, *until));
    let knobs = orders.knobs.iter().map(|(id, (order, until))| knob_status(id, order, *until));
    tier.chain(alarms).chain(knobs).collect()
}

/// Adds to a knob the order that turned it on or holds it off, with the order's end instead of that
/// of the plan's lease.
pub(crate) fn tell_knob(status: &mut KnobStatus, orders: &Orders, now: UnixMillis) {
    if let Some((order, until)) = orders.knobs.get(&status.id) {
        status.until = Some(*until);
        status.by = Some(order.by.clone());
        status.order = Some(knob_status(&status.id, order, *until));
    } else if let Some((order, until)) = orders.floor_until(now)
        && status.on
        && status.tier <= order.tier
    {
        status.until = Some(*until);
        status.by = Some(order.by.clone());
    }
}

/// What giving an order did.
#[derive(Debug)]
pub(crate) struct Given {
    /// The version of the book that a tick must have read for the order to be in effect.
    pub(crate) version: u64,
    /// The order it replaced or cleared.
    pub(crate) replaced: Option<OrderStatus>,
}

/// The orders in force.
#[derive(Debug, Default)]
pub(crate) struct OrderBook {
    inner: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// In force; those of alarms follow from `alarms`.
    orders: Orders,
    alarms: Alarms,
    version: u64,
}

impl OrderBook {
    /// The orders that the journal kept. One that cannot be read is left out, and said.
    pub(crate) fn restore(rows: Vec<(String, UnixMillis, String)>, now: UnixMillis) -> Self {
        let mut book = Book::default();
        for (subject, until, body) in rows {
            if let Err(reason) = book.restore_one(&subject, until, &body, now) {
                tracing::warn!(
                    subject,
                    reason,
                    "an order in the journal cannot be read; it is dropped"
                );
            }
        }
        Self { inner: Mutex::new(book) }
    }

    /// Whether an order says something new at `now`. An operator's always does.
    pub(crate) fn is_news(&self, order: &Order, now: UnixMillis) -> Result<bool, NotTaken> {
        match order {
            Order::Alarm(change) => self.lock().alarms.is_news(change, now),
            Order::Tier(_) | Order::Knob(..) => Ok(true),
        }
    }

    /// Puts an order in force at `now`, or clears what it is about.
    pub(crate) fn apply(&self, order: Order, now: UnixMillis) -> Given {
        let mut book = self.lock();
        book.drop_ended(now);
        let orders = &mut book.orders;
        let replaced = match order {
            Order::Tier(order) => {
                let given = order.map(|order| {
                    let until = now.plus_secs(order.for_secs);
                    (order, until)
                });
                let before = std::mem::replace(&mut orders.tier, given);
                before.map(|(order, until)| tier_status(&order, until))
            }
            Order::Knob(id, order) => {
                let before = match order {
                    Some(order) => {
                        let until = now.plus_secs(order.for_secs);
                        orders.knobs.insert(id.clone(), (order, until))
                    }
                    None => orders.knobs.remove(&id),
                };
                before.map(|(order, until)| knob_status(&id, &order, until))
            }
            Order::Alarm(change) => {
                let name = change.alarm.clone();
                let before = orders.alarms.remove(&name);
                book.alarms.take(change, now);
                book.orders.alarms = book.alarms.orders(now);
                // Most alarms that are over ordered nothing: then there is no effect to wait for.
                if before.is_none() && !book.orders.alarms.contains_key(&name) {
                    return Given { version: book.version, replaced: None };
                }
                before.map(|(order, until)| alarm_status(&name, &order, until))
            }
        };
        book.version += 1;
        Given { version: book.version, replaced }
    }

    /// The orders in force at `now`, and the version of the book. Those that ended are dropped.
    pub(crate) fn live(&self, now: UnixMillis) -> (Orders, u64) {
        let mut book = self.lock();
        book.drop_ended(now);
        (book.orders.clone(), book.version)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere leaves the book whole: every change of it is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn drop_ended(&mut self, now: UnixMillis) {
        self.orders.tier.take_if(|(_, until)| *until <= now);
        self.orders.knobs.retain(|_, (_, until)| now < *until);
        self.orders.alarms.retain(|_, (_, until)| now < *until);
        self.alarms.forget(now);
    }

    fn restore_one(
        &mut self,
        subject: &str,
        until: UnixMillis,
        body: &str,
        now: UnixMillis,
    ) -> Result<(), String> {
        if subject == "tier" {
            let order = serde_json::from_str(body).map_err(|e| e.to_string())?;
            self.orders.tier = Some((order, until));
        } else if let Some(id) = subject.strip_prefix("knob ") {
            let id = KnobId::new(id).map_err(|e| e.to_string())?;
            let order = serde_json::from_str(body).map_err(|e| e.to_string())?;
            self.orders.knobs.insert(id, (order, until));
        } else if subject.starts_with("alarm ") {
            let change: AlarmChange = serde_json::from_str(body).map_err(|e| e.to_string())?;
            alarms::check(&change)?;
            if self.alarms.is_news(&change, now).map_err(|e| e.to_string())? {
                self.alarms.take(change, now);
                self.orders.alarms = self.alarms.orders(now);
            }
        } else {
            return Err("it is about nothing known".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
}
