//! What the agent's HTTP API takes and answers, shared by the agent and its clients.
//!
//! | call | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/plan[?after=GENERATION&wait=30s]` | – | [`crate::SignedPlan`], `ETag: "GENERATION"`; 304 when none newer came within `wait` |
//! | `GET /v1/status` | – | [`Status`] |
//! | `GET /v1/explain[?client=IP]` | – | [`Explain`] |
//! | `GET /v1/decisions[?after=GENERATION&limit=N]` | – | array of [`Decision`], newest first; with `after`, oldest first |
//! | `GET /v1/knobs` | – | array of [`KnobStatus`] |
//! | `PUT /v1/tier`, `DELETE /v1/tier` | [`TierOrder`], – | [`Status`] |
//! | `PUT /v1/knobs/ID`, `DELETE /v1/knobs/ID` | [`KnobOrder`], – | [`KnobStatus`] |
//! | `POST /v1/alarms` | [`AlarmChange`] | [`Status`] |
//! | `POST /ofrep/v1/evaluate/flags[/KEY]` | OFREP 0.3 | OFREP 0.3 |
//!
//! Calls that change something carry `Authorization: Bearer TOKEN`, the content of the operator
//! token file. Errors are [`ErrorBody`] with a 4xx or 5xx status. Times are milliseconds since 1970,
//! as everywhere between parts; the `spillway` program writes them as RFC 3339 for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{KnobId, SiteId};
use crate::load::{FleetLoad, Part};
use crate::plan::{Fleet, Plan, SpillMode, Tier};
use crate::prefix::ClientPrefix;
use crate::rank::Share;
use crate::time::UnixMillis;

/// The one-screen state of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was put together.
    pub at: UnixMillis,
    /// Current generation.
    pub generation: u64,
    /// Current tier.
    pub tier: Tier,
    /// One sentence a person reads first.
    pub headline: String,
    /// What is not as it should be with the agent itself, one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The orders in force: the operators' on the tier, those of alarms, the operators' on knobs.
    #[serde(default)]
    pub orders: Vec<OrderStatus>,
    /// In the answer to an order on the tier, or to a change of an alarm: the order it replaced or
    /// cleared, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<OrderStatus>,
    /// Per site.
    pub sites: BTreeMap<SiteId, SiteStatus>,
    /// The cloud's side.
    pub cloud: CloudStatus,
    /// Every process the agent reads, and whether it answered.
    pub parts: Vec<PartStatus>,
}

/// One site now. Rates are over the last tick.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Share in the plan.
    pub share: Share,
    /// Mode in the plan.
    pub mode: SpillMode,
    /// Bits per second leaving.
    pub uplink_bits_per_sec: f64,
    /// The cap of that.
    pub uplink_cap_bits_per_sec: f64,
    /// What would leave if nothing were spilled or degraded, now.
    pub demand_bits_per_sec: f64,
    /// The same, forecast: the upper bound the decision was made for.
    pub forecast_bits_per_sec: f64,
    /// Weighted requests per second served at home.
    pub weighted_qps: f64,
    /// Weighted requests per second the site can serve.
    pub weighted_qps_max: f64,
    /// Requests per second that arrived for this site, wherever served.
    pub requests_per_sec: f64,
    /// 95th percentile of latency served at home, milliseconds; `None` when nothing was served.
    pub p95_ms: Option<f64>,
    /// Its limit.
    pub p95_limit_ms: f64,
    /// Requests per second that failed at home.
    pub failed_per_sec: f64,
}

/// The cloud now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CloudStatus {
    /// Requests per second served there.
    pub requests_per_sec: f64,
    /// Environments alive.
    pub environments: u64,
    /// Most that may be.
    pub environments_max: u64,
    /// Requests per second refused for want of an environment.
    pub throttled_per_sec: f64,
    /// What runs there beside functions, where anything may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetStatus>,
}

/// What the cloud is to have at hand, and what it has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// By the plan.
    pub wanted: Fleet,
    /// As heard; `None` when that was too long ago.
    pub there: Option<FleetLoad>,
}

