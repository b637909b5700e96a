//! The plan: the immutable, signed instruction of one generation.
//!
//! The agent writes it and leaves no choice to whoever executes it. A reader accepts a plan only if
//! its signature verifies and its generation is newer than the one it has, and keeps it on disk, so
//! that it serves on without the agent. When a plan expires, its degradations lapse (each is a lease)
//! but its shares hold: sending every client back to a full site is the dangerous direction.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{KnobId, SiteId};
use crate::rank::Share;
use crate::time::UnixMillis;

/// How far service is degraded.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub enum Tier {
    /// 0: everything is served as it should be.
    #[default]
    Normal,
    /// 1: invisible to users; releases less than 30 % of load.
    Invisible,
    /// 2: visible; releases up to 50 %.
    Visible,
    /// 3: severe; releases 50 to 100 %. The last resort.
    Severe,
}

impl Tier {
    /// All tiers, mildest first.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Invisible, Self::Visible, Self::Severe];

    /// The next harsher tier, if there is one.
    #[must_use]
    pub fn harsher(self) -> Option<Self> {
        Self::ALL.get(usize::from(u8::from(self)) + 1).copied()
    }

    /// The next milder tier, if there is one.
    #[must_use]
    pub fn milder(self) -> Option<Self> {
        u8::from(self).checked_sub(1).and_then(|i| Self::ALL.get(usize::from(i)).copied())
    }
}

impl From<Tier> for u8 {
    fn from(tier: Tier) -> Self {
        tier as Self
    }
}

/// Why a number was refused as a tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a tier: tiers are 0 (normal), 1 (invisible), 2 (visible) and 3 (severe)")]
pub struct BadTier(u8);

impl TryFrom<u8> for Tier {
    type Error = BadTier;
    fn try_from(number: u8) -> Result<Self, BadTier> {
        Self::ALL.get(usize::from(number)).copied().ok_or(BadTier(number))
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Normal => "normal",
            Self::Invisible => "invisible",
            Self::Visible => "visible",
            Self::Severe => "severe",
        };
        write!(f, "{} ({name})", *self as u8)
    }
}

/// How a gateway moves a spilled request to the cloud.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpillMode {
    /// 307 to the cloud's host: the answer never crosses the site's uplink.
    #[default]
    Redirect,
    /// Forward over the private link: spares the site's compute, not its uplink.
    Proxy,
}

/// What one site does under a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SitePlan {
    /// Clients with a rank below this are served by the cloud, by DNS and gateway alike.
    pub share: Share,
    /// What a gateway does with a spilled client that still arrives at the site.
    pub mode: SpillMode,
    /// Time to live of steered DNS answers, in seconds.
    pub dns_ttl_secs: u32,
    /// Most weighted requests per second that each gateway gives to the site's services. What is beyond
    /// leaves at once, whatever its client's rank, if its route may leave; what may not counts, but is
    /// not held to it. Without it home is given all that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_qps: Option<f64>,
    /// Who serves the first of those that `share` sends away, in the order of ranks; the cloud serves the
    /// rest of them. Absent in plans without help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helped: Vec<Help>,
}

/// What another site serves of one that spills.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Help {
    /// The site that helps.
    pub site: SiteId,
    /// It serves the spilled clients with a rank below this that none before it in the list serves.
    pub below: Share,
    /// While some clients may still follow an older plan that sent more: the bound of that one. Gateways of
    /// the site that helps know by it whose clients these are, and send on those that are the cloud's by now.
    #[serde(default, skip_serializing_if = "Share::is_zero")]
    pub until: Share,
}

impl Help {
    /// The rank below which clients may come.
    #[must_use]
    pub fn visits_below(&self) -> Share {
        if self.until > self.below { self.until } else { self.below }
    }
}

impl SitePlan {
    /// The part of the site's clients that other sites serve.
    #[must_use]
    pub fn helped_below(&self) -> Share {
        let bounds = self.helped.iter().map(|help| help.below.get().min(self.share.get()));
        Share::clamped(bounds.fold(0.0, f64::max))
    }

    /// The part of the site's clients that the cloud serves.
    #[must_use]
    pub fn in_cloud(&self) -> f64 {
        (self.share.get() - self.helped_below().get()).max(0.0)
    }
}

/// One knob that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnobLease {
    /// The knob is off again from then on, whether or not a newer plan has arrived.
    pub until: UnixMillis,
    /// Who turned it on: `tier 2`, or the operator's own words.
    pub by: String,
}

