//! The rank of a client prefix, and the share it is compared with.
//!
//! A client is spilled when `rank < share`. Ranks are uniform in [0,1) and fixed per salt, so the
//! clients spilled at a share are a subset of those spilled at any larger one: raising a share moves
//! no client back, and lowering it returns those that came last first. Of the spilled, those of the
//! lowest ranks go to the sites that help and the rest to the cloud, which so is the first to be empty
//! again. The name servers and the gateways all call [`place`]; there is no second definition.

use std::fmt;
use std::hash::Hasher as _;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::ids::SiteId;
use crate::plan::SitePlan;
use crate::prefix::ClientPrefix;

/// The 128-bit key of the rank hash, written as 32 hexadecimal digits. Clients cannot choose their
/// rank without knowing it; every part of a site set must have the same one.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt([u8; 16]);

impl Salt {
    /// Wraps 16 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// Why a salt was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a salt is 32 hexadecimal digits (for example from `openssl rand -hex 16`)")]
pub struct BadSalt;

impl TryFrom<String> for Salt {
    type Error = BadSalt;
    fn try_from(text: String) -> Result<Self, BadSalt> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadSalt);
        }
        u128::from_str_radix(&text, 16).map(|value| Self(value.to_be_bytes())).map_err(|_| BadSalt)
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        format!("{:032x}", u128::from_be_bytes(salt.0))
    }
}

/// A fraction in [0,1].
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

/// Why a share was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0} is not a share: it must lie between 0 and 1")]
pub struct BadShare(f64);

impl Share {
    /// Nobody.
    pub const ZERO: Self = Self(0.0);
    /// Everybody.
    pub const ONE: Self = Self(1.0);

    /// Checks and wraps a fraction.
    ///
    /// # Errors
    /// When it is not a number in [0,1].
    pub fn new(value: f64) -> Result<Self, BadShare> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(BadShare(value)) }
    }

    /// The nearest share to any number; not-a-number becomes zero.
    #[must_use]
    pub fn clamped(value: f64) -> Self {
        if value.is_nan() { Self::ZERO } else { Self(value.clamp(0.0, 1.0)) }
    }

    /// Whether it is nobody.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 <= 0.0
    }

    /// The fraction.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Share {
    type Error = BadShare;
    fn try_from(value: f64) -> Result<Self, BadShare> {
        Self::new(value)
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 * 100.0)
    }
}

/// The rank of a client prefix under a salt: SipHash-2-4 (Aumasson and Bernstein, 2012) of the
/// address family (4 or 6) and the prefix octets, its upper 53 bits as a fraction in [0,1).
#[must_use]
pub fn rank(salt: &Salt, prefix: ClientPrefix) -> f64 {
    let hasher = hasher(salt, prefix);
    // 53 bits are what a double holds exactly, so the quotient is exact and below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let numerator = (hasher.finish() >> 11) as f64;
    numerator / 9_007_199_254_740_992.0
}

/// Whether a client of `prefix` is served elsewhere when the site spills `share` of its clients.
#[must_use]
pub fn spilled(salt: &Salt, prefix: ClientPrefix, share: Share) -> bool {
    rank(salt, prefix) < share.0
}

/// Where a client is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'p> {
    /// At its own site.
    Home,
    /// At another site, which helps.
    Site(&'p SiteId),
    /// In the cloud.
    Cloud,
}

/// Where a client of `prefix` is served when its own site does as `plan` says.
#[must_use]
pub fn place<'p>(salt: &Salt, prefix: ClientPrefix, plan: &'p SitePlan) -> Place<'p> {
    if !spilled(salt, prefix, plan.share) {
        return Place::Home;
    }
    let helper = plan.helped.iter().find(|help| spilled(salt, prefix, help.below));
    helper.map_or(Place::Cloud, |help| Place::Site(&help.site))
}

/// The site of a client of `prefix`: the one of the greatest [`affinity`], the last of equals. Without a
/// map of networks there is no nearer or farther, but all who ask agree.
#[must_use]
pub fn home<'s, S>(
    salt: &Salt,
    prefix: ClientPrefix,
    sites: &'s [S],
    id: impl Fn(&S) -> &SiteId,
) -> Option<&'s S> {
    match sites {
        [only] => Some(only),
        many => many.iter().max_by_key(|site| affinity(salt, prefix, id(site))),
    }
}

/// How much a client prefix belongs to a site: its home is the site with the greatest affinity
/// (rendezvous hashing; Thaler and Ravishankar, 1998). A site that comes or goes moves only the
/// clients that it gains or loses. Independent of the rank, so that each site spills its share.
#[must_use]
pub fn affinity(salt: &Salt, prefix: ClientPrefix, site: &SiteId) -> u64 {
    let mut hasher = hasher(salt, prefix);
    hasher.write(site.as_str().as_bytes());
    hasher.finish()
}

