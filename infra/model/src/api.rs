//! What the agent's HTTP API takes and answers, shared by the agent and its clients.
//!
//! | call | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/plan[?after=GENERATION&wait=30s]` | – | [`crate::SignedPlan`], `ETag: "GENERATION"`; 304 when none newer came within `wait` |
//! | `GET /v1/status` | – | [`Status`] |
//! | `GET /v1/explain[?client=IP]` | – | [`Explain`] |
//! | `GET /v1/decisions[?after=GENERATION&limit=N]` | – | array of [`Decision`], newest first; with `after`, oldest first |
//! | `GET /v1/decisions/WHICH` | – | one [`Decision`]: the `last` one, the last until a time (RFC 3339), or the one that published a generation; 404 |
//! | `GET /v1/knobs` | – | array of [`KnobStatus`] |
//! | `PUT /v1/tier`, `DELETE /v1/tier` | [`TierOrder`], – | [`Status`] |
//! | `PUT /v1/knobs/ID`, `DELETE /v1/knobs/ID` | [`KnobOrder`], – | [`KnobStatus`] |
//! | `PUT /v1/shares/SITE`, `DELETE /v1/shares/SITE` | [`ShareOrder`], – | [`Status`] |
//! | `PUT /v1/gateways`, `DELETE /v1/gateways` | [`GatewaysOrder`], – | [`Status`] |
//! | `PUT /v1/mode`, `DELETE /v1/mode` | [`ModeOrder`], – | [`Status`] |
//! | `GET /v1/events` | – | array of [`EventStatus`], by their beginning |
//! | `PUT /v1/events/NAME`, `DELETE /v1/events/NAME` | [`EventOrder`], – | [`Status`] |
//! | `POST /v1/alarms` | [`AlarmChange`] | [`Status`] |
//! | `POST /ofrep/v1/evaluate/flags[/KEY]` | OFREP 0.3 | OFREP 0.3 |
//!
//! Calls that change something carry `Authorization: Bearer TOKEN`, the content of the operator
//! token file. Errors are [`ErrorBody`] with a 4xx or 5xx status. Times are milliseconds since 1970,
//! as everywhere between parts; the `spillway` program writes them as RFC 3339 for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{EventId, KnobId, SiteId};
use crate::load::{FleetLoad, Part};
use crate::mode::Mode;
use crate::plan::{Fleet, Help, Plan, SpillMode, Tier};
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
    /// How far the agent acts on what it decides.
    #[serde(default, skip_serializing_if = "Mode::acts")]
    pub mode: Mode,
    /// What it would do, where it does not act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Advice>,
    /// The orders in force: the operators' on the tier, those of alarms, the operators' on knobs, shares,
    /// gateways and the mode, and the events that they announced.
    #[serde(default)]
    pub orders: Vec<OrderStatus>,
    /// Knobs that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub knobs: Vec<KnobId>,
    /// In the answer to an order, or to a change of an alarm: the order it replaced or cleared, if there
    /// was one.
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
    /// Other sites that serve the first of the share's clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helped: Vec<Help>,
    /// Requests per second of other sites' clients that are served here.
    #[serde(default)]
    pub visitors_per_sec: f64,
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
    /// What it costs, where it has a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
}

/// What the cloud has cost, as estimated from what it reports and the prices of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// In this clock hour.
    pub hour: Spending,
    /// In this month of UTC.
    pub month: Spending,
    /// What it costs now, US dollars an hour.
    pub usd_per_hour: f64,
    /// What a cap keeps from being served, while one binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binds: Option<Missed>,
}

/// Money spent, in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spending {
    /// So far.
    pub usd: f64,
    /// The cap; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<f64>,
}

impl Spending {
    /// The part of the cap that is spent.
    #[must_use]
    pub fn part(&self) -> Option<f64> {
        self.of.map(|of| self.usd / of)
    }
}

/// What a cap that binds keeps from being served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// Which cap: `hour` or `month`.
    pub cap: String,
    /// Requests per second that are not served for it.
    pub requests_per_sec: f64,
    /// What they would cost: the marginal price of a second that is not over the limit.
    pub usd_per_sec: f64,
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
    /// How far it was acted on.
    #[serde(default, skip_serializing_if = "Mode::acts")]
    pub mode: Mode,
    /// What would have been done, where it was not acted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Advice>,
    /// The same as records, of the sites with the largest shares. Older decisions have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sites: BTreeMap<SiteId, SiteRecord>,
}

/// What the agent would do if it acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// `raise the share of east from 10.0 % to 12.5 %`.
    pub what: String,
    /// The command that does it, such as `spillway share east 12.5% --for 10m`; absent where no order
    /// can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// What one site's part of a decision was made from, and what would have changed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// Asked in the last tick, were nothing spilled or degraded; weighted requests are those that were
    /// served at home.
    pub demand: Asked,
    /// At most expected within the horizon; requests are those that can be spilled.
    pub forecast: Asked,
    /// Seconds until a decision is in force and the next one could be.
    pub horizon_secs: f64,
    /// What bound the site: `uplink`, `compute`, `latency`, `cloud`, or `none`.
    pub binding: String,
    /// What was done with the share.
    pub chosen: Action,
    /// What would have been done otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<Alternative>,
    /// Other sites that serve the first of the share's clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helped: Vec<Help>,
    /// Where the decision would have been another.
    pub thresholds: Thresholds,
    /// What the share before the last rise would have come to, until the share is back there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub had_we_held: Option<Held>,
}