/// The instruction of one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Strictly increasing; no reader acts on an older one.
    pub generation: u64,
    /// When the agent decided this.
    pub issued_at: UnixMillis,
    /// When it should have been replaced by. Shares hold past it.
    pub expires_at: UnixMillis,
    /// What each site does.
    pub sites: BTreeMap<SiteId, SitePlan>,
    /// The harshest tier that a knob is turned on of, for people to read; only [`Plan::knobs`] is acted on.
    pub tier: Tier,
    /// The knobs that are on.
    pub knobs: BTreeMap<KnobId, KnobLease>,
    /// What the cloud's side is to have at hand. Absent in plans that ask for nothing.
    #[serde(default, skip_serializing_if = "Fleet::is_none")]
    pub fleet: Fleet,
    /// Why, one sentence each, most important first.
    pub reasons: Vec<String>,
}

/// What the cloud's side is to have at hand beside functions that start by themselves. What a plan
/// does not name is none: whoever carries it out reaches this from any state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fleet {
    /// Cloud gateways to run.
    pub gateways: u32,
    /// Part of the cloud's requests, 0 to 100 percent, that its load balancer gives to them; functions
    /// serve the rest.
    pub gateway_percent: u8,
    /// Environments to keep warm, by function. Absent: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub provisioned: BTreeMap<String, u32>,
    /// Replicas of the cache to add to its first.
    pub cache_replicas: u32,
    /// Replicas of the database to add to those it has.
    pub database_replicas: u32,
    /// Capacity units to reserve at the load balancer, beside what it scales to by itself; 0 reserves
    /// none.
    pub capacity_units: u32,
}

impl Fleet {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Plan {
    /// The plan of a data plane that has never heard from an agent: nothing is spilled, nothing is
    /// degraded.
    #[must_use]
    pub fn initial(sites: impl IntoIterator<Item = SiteId>, dns_ttl_secs: u32) -> Self {
        let at_home = SitePlan {
            share: Share::ZERO,
            mode: SpillMode::Redirect,
            dns_ttl_secs,
            home_qps: None,
            helped: Vec::new(),
        };
        Self {
            generation: 0,
            issued_at: UnixMillis(0),
            expires_at: UnixMillis(u64::MAX),
            sites: sites.into_iter().map(|site| (site, at_home.clone())).collect(),
            tier: Tier::Normal,
            knobs: BTreeMap::new(),
            fleet: Fleet::default(),
            reasons: vec!["no plan has been received; everything is served at home".to_owned()],
        }
    }

    /// Whether a knob is on at `now`.
    #[must_use]
    pub fn knob_on(&self, knob: &KnobId, now: UnixMillis) -> bool {
        self.knobs.get(knob).is_some_and(|lease| now < lease.until)
    }

    /// The share a site spills; zero for a site the plan does not know.
    #[must_use]
    pub fn share(&self, site: &SiteId) -> Share {
        self.sites.get(site).map_or(Share::ZERO, |plan| plan.share)
    }

    /// Whether `other` instructs the same thing: all fields but generation, times and reasons.
    /// Lease ends differ from tick to tick and do not count.
    #[must_use]
    pub fn same_instruction(&self, other: &Self) -> bool {
        self.sites == other.sites
            && self.tier == other.tier
            && self.fleet == other.fleet
            && self.knobs.len() == other.knobs.len()
            && self.knobs.iter().zip(&other.knobs).all(|((a, x), (b, y))| a == b && x.by == y.by)
    }
}

/// A plan as it travels: its exact bytes, and a signature over them.
///
/// ```json
/// {"plan": {"generation": 7, …}, "signature": "<base64 of 64 bytes>"}
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedPlan {
    /// The bytes that were signed, which are the JSON of a [`Plan`].
    pub plan: Box<RawValue>,
    /// Ed25519 (RFC 8032) over those bytes, in base64.
    pub signature: String,
}

/// Why a signed plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The signature is not by the key this reader trusts.
    #[error("the plan's signature does not verify with the configured public key")]
    BadSignature,
    /// What was signed is not a plan.
    #[error("the plan is signed but cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

impl SignedPlan {
    /// Signs a plan.
    ///
    /// # Errors
    /// When the plan cannot be written as JSON.
    pub fn sign(plan: &Plan, key: &SigningKey) -> Result<Self, serde_json::Error> {
        let raw = serde_json::value::to_raw_value(plan)?;
        let signature = BASE64.encode(key.sign(raw.get().as_bytes()).to_bytes());
        Ok(Self { plan: raw, signature })
    }

