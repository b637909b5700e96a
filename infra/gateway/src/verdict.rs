//! What to do with a request: a pure function of the plan and of facts about the request.
//!
//! A knob sheds before anything is spilled: at the tier that turns it on, the cloud is what falls
//! short. A request that has hopped once is served where it is, and who was sent to a site goes on to the
//! cloud at most, so no pair of plans can make it loop.

use std::fmt;

use spillway_model::plan::{SitePlan, SpillMode};
use spillway_model::rank::{Place, place, rank};
use spillway_model::{ClientPrefix, KnobId, Plan, Salt, Share, SiteId, Tier, UnixMillis};

/// What is known of a request when it is decided on.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) prefix: ClientPrefix,
    /// The knobs that shed its route, mildest tier first.
    pub(crate) shed_by: &'a [(KnobId, Tier)],
    /// How its route may be spilled.
    pub(crate) spill: &'a [SpillMode],
    /// Whether it was sent here by a gateway's redirect or proxying.
    pub(crate) hopped: bool,
    /// Whether it asks for this site by its own name, and so was sent here.
    pub(crate) sent: bool,
    /// Of a visitor: what its own site is told.
    pub(crate) visits: Option<&'a SitePlan>,
}

/// Why a request is spilled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    pub(crate) rank: f64,
    pub(crate) share: Share,
}

impl fmt::Display for Ranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {:.3} < share {:.3}", self.rank, self.share.get())
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict<'a> {
    /// Answer 503 on a knob's behalf; the client is asked back after so many seconds.
    Shed { knob: &'a KnobId, tier: Tier, retry_after_secs: u64 },
    /// Answer 307 to the cloud, or to a site that helps, good for so many seconds.
    Redirect { why: Ranked, helper: Option<&'a SiteId>, max_age_secs: u32 },
    /// Forward to the cloud.
    Proxy { why: Ranked },
    /// Serve at home; where home cannot, it may leave as said, if at all.
    Home { why: &'static str, otherwise: Option<SpillMode> },
}

/// Decides. `site` is the gateway's own.
pub(crate) fn verdict<'a>(
    plan: &'a Plan,
    site: &SiteId,
    salt: &Salt,
    facts: &Facts<'a>,
    now: UnixMillis,
) -> Verdict<'a> {
    if let Some((knob, tier)) = facts.shed_by.iter().find(|(knob, _)| plan.knob_on(knob, now)) {
        let retry_after_secs = retry_after_secs(rank(salt, facts.prefix));
        return Verdict::Shed { knob, tier: *tier, retry_after_secs };
    }
    let instruction = plan.sites.get(site);
    let planned = instruction.map_or(SpillMode::default(), |instruction| instruction.mode);
    let allowed = facts.spill.iter().find(|mode| **mode == planned).or(facts.spill.first());
    let mode = allowed.copied().filter(|_| !facts.hopped);
    let home = |why| Verdict::Home { why, otherwise: mode };
    let Some(instruction) = instruction else {
        return home("the plan does not know this site");
    };
    let placed = |plan| place(salt, facts.prefix, plan);
    // Who came from another site is not sent to a third.
    let stays = facts.sent || facts.visits.is_some() || !facts.spill.contains(&SpillMode::Redirect);
    let (helper, by) = match (placed(instruction), facts.visits) {
        (Place::Cloud, _) => (None, instruction),
        (Place::Site(id), _) => (Some(id).filter(|_| !stays), instruction),
        // A visitor leaves as soon as its own site's plan has it in the cloud. Home it is not sent back to:
        // name servers do that.
        (Place::Home, Some(visited)) if placed(visited) == Place::Cloud => (None, visited),
        (Place::Home, Some(_)) => return home("visits"),
        (Place::Home, None) => return home("not spilled"),
    };
    let why = Ranked { rank: rank(salt, facts.prefix), share: by.share };
    match mode {
        _ if facts.hopped => home("has hopped before"),
        None => home("the route stays at home"),
        Some(SpillMode::Proxy) if helper.is_none() => Verdict::Proxy { why },
        Some(_) => Verdict::Redirect { why, helper, max_age_secs: instruction.dns_ttl_secs },
    }
}

