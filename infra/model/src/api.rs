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
//! | `POST /ofrep/v1/evaluate/flags[/KEY]` | OFREP 0.3 | OFREP 0.3 |
//!
//! Calls that change something carry `Authorization: Bearer TOKEN`, the content of the operator
//! token file. Errors are [`ErrorBody`] with a 4xx or 5xx status.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{KnobId, SiteId};
use crate::load::Part;
use crate::plan::{Plan, SpillMode, Tier};
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

/// Why the present plan is what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// The plan in force.
    pub plan: Plan,
    /// The decision that made it, if the journal still has it.
    pub decision: Option<Decision>,
    /// For the client asked about, per site.
    pub client: Option<ClientExplain>,
}

/// Why one client goes where it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientExplain {
    /// Its prefix.
    pub prefix: ClientPrefix,
    /// Its rank.
    pub rank: f64,
    /// Per site: whether it is spilled, and the sentence that says why.
    pub sites: BTreeMap<SiteId, (bool, String)>,
}

/// An operator's order to hold at least a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierOrder {
    /// The least tier to hold.
    pub tier: Tier,
    /// For how long, in seconds; 1 to 86,400.
    pub for_secs: u64,
    /// Who and why, for the audit.
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
    /// Who and why, for the audit.
    pub by: String,
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
    /// Until when, and by whom, if it is on.
    pub until: Option<UnixMillis>,
    /// Who turned it on.
    pub by: Option<String>,
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong and what to do about it.
    pub error: String,
}
