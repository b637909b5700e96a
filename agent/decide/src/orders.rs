//! Orders: what operators and alarms want, each until a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::api::{EventOrder, GatewaysOrder, KnobOrder, ModeOrder, ShareOrder, TierOrder};
use spillway_model::{EventId, KnobId, SiteId, UnixMillis};

use crate::event::Events;

/// The operator's orders and those of alarms, each until a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// The least tier to hold.
    pub tier: Option<(TierOrder, UnixMillis)>,
    /// The same by alarms, by their names. Left out when there are none, as journals before had it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alarms: BTreeMap<String, (TierOrder, UnixMillis)>,
    /// Knobs turned on, or held off.
    pub knobs: BTreeMap<KnobId, (KnobOrder, UnixMillis)>,
    /// Shares held. Left out where there are none, like all that follows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<SiteId, (ShareOrder, UnixMillis)>,
    /// The number of gateways held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<(GatewaysOrder, UnixMillis)>,
    /// How far the decision is acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<(ModeOrder, UnixMillis)>,
    /// Events announced, each until it is over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<EventId, (EventOrder, UnixMillis)>,
}

impl Orders {
    /// The events that concern `site`.
    #[must_use]
    pub fn events_at<'a>(&'a self, site: &'a SiteId) -> Events<'a> {
        Events::of(&self.events, site)
    }

    /// The order in force at `at` that asks for the highest tier, the operator's or an alarm's, and its
    /// end; of several for the same tier, the one that ends last.
    #[must_use]
    pub fn floor_until(&self, at: UnixMillis) -> Option<&(TierOrder, UnixMillis)> {
        let orders = self.alarms.values().chain(&self.tier);
        orders.filter(|(_, until)| at < *until).max_by_key(|(order, until)| (order.tier, *until))
    }

    /// The order that holds the highest tier, if one is in force at `at`.
    pub(crate) fn floor(&self, at: UnixMillis) -> Option<&TierOrder> {
        self.floor_until(at).map(|(order, _)| order)
    }

    /// The order on a knob, if one is in force at `at`.
    pub(crate) fn knob(&self, id: &KnobId, at: UnixMillis) -> Option<(&KnobOrder, UnixMillis)> {
        self.knobs.get(id).filter(|(_, until)| at < *until).map(|(order, until)| (order, *until))
    }

    /// The order on a site's share, if one is in force at `at`.
    pub(crate) fn share(&self, id: &SiteId, at: UnixMillis) -> Option<&ShareOrder> {
        self.shares.get(id).filter(|(_, until)| at < *until).map(|(order, _)| order)
    }

    /// The order on the mode, if one is in force at `at`.
    pub(crate) fn mode(&self, at: UnixMillis) -> Option<&ModeOrder> {
        self.mode.as_ref().filter(|(_, until)| at < *until).map(|(order, _)| order)
    }

    /// The order on the number of gateways, if one is in force at `at`.
    pub(crate) fn gateways(&self, at: UnixMillis) -> Option<&GatewaysOrder> {
        self.gateways.as_ref().filter(|(_, until)| at < *until).map(|(order, _)| order)
    }
}

#[cfg(test)]
mod tests {
    use super::Orders;

    #[test]
    fn a_journal_of_before_there_were_events_is_read_and_written_the_same() {
        let order = r#"{"tier":1,"for_secs":60,"by":"ann: drill"}"#;
        let text = format!(r#"{{"tier":[{order},5000],"knobs":{{}}}}"#);
        let orders: Orders = serde_json::from_str(&text).unwrap();
        assert!(orders.events.is_empty() && orders.shares.is_empty() && orders.gateways.is_none());
        assert_eq!(serde_json::to_string(&orders).unwrap(), text);
    }
}