/// When a shed client may ask again: between 20 and 40 seconds, spread by rank so that those shed at
/// one moment do not return at one moment.
fn retry_after_secs(rank: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank lies in [0,1)"
    )]
    let spread = (rank * 21.0) as u64;
    20 + spread
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spillway_model::plan::{Help, KnobLease};

    use super::*;

    const SALT: Salt = Salt::new(*b"0123456789abcdef");
    const NOW: UnixMillis = UnixMillis(1_000);

    fn east() -> SiteId {
        SiteId::new("east").unwrap()
    }

    fn plan(share: f64, mode: SpillMode, knob_until: Option<UnixMillis>) -> Plan {
        let mut plan = Plan::initial([east()], 5);
        let site = plan.sites.get_mut(&east()).unwrap();
        site.share = Share::clamped(share);
        site.mode = mode;
        if let Some(until) = knob_until {
            let lease = KnobLease { until, by: "tier 3".to_owned() };
            plan.knobs.insert(KnobId::new("essential-only").unwrap(), lease);
        }
        plan
    }

    fn any_mode() -> impl Strategy<Value = SpillMode> {
        prop_oneof![Just(SpillMode::Redirect), Just(SpillMode::Proxy)]
    }

    fn any_spill() -> impl Strategy<Value = Vec<SpillMode>> {
        prop_oneof![
            Just(vec![]),
            Just(vec![SpillMode::Redirect]),
            Just(vec![SpillMode::Proxy]),
            Just(vec![SpillMode::Redirect, SpillMode::Proxy]),
        ]
    }

    fn leaves(verdict: &Verdict<'_>) -> bool {
        matches!(verdict, Verdict::Redirect { .. } | Verdict::Proxy { .. })
    }

    proptest! {
        #[test]
        fn raising_a_share_sends_nobody_back(
            octets: [u8; 3], a in 0.0..=1.0, b in 0.0..=1.0, mode in any_mode(), spill in any_spill(),
        ) {
            let prefix = ClientPrefix::V4(octets);
            let facts = Facts { prefix, shed_by: &[], spill: &spill, hopped: false, sent: false, visits: None };
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let (low, high) = (plan(low, mode, None), plan(high, mode, None));
            if leaves(&verdict(&low, &east(), &SALT, &facts, NOW)) {
                prop_assert!(leaves(&verdict(&high, &east(), &SALT, &facts, NOW)));
            }
        }

        #[test]
        fn a_request_leaves_exactly_when_dns_would_send_it(
            octets: [u8; 3], share in 0.0..=1.0, mode in any_mode(), spill in any_spill(),
        ) {
            let prefix = ClientPrefix::V4(octets);
            let facts = Facts { prefix, shed_by: &[], spill: &spill, hopped: false, sent: false, visits: None };
            let plan = plan(share, mode, None);
            let expected = !spill.is_empty() && rank(&SALT, prefix) < share;
            prop_assert_eq!(leaves(&verdict(&plan, &east(), &SALT, &facts, NOW)), expected);
        }

        #[test]
        fn nothing_hops_twice(octets: [u8; 3], share in 0.0..=1.0, mode in any_mode(), spill in any_spill()) {
            let facts = Facts { prefix: ClientPrefix::V4(octets), shed_by: &[], spill: &spill, hopped: true, sent: false, visits: None };
            let plan = plan(share, mode, None);
            let home = matches!(
                verdict(&plan, &east(), &SALT, &facts, NOW), Verdict::Home { otherwise: None, .. }
            );
            prop_assert!(home);
        }

        #[test]
        fn a_knob_sheds_before_anything_is_spilled(
            octets: [u8; 3], share in 0.0..=1.0, hopped: bool, until in 0u64..2_000,
        ) {
            let knobs = [(KnobId::new("essential-only").unwrap(), Tier::Severe)];
            let spill = [SpillMode::Redirect];
            let facts = Facts { prefix: ClientPrefix::V4(octets), shed_by: &knobs, spill: &spill, hopped, sent: false, visits: None };
            let plan = plan(share, SpillMode::Redirect, Some(UnixMillis(until)));
            match verdict(&plan, &east(), &SALT, &facts, NOW) {
                Verdict::Shed { tier, retry_after_secs, .. } => {
                    prop_assert!(until > NOW.0, "the lease had ended");
                    prop_assert_eq!(tier, Tier::Severe);
                    prop_assert!((20..=40).contains(&retry_after_secs));
                }
                _ => prop_assert!(until <= NOW.0, "the knob was on"),
            }
        }

        #[test]
        fn only_a_mode_the_route_allows_is_used(octets: [u8; 3], mode in any_mode(), spill in any_spill()) {
            let facts = Facts { prefix: ClientPrefix::V4(octets), shed_by: &[], spill: &spill, hopped: false, sent: false, visits: None };
            let used = match verdict(&plan(1.0, mode, None), &east(), &SALT, &facts, NOW) {
                Verdict::Redirect { max_age_secs, .. } => {
                    prop_assert_eq!(max_age_secs, 5);
                    Some(SpillMode::Redirect)
                }
                Verdict::Proxy { .. } => Some(SpillMode::Proxy),
                _ => None,
            };
            let expected = if spill.contains(&mode) { Some(mode) } else { spill.first().copied() };
            prop_assert_eq!(used, expected);
            // Who is not spilled would leave home the same way.
            match verdict(&plan(0.0, mode, None), &east(), &SALT, &facts, NOW) {
                Verdict::Home { otherwise, .. } => prop_assert_eq!(otherwise, expected),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    /// East is helped by west, up to a rank.
    fn helped(share: f64, below: f64) -> Plan {
        let mut plan = plan(share, SpillMode::Redirect, None);
        let help = Help { site: west(), below: Share::clamped(below), until: Share::ONE };
        let unhelped = plan.sites[&east()].clone();
        plan.sites.get_mut(&east()).unwrap().helped = vec![help];
        plan.sites.insert(west(), SitePlan { share: Share::ZERO, ..unhelped });
        plan
    }

    fn west() -> SiteId {
        SiteId::new("west").unwrap()
    }

    proptest! {
        /// A client goes from its site to where name servers send it, and from there to the cloud at most.
        #[test]
        fn a_request_takes_the_way_of_dns_and_ends(
            octets: [u8; 3], share in 0.0..=1.0, below in 0.0..=1.0, wests in 0.0..=0.5,
        ) {
            let prefix = ClientPrefix::V4(octets);
            let mut plan = helped(share, below);
            plan.sites.get_mut(&west()).unwrap().share = Share::clamped(wests);
            let facts = |sent, visits| Facts {
                prefix, shed_by: &[], spill: &[SpillMode::Redirect], hopped: false, sent, visits,
            };
            let at_home = verdict(&plan, &east(), &SALT, &facts(false, None), NOW);
            match (place(&SALT, prefix, &plan.sites[&east()]), at_home) {
                (Place::Home, Verdict::Home { .. }) => {}
                (Place::Cloud, Verdict::Redirect { helper: None, .. }) => {}
                (Place::Site(id), Verdict::Redirect { helper: Some(to), .. }) => prop_assert_eq!(id, to),
                other => prop_assert!(false, "{:?}", other),
            }
            // However it came to west, it stays there or goes to the cloud: as the plan of west has it for
            // everybody, and that of east for its own.
            let visits = Some(&plan.sites[&east()]);
            let in_cloud = place(&SALT, prefix, &plan.sites[&east()]) == Place::Cloud;
            for (sent, visits) in [(true, visits), (false, visits), (true, None)] {
                let leaves = rank(&SALT, prefix) < wests || visits.is_some() && in_cloud;
                match verdict(&plan, &west(), &SALT, &facts(sent, visits), NOW) {
                    Verdict::Redirect { helper: None, .. } => prop_assert!(leaves),
                    Verdict::Home { .. } => prop_assert!(!leaves),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }

        /// Two sites that each think that the other helps do not play with a client.
        #[test]
        fn plans_of_two_generations_send_nobody_round(octets: [u8; 3], share in 0.0..=1.0) {
            let prefix = ClientPrefix::V4(octets);
            let mut plan = helped(share, 1.0);
            let back = Help { site: east(), below: Share::ONE, until: Share::ZERO };
            let west_plan = plan.sites.get_mut(&west()).unwrap();
            (west_plan.share, west_plan.helped) = (Share::ONE, vec![back]);
            let spill = [SpillMode::Redirect];
            let sent = Facts { prefix, shed_by: &[], spill: &spill, hopped: false, sent: true, visits: None };
            for site in [east(), west()] {
                let to = verdict(&plan, &site, &SALT, &sent, NOW);
                prop_assert!(!matches!(to, Verdict::Redirect { helper: Some(_), .. }), "{:?}", to);
            }
        }
    }

    #[test]
    fn what_goes_over_the_link_goes_to_the_cloud() {
        let prefix = ClientPrefix::V4([127, 0, 0]);
        let mut plan = helped(1.0, 1.0);
        let goes = |plan: &Plan, spill: &[SpillMode]| {
            let facts =
                Facts { prefix, shed_by: &[], spill, hopped: false, sent: false, visits: None };
            match verdict(plan, &east(), &SALT, &facts, NOW) {
                Verdict::Redirect { helper, .. } => helper.is_some(),
                Verdict::Proxy { .. } => false,
                other => panic!("{other:?}"),
            }
        };
        assert!(!goes(&plan, &[SpillMode::Proxy]));
        plan.sites.get_mut(&east()).unwrap().mode = SpillMode::Proxy;
        assert!(goes(&plan, &[SpillMode::Proxy, SpillMode::Redirect]));
    }

    #[test]
    fn a_site_the_plan_does_not_know_spills_nothing() {
        let spill = [SpillMode::Redirect];
        let prefix = ClientPrefix::V4([127, 0, 0]);
        let facts =
            Facts { prefix, shed_by: &[], spill: &spill, hopped: false, sent: false, visits: None };
        let west = SiteId::new("west").unwrap();
        let plan = plan(1.0, SpillMode::Redirect, None);
        assert!(matches!(verdict(&plan, &west, &SALT, &facts, NOW), Verdict::Home { .. }));
    }
}
