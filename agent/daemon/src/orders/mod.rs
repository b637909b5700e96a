//! Orders, the operators' and those of alarms: each is a lease, kept in the journal so that it
//! survives a restart.

mod kinds;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use spillway_decide::Orders;
use spillway_model::api::{
    AlarmChange, AlarmState, BY_CHARS_MAX, EventOrder, GatewaysOrder, KnobOrder, KnobStatus,
    ModeOrder, OrderStatus, ShareOrder, TierOrder, unprintable,
};
use spillway_model::{EventId, KnobId, SiteId, UnixMillis};

use crate::alarms::{self, AHEAD_SECS_MAX, ALARMS_MAX, Alarms};
use kinds::Terms;

/// Longest an order may hold, in seconds.
pub(crate) const FOR_SECS_MAX: u64 = 86_400;
/// Most events that may be announced at a time, and how far ahead.
const EVENTS_MAX: usize = 64;
const EVENT_AHEAD_DAYS: u64 = 366;

/// An order that is asked for; `None` clears.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Tier(Option<TierOrder>),
    Knob(KnobId, Option<KnobOrder>),
    Share(SiteId, Option<ShareOrder>),
    Gateways(Option<GatewaysOrder>),
    Mode(Option<ModeOrder>),
    Event(EventId, Option<EventOrder>),
    Alarm(AlarmChange),
}

/// Why an order that could be one is not taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error(
        "`changed_at` is {0} s ahead of the agent's clock, at most {AHEAD_SECS_MAX} s are taken: is the clock right?"
    )]
    Ahead(u64),
    #[error("{ALARMS_MAX} alarms ask for a tier now, and the agent takes no more")]
    TooManyAlarms,
    #[error("the event would be over already: is `at` right?")]
    Over,
    #[error("an event may begin at most {EVENT_AHEAD_DAYS} days from now")]
    Far,
    #[error("{EVENTS_MAX} events are announced, and the agent takes no more: remove one first")]
    TooManyEvents,
}

impl Order {
    /// What it is about, as the journal's key.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Tier(_) => "tier".to_owned(),
            Self::Knob(id, _) => format!("knob {id}"),
            Self::Share(site, _) => format!("share {site}"),
            Self::Gateways(_) => "gateways".to_owned(),
            Self::Mode(_) => "mode".to_owned(),
            Self::Event(name, _) => format!("event {name}"),
            Self::Alarm(change) => format!("alarm {}", change.alarm),
        }
    }

    /// What an operator's order says; `None` when it clears.
    fn terms(&self) -> Option<&dyn Terms> {
        fn terms<T: Terms>(order: &Option<T>) -> Option<&dyn Terms> {
            order.as_ref().map(|order| order as &dyn Terms)
        }
        match self {
            Self::Tier(order) => terms(order),
            Self::Knob(_, order) => terms(order),
            Self::Share(_, order) => terms(order),
            Self::Gateways(order) => terms(order),
            Self::Mode(order) => terms(order),
            Self::Event(_, order) => terms(order),
            Self::Alarm(_) => None,
        }
    }

    /// Who gives it, for the audit.
    pub(crate) fn who(&self) -> Cow<'_, str> {
        match self {
            Self::Alarm(change) => Cow::Owned(alarms::by(change)),
            _ => Cow::Borrowed(self.terms().map_or("the operator", Terms::by)),
        }
    }

    /// Until when the journal keeps it, given at `now`; `None` when it clears. The end of an alarm is
    /// kept like its beginning, which may come later.
    pub(crate) fn kept_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        match self {
            Self::Alarm(change) => Some(alarms::forgotten_at(change)),
            _ => self.terms().map(|terms| terms.until(now)),
        }
    }

    /// The order as JSON, for the journal; `None` when it clears.
    pub(crate) fn body(&self) -> Result<Option<String>, serde_json::Error> {
        match self {
            Self::Alarm(change) => serde_json::to_string(change).map(Some),
            _ => self.terms().map(Terms::body).transpose(),
        }
    }

    /// What it does, for the audit.
    pub(crate) fn what(&self) -> String {
        let what = |terms: &dyn Terms| {
            format!("{} for {} s", terms.what(&self.subject()), terms.for_secs())
        };
        match (self, self.terms()) {
            (Self::Alarm(change), _) if change.state == AlarmState::Alarm => {
                what(&alarms::order(change))
            }
            (Self::Alarm(_), _) => "the alarm is over".to_owned(),
            (_, Some(terms)) => what(terms),
            (_, None) => format!("{} cleared", self.subject()),
        }
    }

    /// Whether it may be given; the answer says what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Self::Alarm(change) = self {
            return alarms::check(change);
        }
        let Some(terms) = self.terms() else { return Ok(()) };
        let (for_secs, by) = (terms.for_secs(), terms.by());
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
        terms.check()
    }
}

fn status<T: Terms>(subject: String, (order, until): &(T, UnixMillis)) -> OrderStatus {
    OrderStatus { what: order.what(&subject), by: order.by().to_owned(), until: *until, subject }
}