/// One process the agent reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartStatus {
    /// What it is.
    pub part: Part,
    /// Its name in the configuration.
    pub name: String,
    /// Generation it acts on; `None` when it did not answer.
    pub generation: Option<u64>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// One decision as journalled: what was done, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: UnixMillis,
    /// Generation it published or confirmed.
    pub generation: u64,
    /// Tier after it.
    pub tier: Tier,
    /// Share of each site after it.
    pub shares: BTreeMap<SiteId, Share>,
    /// What bound the decision: `uplink`, `compute`, `latency`, `cloud`, or `none`.
    pub binding: String,
    /// Whether a new plan was published.
    pub published: bool,
    /// Why, one sentence each, most important first.
    pub reasons: Vec<String>,
}

/// Why things are as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// The plan in force.
    pub plan: Plan,
    /// The decision of the last tick; `None` until the first one.
    pub decision: Option<Decision>,
    /// The decision that published the plan, if the journal still has it. Ticks that decide the same
    /// again publish nothing.
    #[serde(default)]
    pub published: Option<Decision>,
    /// The orders in force: the operators' on the tier, those of alarms, the operators' on knobs.
    #[serde(default)]
    pub orders: Vec<OrderStatus>,
    /// For the client asked about, per site.
    pub client: Option<ClientExplain>,
}

/// Why one client goes where it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientExplain {
    /// Its prefix, for example `192.0.2.0/24`.
    #[serde(with = "prefix_text")]
    pub prefix: ClientPrefix,
    /// Its rank.
    pub rank: f64,
    /// Per site.
    pub sites: BTreeMap<SiteId, ClientSite>,
}

/// Where one client of one site goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSite {
    /// Whether it is served by the cloud.
    pub spilled: bool,
    /// The sentence that says why.
    pub why: String,
}

/// A client prefix as people write it.
mod prefix_text {
    use std::net::IpAddr;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::prefix::ClientPrefix;

    pub(super) fn serialize<S: Serializer>(
        prefix: &ClientPrefix,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(prefix)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<ClientPrefix, D::Error> {
        let text = String::deserialize(from)?;
        let read = |text: &str| {
            let (network, bits) = text.split_once('/')?;
            let prefix = ClientPrefix::from(network.parse::<IpAddr>().ok()?);
            (bits.parse() == Ok(prefix.bits())).then_some(prefix)
        };
        read(&text)
            .ok_or_else(|| de::Error::custom("expected a client prefix such as 192.0.2.0/24"))
    }
}

/// Longest `by` of an order, in characters.
pub const BY_CHARS_MAX: usize = 200;

/// Whether a character may do other things to a terminal than show itself: control characters, line
/// and paragraph separators, those that change the direction of writing, and those without a width.
/// Orders that hold one are refused, and whatever prints text that others wrote escapes them.
#[must_use]
pub fn unprintable(c: char) -> bool {
    let of_width_zero =
        matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || of_width_zero || directs || matches!(c, '\u{2028}' | '\u{2029}')
}

/// An order in force, an operator's or an alarm's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// What it is about: `tier`, `knob ID`, or `alarm NAME` for what an alarm orders on the tier.
    pub subject: String,
    /// What it does: `at least tier 2 (visible)`, `knob qr-text on` or `knob qr-text held off`.
    pub what: String,
    /// Who gave it and why, in their own words.
    pub by: String,
    /// When it ends by itself.
    pub until: UnixMillis,
}

/// An operator's order to hold at least a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierOrder {
    /// The least tier to hold.
    pub tier: Tier,
    /// For how long, in seconds; 1 to 86,400.
    pub for_secs: u64,
    /// Who and why, for the audit: 1 to [`BY_CHARS_MAX`] characters, none of them [`unprintable`].
    pub by: String,
}

/// An operator's order to turn a knob on, or to keep it off whatever the tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnobOrder {
    /// On, or held off.
    pub on: bool,
    /// For how long, in seconds; 1 to 86,400.
    pub for_secs: u64,
    /// Who and why, for the audit: 1 to [`BY_CHARS_MAX`] characters, none of them [`unprintable`].
    pub by: String,
}