fn hasher(salt: &Salt, prefix: ClientPrefix) -> SipHasher24 {
    let mut hasher = SipHasher24::new_with_key(&salt.0);
    match prefix {
        ClientPrefix::V4(octets) => {
            hasher.write(&[4]);
            hasher.write(&octets);
        }
        ClientPrefix::V6(octets) => {
            hasher.write(&[6]);
            hasher.write(&octets);
        }
    }
    hasher
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::Plan;
    use crate::plan::Help;

    const SALT: Salt = Salt::new(*b"0123456789abcdef");

    /// The rank is a contract between versions: clients must not move on an upgrade. The expected
    /// values come from a separate implementation of SipHash-2-4.
    #[test]
    fn ranks_are_fixed() {
        let known = [("192.0.2.1", V4_RANK), ("2001:db8::1", V6_RANK)];
        for (address, expected) in known {
            let prefix = address.parse::<IpAddr>().unwrap().into();
            assert_eq!(
                rank(&SALT, prefix).to_bits(),
                f64::to_bits(expected),
                "{address}: {}",
                rank(&SALT, prefix)
            );
        }
    }
    const V4_RANK: f64 = 0.5459499507960335;
    const V6_RANK: f64 = 0.40932728294141185;

    #[test]
    fn everybody_and_nobody() {
        for i in 0..=255 {
            let prefix = ClientPrefix::V4([10, 0, i]);
            assert!(spilled(&SALT, prefix, Share::ONE));
            assert!(!spilled(&SALT, prefix, Share::ZERO));
        }
    }

    #[test]
    fn ranks_are_uniform() {
        let below = (0..=u16::MAX)
            .filter(|i| {
                let [b, c] = i.to_be_bytes();
                spilled(&SALT, ClientPrefix::V4([127, b, c]), Share::clamped(0.3))
            })
            .count();
        // 65,536 draws at 0.3: one standard deviation is 117.
        assert!((19_200..=20_120).contains(&below), "{below}");
    }

    #[test]
    fn a_third_site_takes_only_its_own_third() {
        let sites = ["east", "west", "north"].map(|id| SiteId::new(id).unwrap());
        let home = |prefix, sites: &[SiteId]| home(&SALT, prefix, sites, |id| id).cloned().unwrap();
        let mut moved = 0;
        for i in 0..=u16::MAX {
            let [b, c] = i.to_be_bytes();
            let prefix = ClientPrefix::V4([127, b, c]);
            let (before, after) = (home(prefix, &sites[..2]), home(prefix, &sites));
            if before != after {
                assert_eq!(after, sites[2]);
                moved += 1;
            }
        }
        // A third of 65,536 draws: one standard deviation is 121.
        assert!((21_300..=22_400).contains(&moved), "{moved}");
    }

    #[test]
    fn salts_round_trip() {
        let salt = Salt::try_from("00112233445566778899aabbccddeeff".to_owned()).unwrap();
        assert_eq!(String::from(salt), "00112233445566778899aabbccddeeff");
        assert!(Salt::try_from("+0112233445566778899aabbccddeeff".to_owned()).is_err());
    }

    fn helped(share: f64, bounds: &[f64]) -> SitePlan {
        let names = ["west", "north", "south"];
        let help = |(name, below): (&str, &f64)| Help {
            site: SiteId::new(name).unwrap(),
            below: Share::clamped(*below),
            until: Share::ZERO,
        };
        let site = SiteId::new("east").unwrap();
        let mut plan = Plan::initial([site.clone()], 5).sites.remove(&site).unwrap();
        plan.share = Share::clamped(share);
        plan.helped = names.into_iter().zip(bounds).map(help).collect();
        plan
    }

    proptest! {
        /// Sites that help have the lowest ranks, in their order, then comes the cloud, then home.
        #[test]
        fn places_are_in_the_order_of_ranks(
            a: [u8; 3], b: [u8; 3], share in 0.0..=1.0, bounds in prop::collection::vec(0.0..=1.0, 0..4),
        ) {
            let plan = helped(share, &bounds);
            let distance = |place: Place<'_>| match place {
                Place::Site(id) => plan.helped.iter().position(|help| help.site == *id).unwrap(),
                Place::Cloud => 10,
                Place::Home => 11,
            };
            let of = |octets| {
                let prefix = ClientPrefix::V4(octets);
                (rank(&SALT, prefix), distance(place(&SALT, prefix, &plan)))
            };
            let (low, high) = if of(a).0 < of(b).0 { (of(a), of(b)) } else { (of(b), of(a)) };
            prop_assert!(low.1 <= high.1, "{low:?} {high:?}");
            prop_assert_eq!(low.1 == 11, low.0 >= share);
        }

        /// Whatever help does, who is away stays away; and more help moves nobody from a site to the cloud.
        #[test]
        fn help_moves_nobody_home(
            octets: [u8; 3], share in 0.0..=1.0, more in 0.0..=1.0, a in 0.0..=1.0, b in 0.0..=1.0,
        ) {
            let prefix = ClientPrefix::V4(octets);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let (less, more) = (helped(share, &[low]), helped(share.max(more), &[high]));
            let (before, after) = (place(&SALT, prefix, &less), place(&SALT, prefix, &more));
            prop_assert_eq!(before == Place::Home, rank(&SALT, prefix) >= share);
            match before {
                Place::Home => {}
                Place::Cloud => prop_assert!(after != Place::Home),
                Place::Site(_) => prop_assert_eq!(before, after),
            }
        }

        #[test]
        fn raising_a_share_moves_nobody_back(octets: [u8; 3], a in 0.0..=1.0, b in 0.0..=1.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let prefix = ClientPrefix::V4(octets);
            if spilled(&SALT, prefix, Share::clamped(low)) {
                prop_assert!(spilled(&SALT, prefix, Share::clamped(high)));
            }
        }
    }
}