/// What is asked of a site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Bits per second of answers.
    pub bits_per_sec: f64,
    /// Requests per second.
    pub requests_per_sec: f64,
    /// Weighted requests per second.
    pub weighted_qps: f64,
}

/// What was done with a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Raised.
    Raise,
    /// Lowered by a step.
    Lower,
    /// Lowered at once, for the cloud is dead.
    Return,
    /// Kept.
    Keep,
    /// Kept until less has sufficed for long enough.
    Dwell,
    /// Kept, for nothing is known of the tick.
    Hold,
    /// Put where an order holds it.
    Obey,
    /// Kept, for the mode only recommends.
    Advise,
}

/// What would have been done otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The share.
    pub share: Share,
    /// Why it was not.
    pub why_not: String,
}

/// Requests per second of the present mix, with the forecast as far above them as it is, at which the
/// decision would have been another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Below this nothing would have to be spilled; absent where nothing has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_below: Option<f64>,
    /// Above this the share would have to be larger; absent where everything is spilled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_above: Option<f64>,
}

/// What a share that was not kept would have come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The share.
    pub share: Share,
    /// Since when.
    pub since: UnixMillis,
    /// Seconds since then in which home would have been asked for more than its uplink or its compute
    /// take.
    pub over_secs: f64,
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
    /// The orders in force, as in [`Status::orders`].
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
    /// Whether it is served elsewhere.
    pub spilled: bool,
    /// The site that serves it then, if it is not the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helped_by: Option<SiteId>,
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
    /// What it is about: `tier`, `knob ID`, `share SITE`, `gateways`, `mode`, `event NAME`, or
    /// `alarm NAME` for what an alarm orders on the tier.
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

/// How an order holds a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// At the number ordered.
    #[default]
    Exactly,
    /// There or above.
    AtLeast,
    /// There or below.
    AtMost,
}

impl Bound {
    /// What becomes of `value` where `ordered` is ordered.
    pub fn hold<T: PartialOrd>(self, value: T, ordered: T) -> T {
        match self {
            Self::AtLeast if value > ordered => value,
            Self::AtMost if value < ordered => value,
            _ => ordered,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exactly => "exactly",
            Self::AtLeast => "at least",
            Self::AtMost => "at most",
        })
    }
}

/// An operator's order to hold the share of a site. While the cloud is dead it waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareOrder {
    /// The share.
    pub share: Share,
    /// How it holds.
    #[serde(default)]
    pub bound: Bound,
    /// For how long, in seconds; 1 to 86,400.
    pub for_secs: u64,
    /// Who and why, for the audit: 1 to [`BY_CHARS_MAX`] characters, none of them [`unprintable`].
    pub by: String,
}

/// An operator's order to hold the number of gateways in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaysOrder {
    /// How many; at most what the configuration allows.
    pub gateways: u32,
    /// How it holds.
    #[serde(default)]
    pub bound: Bound,
    /// For how long, in seconds; 1 to 86,400.
    pub for_secs: u64,
    /// Who and why, for the audit: 1 to [`BY_CHARS_MAX`] characters, none of them [`unprintable`].
    pub by: String,
}

/// An operator's order on how far the agent acts, in place of the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeOrder {
    /// The mode.
    pub mode: Mode,
    /// For how long, in seconds; 1 to 86,400.
    pub for_secs: u64,
    /// Who and why, for the audit: 1 to [`BY_CHARS_MAX`] characters, none of them [`unprintable`].
    pub by: String,
}

/// An operator's announcement of an event that brings so many times the usual demand. What has a lead
/// time is made ready for it before it begins; clients are moved when they come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventOrder {
    /// When it begins.
    pub at: UnixMillis,
    /// How long it lasts, in seconds; 1 to 86,400. Then it is forgotten.
    pub for_secs: u64,
    /// How many times the usual demand it brings: 1 to [`FACTOR_MAX`].
    pub factor: f64,
    /// The site that it is about; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Who and why, for the audit: 1 to [`BY_CHARS_MAX`] characters, none of them [`unprintable`].
    pub by: String,
}

impl EventOrder {
    /// When it is over.
    #[must_use]
    pub fn until(&self) -> UnixMillis {
        self.at.plus_secs(self.for_secs)
    }
}

/// Largest factor of an event.
pub const FACTOR_MAX: f64 = 1000.0;

/// An event that was announced and is not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventStatus {
    /// Its name.
    pub name: EventId,
    /// When it begins.
    pub at: UnixMillis,
    /// When it is over.
    pub until: UnixMillis,
    /// How many times the usual demand it brings.
    pub factor: f64,
    /// The site that it is about; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Who announced it and why, in their own words.
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
    fn a_bound_holds_a_number() {
        let held = |bound: Bound| [1, 5, 9].map(|value| bound.hold(value, 5));
        assert_eq!(held(Bound::Exactly), [5, 5, 5]);
        assert_eq!(held(Bound::AtLeast), [5, 5, 9]);
        assert_eq!(held(Bound::AtMost), [1, 5, 5]);
        let order: ShareOrder =
            serde_json::from_str(r#"{"share":0.5,"bound":"at-least","for_secs":60,"by":"a"}"#)
                .unwrap();
        assert_eq!((order.bound, order.bound.to_string().as_str()), (Bound::AtLeast, "at least"));
    }

    #[test]
    fn a_client_is_told_in_plain_json() {
        for (address, prefix) in
            [("192.0.2.7", "192.0.2.0/24"), ("2001:db8:1::7", "2001:db8:1::/48")]
        {
            let address: std::net::IpAddr = address.parse().unwrap();
            let site = ClientSite { spilled: true, helped_by: None, why: "its rank".to_owned() };
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