/// What an alarm is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlarmState {
    /// Over: what it asked for is withdrawn.
    Ok,
    /// On: it asks for its tier.
    Alarm,
    /// Nobody knows: what it asked for stays until its lease ends.
    InsufficientData,
}

/// Longest name of an alarm, in characters.
pub const ALARM_CHARS_MAX: usize = 255;

/// A change of an alarm that asks for a tier. Alarm and time of change are its identity: the same
/// change may come more than once, by several ways, and an older one after a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmChange {
    /// Its name: 1 to [`ALARM_CHARS_MAX`] characters, none of them [`unprintable`].
    pub alarm: String,
    /// What it changed to.
    pub state: AlarmState,
    /// When, by the clock of the cloud.
    pub changed_at: UnixMillis,
    /// The least tier it asks for: 1, 2 or 3.
    pub tier: Tier,
    /// How long it asks for that, in seconds from `changed_at`; 1 to 86,400.
    pub lease_secs: u64,
    /// The site that it is about; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Why it changed: 1 to [`BY_CHARS_MAX`] characters, none of them [`unprintable`].
    pub why: String,
}

/// A knob and whether it is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnobStatus {
    /// Which.
    pub id: KnobId,
    /// Its tier.
    pub tier: Tier,
    /// Who answers for it.
    pub owner: String,
    /// What users see while it is on.
    pub users_see: String,
    /// Share of the site's bytes it releases, as declared.
    pub releases: Share,
    /// Whether it is on.
    pub on: bool,
    /// Until when: the end of the order on it, else, if it is on, of the plan's lease, which the agent
    /// renews for as long as the tier holds.
    pub until: Option<UnixMillis>,
    /// Who turned it on or holds it off: `tier 2`, or the operator's own words.
    pub by: Option<String>,
    /// The order on it, on or held off, if one is in force.
    #[serde(default)]
    pub order: Option<OrderStatus>,
    /// In the answer to an order: the order it replaced or cleared, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<OrderStatus>,
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong and what to do about it.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_in_plain_json() {
        for (address, prefix) in
            [("192.0.2.7", "192.0.2.0/24"), ("2001:db8:1::7", "2001:db8:1::/48")]
        {
            let address: std::net::IpAddr = address.parse().unwrap();
            let site = ClientSite { spilled: true, why: "its rank".to_owned() };
            let client = ClientExplain {
                prefix: address.into(),
                rank: 0.25,
                sites: [(SiteId::new("east").unwrap(), site)].into(),
            };
            let told = serde_json::json!({
                "prefix": prefix,
                "rank": 0.25,
                "sites": {"east": {"spilled": true, "why": "its rank"}},
            });
            assert_eq!(serde_json::to_value(&client).unwrap(), told);
            assert_eq!(serde_json::from_value::<ClientExplain>(told).unwrap(), client);
        }
        for bad in ["192.0.2.0", "192.0.2.0/25", "east/24"] {
            let told = serde_json::json!({"prefix": bad, "rank": 0.0, "sites": {}});
            assert!(serde_json::from_value::<ClientExplain>(told).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_alarm_is_told_in_the_words_of_the_cloud() {
        let told = serde_json::json!({
            "alarm": "east/slow",
            "state": "INSUFFICIENT_DATA",
            "changed_at": 5,
            "tier": 2,
            "lease_secs": 600,
            "why": "2 datapoints were over 1",
        });
        let change: AlarmChange = serde_json::from_value(told.clone()).unwrap();
        assert_eq!((change.state, change.site.as_ref()), (AlarmState::InsufficientData, None));
        assert_eq!(serde_json::to_value(&change).unwrap(), told);
        for (state, text) in [(AlarmState::Ok, "OK"), (AlarmState::Alarm, "ALARM")] {
            assert_eq!(serde_json::to_value(state).unwrap(), text);
        }
    }

    #[test]
    fn what_could_rewrite_a_terminal_is_unprintable() {
        for c in ['\u{1b}', '\n', '\r', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2028}'] {
            assert!(unprintable(c), "{c:?}");
        }
        for c in ['a', ' ', 'é', '漢', '–', '🙂'] {
            assert!(!unprintable(c), "{c:?}");
        }
    }
}