/// Orders as people are told of them: on the tier the operator's, then those of alarms, then on knobs,
/// shares, gateways and the mode, then the events announced.
pub(crate) fn told(orders: &Orders) -> Vec<OrderStatus> {
    let tier = orders.tier.iter().map(|order| status("tier".to_owned(), order));
    let alarms = orders.alarms.iter().map(|(name, order)| status(format!("alarm {name}"), order));
    let knobs = orders.knobs.iter().map(|(id, order)| status(format!("knob {id}"), order));
    let events = orders.events.iter().map(|(name, order)| status(format!("event {name}"), order));
    let shares = orders.shares.iter().map(|(site, order)| status(format!("share {site}"), order));
    let gateways = orders.gateways.iter().map(|order| status("gateways".to_owned(), order));
    let mode = orders.mode.iter().map(|order| status("mode".to_owned(), order));
    let held = knobs.chain(shares).chain(gateways).chain(mode);
    tier.chain(alarms).chain(held).chain(events).collect()
}

/// Adds to a knob the order that turned it on or holds it off, with the order's end instead of that
/// of the plan's lease.
pub(crate) fn tell_knob(knob: &mut KnobStatus, orders: &Orders, now: UnixMillis) {
    if let Some(order) = orders.knobs.get(&knob.id) {
        let order = status(format!("knob {}", knob.id), order);
        knob.until = Some(order.until);
        knob.by = Some(order.by.clone());
        knob.order = Some(order);
    } else if let Some((order, until)) = orders.floor_until(now)
        && knob.on
        && knob.tier <= order.tier
    {
        knob.until = Some(*until);
        knob.by = Some(order.by.clone());
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
            Order::Event(name, Some(event)) => {
                let known = &self.live(now).0.events;
                match () {
                    () if event.until() <= now => Err(NotTaken::Over),
                    () if event.at > now.plus_secs(EVENT_AHEAD_DAYS * 86_400) => Err(NotTaken::Far),
                    () if known.len() >= EVENTS_MAX && !known.contains_key(name) => {
                        Err(NotTaken::TooManyEvents)
                    }
                    () => Ok(true),
                }
            }
            _ => Ok(true),
        }
    }

    /// Puts an order in force at `now`, or clears what it is about.
    pub(crate) fn apply(&self, order: Order, now: UnixMillis) -> Given {
        let mut book = self.lock();
        book.drop_ended(now);
        let (subject, orders) = (order.subject(), &mut book.orders);
        let replaced = match order {
            Order::Tier(order) => {
                let before = std::mem::replace(&mut orders.tier, given(order, now));
                before.map(|before| status(subject, &before))
            }
            Order::Knob(id, order) => {
                let before = put(&mut orders.knobs, id, given(order, now));
                before.map(|before| status(subject, &before))
            }
            Order::Share(site, order) => {
                let before = put(&mut orders.shares, site, given(order, now));
                before.map(|before| status(subject, &before))
            }
            Order::Gateways(order) => {
                let before = std::mem::replace(&mut orders.gateways, given(order, now));
                before.map(|before| status(subject, &before))
            }
            Order::Mode(order) => {
                let before = std::mem::replace(&mut orders.mode, given(order, now));
                before.map(|before| status(subject, &before))
            }
            Order::Event(name, order) => {
                let before = put(&mut orders.events, name, given(order, now));
                before.map(|before| status(subject, &before))
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
                before.map(|before| status(subject, &before))
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

/// An order with its end.
fn given<T: Terms>(order: Option<T>, now: UnixMillis) -> Option<(T, UnixMillis)> {
    order.map(|order| {
        let until = order.until(now);
        (order, until)
    })
}

/// Puts an order in its place, or takes out the one that is there; returns the latter.
fn put<K: Ord, T>(all: &mut BTreeMap<K, T>, key: K, order: Option<T>) -> Option<T> {
    match order {
        Some(order) => all.insert(key, order),
        None => all.remove(&key),
    }
}

impl Book {
    fn drop_ended(&mut self, now: UnixMillis) {
        self.orders.tier.take_if(|(_, until)| *until <= now);
        self.orders.knobs.retain(|_, (_, until)| now < *until);
        self.orders.alarms.retain(|_, (_, until)| now < *until);
        self.orders.shares.retain(|_, (_, until)| now < *until);
        self.orders.gateways.take_if(|(_, until)| *until <= now);
        self.orders.mode.take_if(|(_, until)| *until <= now);
        self.orders.events.retain(|_, (_, until)| now < *until);
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
        } else if let Some(site) = subject.strip_prefix("share ") {
            let site = SiteId::new(site).map_err(|e| e.to_string())?;
            let order = serde_json::from_str(body).map_err(|e| e.to_string())?;
            self.orders.shares.insert(site, (order, until));
        } else if subject == "gateways" {
            let order = serde_json::from_str(body).map_err(|e| e.to_string())?;
            self.orders.gateways = Some((order, until));
        } else if subject == "mode" {
            let order = serde_json::from_str(body).map_err(|e| e.to_string())?;
            self.orders.mode = Some((order, until));
        } else if let Some(name) = subject.strip_prefix("event ") {
            let name = EventId::new(name).map_err(|e| e.to_string())?;
            let order = serde_json::from_str(body).map_err(|e| e.to_string())?;
            self.orders.events.insert(name, (order, until));
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
mod tests;
