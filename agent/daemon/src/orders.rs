//! Operators' orders: each is a lease, kept in the journal so that it survives a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use spillway_decide::Orders;
use spillway_model::api::{KnobOrder, TierOrder};
use spillway_model::{KnobId, UnixMillis};

/// Longest an order may hold, in seconds.
pub(crate) const FOR_SECS_MAX: u64 = 86_400;
/// Longest `by`, in characters.
const BY_CHARS_MAX: usize = 200;

/// An order that is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Tier(Option<TierOrder>),
    Knob(KnobId, Option<KnobOrder>),
}

impl Order {
    /// What it is about, as the journal's key.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Tier(_) => "tier".to_owned(),
            Self::Knob(id, _) => format!("knob {id}"),
        }
    }

    /// How long it holds and who gave it; `None` when it clears.
    pub(crate) fn terms(&self) -> Option<(u64, &str)> {
        match self {
            Self::Tier(order) => order.as_ref().map(|o| (o.for_secs, o.by.as_str())),
            Self::Knob(_, order) => order.as_ref().map(|o| (o.for_secs, o.by.as_str())),
        }
    }

    /// The order as JSON, for the journal; `None` when it clears.
    pub(crate) fn body(&self) -> Result<Option<String>, serde_json::Error> {
        match self {
            Self::Tier(order) => order.as_ref().map(serde_json::to_string).transpose(),
            Self::Knob(_, order) => order.as_ref().map(serde_json::to_string).transpose(),
        }
    }

    /// What it does, for the audit.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Tier(None) => "tier cleared".to_owned(),
            Self::Tier(Some(order)) => {
                format!("at least tier {} for {} s", order.tier, order.for_secs)
            }
            Self::Knob(id, None) => format!("knob {id} cleared"),
            Self::Knob(id, Some(order)) => {
                let state = if order.on { "on" } else { "held off" };
                format!("knob {id} {state} for {} s", order.for_secs)
            }
        }
    }

    /// Whether it may be given; the answer says what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
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
        Ok(())
    }
}

/// The orders in force.
#[derive(Debug, Default)]
pub(crate) struct OrderBook {
    inner: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    orders: Orders,
    version: u64,
}

impl OrderBook {
    /// The orders that the journal kept. One that cannot be read is left out, and said.
    pub(crate) fn restore(rows: Vec<(String, UnixMillis, String)>) -> Self {
        let mut orders = Orders::default();
        for (subject, until, body) in rows {
            if let Err(reason) = restore_one(&mut orders, &subject, until, &body) {
                tracing::warn!(
                    subject,
                    reason,
                    "an order in the journal cannot be read; it is dropped"
                );
            }
        }
        Self { inner: Mutex::new(Book { orders, version: 0 }) }
    }

    /// Puts an order in force at `now`, or clears what it is about. Returns the version of the book
    /// that a tick must have read for it to be in effect.
    pub(crate) fn apply(&self, order: Order, now: UnixMillis) -> u64 {
        let mut book = self.lock();
        match order {
            Order::Tier(order) => {
                book.orders.tier = order.map(|order| {
                    let until = now.plus_secs(order.for_secs);
                    (order, until)
                });
            }
            Order::Knob(id, Some(order)) => {
                let until = now.plus_secs(order.for_secs);
                book.orders.knobs.insert(id, (order, until));
            }
            Order::Knob(id, None) => {
                book.orders.knobs.remove(&id);
            }
        }
        book.version += 1;
        book.version
    }

    /// The orders in force at `now`, and the version of the book. Those that ended are dropped.
    pub(crate) fn live(&self, now: UnixMillis) -> (Orders, u64) {
        let mut book = self.lock();
        book.orders.tier.take_if(|(_, until)| *until <= now);
        book.orders.knobs.retain(|_, (_, until)| now < *until);
        (book.orders.clone(), book.version)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere leaves the book whole: every change of it is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn restore_one(
    orders: &mut Orders,
    subject: &str,
    until: UnixMillis,
    body: &str,
) -> Result<(), String> {
    if subject == "tier" {
        orders.tier = Some((serde_json::from_str(body).map_err(|e| e.to_string())?, until));
        return Ok(());
    }
    let id = subject.strip_prefix("knob ").ok_or("it is about nothing known")?;
    let id = KnobId::new(id).map_err(|e| e.to_string())?;
    let knobs: &mut BTreeMap<_, _> = &mut orders.knobs;
    knobs.insert(id, (serde_json::from_str(body).map_err(|e| e.to_string())?, until));
    Ok(())
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
        let version = book.apply(Order::Knob(knob, Some(order)), UnixMillis(1000));
        let (orders, seen) = book.live(UnixMillis(10_999));
        assert_eq!((orders.tier.is_some(), orders.knobs.len(), seen), (true, 1, version));
        let (orders, _) = book.live(UnixMillis(11_000));
        assert_eq!((orders.tier.is_some(), orders.knobs.len()), (false, 1));
        assert!(book.live(UnixMillis(21_000)).0.knobs.is_empty());
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
        let (orders, _) = OrderBook::restore(rows).live(UnixMillis(0));
        assert_eq!(orders.tier.unwrap().1, UnixMillis(9000));
        assert!(orders.knobs.is_empty());
    }
}
