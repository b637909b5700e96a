//! What the first line of an alarm's description asks for:
//!
//! ```text
//! spillway: tier=2 for=10m site=east
//! ```
//!
//! `tier` is 1, 2 or 3; `for` a number and `s`, `m` or `h`, at most a day; `site` is left out when all
//! are meant. Keys that are not known are passed over, so that a later version may have more of them.

use spillway_model::time::secs_of;
use spillway_model::{SiteId, Tier};

use crate::quoted;

/// How the line begins.
const BEGINS: &str = "spillway: ";

/// What an alarm asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The least tier: 1, 2 or 3.
    pub tier: Tier,
    /// For how long, in seconds from the change to ALARM; 1 to 86,400.
    pub lease_secs: u64,
    /// At which site; `None`: at all.
    pub site: Option<SiteId>,
}

/// Why a line that asks for something cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A key that must be there is not.
    #[error("`{0}=` is missing: write for example `spillway: tier=2 for=10m`")]
    Missing(&'static str),
    /// A key is there more than once.
    #[error("`{0}=` is there twice")]
    Twice(&'static str),
    /// There is no such tier.
    #[error("`tier={0}`: write 1, 2 or 3")]
    Tier(String),
    /// It is no length of time.
    #[error("`for={0}`: write a number and s, m or h, at most 24h")]
    For(String),
    /// No site can be called so.
    #[error("`site={0}` is not the name of a site")]
    Site(String),
}

/// What a description asks for; `None` when its first line is not one that asks.
///
/// # Errors
/// When it asks, but for what cannot be.
pub fn of(description: &str) -> Result<Option<Request>, BadRequest> {
    let line = description.lines().next().unwrap_or_default();
    let Some(terms) = line.strip_prefix(BEGINS) else { return Ok(None) };
    let (mut tier, mut lease, mut site) = (None, None, None);
    for (key, value) in terms.split_whitespace().filter_map(|term| term.split_once('=')) {
        match key {
            "tier" => once("tier", &mut tier, tier_of(value)?)?,
            "for" => once("for", &mut lease, lease_of(value)?)?,
            "site" => once("site", &mut site, site_of(value)?)?,
            _ => {}
        }
    }
    Ok(Some(Request {
        tier: tier.ok_or(BadRequest::Missing("tier"))?,
        lease_secs: lease.ok_or(BadRequest::Missing("for"))?,
        site,
    }))
}

fn once<T>(key: &'static str, place: &mut Option<T>, value: T) -> Result<(), BadRequest> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadRequest::Twice(key)),
    }
}

fn tier_of(value: &str) -> Result<Tier, BadRequest> {
    match value {
        "1" => Ok(Tier::Invisible),
        "2" => Ok(Tier::Visible),
        "3" => Ok(Tier::Severe),
        other => Err(BadRequest::Tier(quoted(other))),
    }
}

fn lease_of(value: &str) -> Result<u64, BadRequest> {
    secs_of(value).ok_or_else(|| BadRequest::For(quoted(value)))
}

fn site_of(value: &str) -> Result<SiteId, BadRequest> {
    SiteId::new(value).map_err(|_| BadRequest::Site(quoted(value)))
}