    /// Verifies the signature and reads the plan.
    ///
    /// # Errors
    /// When the signature is not `key`'s, or the signed bytes are no plan.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Plan, PlanError> {
        let signature = BASE64
            .decode(&self.signature)
            .ok()
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or(PlanError::BadSignature)?;
        key.verify_strict(self.plan.get().as_bytes(), &signature)
            .map_err(|_| PlanError::BadSignature)?;
        serde_json::from_str(self.plan.get()).map_err(PlanError::Unreadable)
    }
}

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a key: expected one line of base64 that holds 32 bytes (see `spillway keygen`)")]
pub struct BadKey;

fn key_bytes(text: &str) -> Result<[u8; 32], BadKey> {
    BASE64.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(BadKey)
}

/// Reads a public key from a line of base64.
///
/// # Errors
/// When it is not base64 of a point on the curve.
pub fn public_key(text: &str) -> Result<VerifyingKey, BadKey> {
    VerifyingKey::from_bytes(&key_bytes(text)?).map_err(|_| BadKey)
}

/// Reads a private key from a line of base64.
///
/// # Errors
/// When it is not base64 of 32 bytes.
pub fn signing_key(text: &str) -> Result<SigningKey, BadKey> {
    Ok(SigningKey::from_bytes(&key_bytes(text)?))
}

/// Writes 32 key bytes as the line of base64 that [`public_key`] and [`signing_key`] read.
#[must_use]
pub fn encode_key(bytes: &[u8; 32]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let mut plan = Plan::initial([SiteId::new("east").unwrap()], 5);
        plan.generation = 7;
        plan.knobs.insert(
            KnobId::new("qr-text").unwrap(),
            KnobLease { until: UnixMillis(1000), by: "tier 2".to_owned() },
        );
        plan
    }

    #[test]
    fn a_signed_plan_survives_a_journey() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let sent = serde_json::to_string(&SignedPlan::sign(&plan(), &key).unwrap()).unwrap();
        let received: SignedPlan = serde_json::from_str(&sent).unwrap();
        assert_eq!(received.verify(&key.verifying_key()).unwrap(), plan());
    }

    #[test]
    fn a_changed_byte_or_another_key_is_refused() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let sent = serde_json::to_string(&SignedPlan::sign(&plan(), &key).unwrap()).unwrap();
        let changed: SignedPlan =
            serde_json::from_str(&sent.replace("\"generation\":7", "\"generation\":8")).unwrap();
        assert!(matches!(changed.verify(&key.verifying_key()), Err(PlanError::BadSignature)));
        let stranger = SigningKey::from_bytes(&[8; 32]).verifying_key();
        let received: SignedPlan = serde_json::from_str(&sent).unwrap();
        assert!(matches!(received.verify(&stranger), Err(PlanError::BadSignature)));
    }

    #[test]
    fn a_fleet_is_an_instruction_and_none_leaves_no_trace() {
        let none = plan();
        let text = serde_json::to_string(&none).unwrap();
        assert!(!text.contains("fleet"), "{text}");
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), none);
        let fleet = Fleet { gateways: 2, gateway_percent: 40, ..Fleet::default() };
        let some = Plan { fleet, ..plan() };
        assert!(!some.same_instruction(&none));
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), some);
    }

    #[test]
    fn help_is_an_instruction_and_none_leaves_no_trace() {
        let none = plan();
        assert!(!serde_json::to_string(&none).unwrap().contains("helped"));
        let mut some = plan();
        for site in some.sites.values_mut() {
            site.share = Share::clamped(0.5);
            let west = SiteId::new("west").unwrap();
            site.helped = vec![Help { site: west, below: Share::clamped(0.2), until: Share::ZERO }];
            assert_eq!((site.helped_below().get(), site.in_cloud()), (0.2, 0.3));
            site.share = Share::clamped(0.1);
            assert_eq!((site.helped_below().get(), site.in_cloud()), (0.1, 0.0));
        }
        assert!(!some.same_instruction(&none));
        let text = serde_json::to_string(&some).unwrap();
        assert!(!text.contains("until\":0"), "{text}");
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), some);
    }

    #[test]
    fn knobs_are_leases() {
        let knob = KnobId::new("qr-text").unwrap();
        assert!(plan().knob_on(&knob, UnixMillis(999)));
        assert!(!plan().knob_on(&knob, UnixMillis(1000)));
        assert!(!plan().knob_on(&KnobId::new("other").unwrap(), UnixMillis(0)));
    }

    #[test]
    fn tiers_have_neighbours() {
        assert_eq!(Tier::Normal.harsher(), Some(Tier::Invisible));
        assert_eq!(Tier::Severe.harsher(), None);
        assert_eq!(Tier::Severe.milder(), Some(Tier::Visible));
        assert_eq!(Tier::Normal.milder(), None);
        assert!(Tier::try_from(4).is_err());
    }
}
