//! Which side served each client when, and whether raising a share ever moved one back.

use std::fmt;

use serde::{Deserialize, Serialize};
use spillway_model::{SiteId, UnixMillis};

/// Who serves a client. Written as the site's id, or `cloud`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Side {
    /// A site.
    Site(SiteId),
    /// The cloud.
    Cloud,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site(site) => site.fmt(f),
            Self::Cloud => f.write_str("cloud"),
        }
    }
}

impl From<Side> for String {
    fn from(side: Side) -> Self {
        side.to_string()
    }
}

impl TryFrom<String> for Side {
    type Error = spillway_model::ids::BadName;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name == "cloud" { Ok(Self::Cloud) } else { SiteId::new(&name).map(Self::Site) }
    }
}

/// How a client came to the side that served it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// It was told by DNS.
    Dns,
    /// It followed a 307, now or within that 307's `max-age`.
    Redirect,
}

/// The first side that served a client, or a change of side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// When the request was sent to the side that served it. Moves of a client are in this order.
    pub sent_ms: UnixMillis,
    /// When that side's answer began: the decision fell between the two.
    pub at_ms: UnixMillis,
    /// The client's index.
    pub client: u32,
    /// The rank of its prefix.
    pub rank: f64,
    /// Who serves it from now on.
    pub to: Side,
    /// How it came there.
    pub via: Via,
    /// Generation of the plan that the serving part acted on, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A client that the cloud served was served at home again although the share never fell to its rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// The move home.
    pub home: Move,
    /// The move to the cloud before it.
    pub cloud: Move,
    /// The lowest share in force in the time looked at; the rank is below it.
    pub share_min: f64,
    /// When the time looked at began.
    pub since_ms: UnixMillis,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {} (rank {:.4}) went home at {}, though the share was never below {:.4} since {}",
            self.home.client, self.home.rank, self.home.at_ms, self.share_min, self.since_ms
        )
    }
}

/// Checks that cohorts are nested: that raising the share moved no client back.
///
/// `shares` says from when on which share was in force, oldest first (times may repeat: the last
/// counts from then on, the others were in force for an instant). A client that moves home after
/// the cloud served it must have had a reason: at some time from `ttl_ms + slack_ms` before its
/// request was sent until the answer came, the share was at or below its rank. `ttl_ms` is the
/// longest that a client may act on an old answer (DNS TTL, or the `max-age` of a 307); `slack_ms`
/// covers what the timeline and the clocks are worth. Times before the timeline begins are unknown
/// and count as a reason.
#[must_use]
pub fn check_cohorts(
    moves: &[Move],
    shares: &[(UnixMillis, f64)],
    ttl_ms: u64,
    slack_ms: u64,
) -> Vec<Violation> {
    let mut ordered: Vec<&Move> = moves.iter().collect();
    ordered.sort_by_key(|m| (m.client, m.sent_ms, m.at_ms));
    let mut violations = Vec::new();
    for pair in ordered.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let back_home = before.client == after.client
            && before.to == Side::Cloud
            && matches!(after.to, Side::Site(_));
        if !back_home {
            continue;
        }
        let since = UnixMillis(after.sent_ms.0.saturating_sub(ttl_ms.saturating_add(slack_ms)));
        if let Some(share_min) = lowest(shares, since, after.at_ms)
            && share_min > after.rank
        {
            violations.push(Violation {
                home: after.clone(),
                cloud: before.clone(),
                share_min,
                since_ms: since,
            });
        }
    }
    violations.sort_by_key(|v| (v.home.at_ms, v.home.client));
    violations
}

/// The lowest share in force at any time of [from, to]; `None` when it is not known for all of it.
fn lowest(shares: &[(UnixMillis, f64)], from: UnixMillis, to: UnixMillis) -> Option<f64> {
    // The first entry that began after `from`: the one before it was in force then.
    let next = shares.partition_point(|(at, _)| *at <= from);
    let (_, at_start) = shares[..next].last()?;
    let later = shares[next..].iter().take_while(|(at, _)| *at <= to);
    Some(later.fold(*at_start, |least, (_, share)| least.min(*share)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: u64 = 5_000;
    const SLACK: u64 = 500;

    fn at(client: u32, rank: f64, sent: u64, answered: u64, to: &str) -> Move {
        let to = Side::try_from(to.to_owned()).unwrap();
        let (sent_ms, at_ms) = (UnixMillis(sent), UnixMillis(answered));
        Move { sent_ms, at_ms, client, rank, to, via: Via::Dns, generation: None }
    }

    fn quick(client: u32, rank: f64, sent: u64, to: &str) -> Move {
        at(client, rank, sent, sent, to)
    }

    fn timeline(entries: &[(u64, f64)]) -> Vec<(UnixMillis, f64)> {
        entries.iter().map(|(at, share)| (UnixMillis(*at), *share)).collect()
    }

    fn check(moves: &[Move], shares: &[(u64, f64)]) -> usize {
        check_cohorts(moves, &timeline(shares), TTL, SLACK).len()
    }

    #[test]
    fn raising_the_share_must_not_send_a_client_home() {
        let shares = [(0, 0.0), (10_000, 0.3), (20_000, 0.6)];
        let moves = [
            quick(1, 0.2, 1_000, "east"),
            quick(1, 0.2, 11_000, "cloud"),
            quick(1, 0.2, 21_000, "east"),
        ];
        let found = check_cohorts(&moves, &timeline(&shares), TTL, SLACK);
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].home, &found[0].cloud), (&moves[2], &moves[1]));
        assert_eq!((found[0].share_min, found[0].since_ms), (0.3, UnixMillis(15_500)));
        assert!(found[0].to_string().contains("client 1 (rank 0.2000)"), "{}", found[0]);
    }

    #[test]
    fn lowering_the_share_to_the_rank_is_a_reason() {
        let shares = [(0, 0.5), (10_000, 0.2)];
        let moves = [quick(1, 0.2, 1_000, "cloud"), quick(1, 0.2, 10_100, "east")];
        assert_eq!(check(&moves, &shares), 0, "spilled means rank < share: 0.2 is not");
        let moves = [quick(1, 0.19, 1_000, "cloud"), quick(1, 0.19, 10_100, "east")];
        assert_eq!(check(&moves, &shares), 1);
    }

    #[test]
    fn an_old_answer_may_be_acted_on_for_its_ttl() {
        // The share was 0.1 until 10 s: an answer given then is good until 15 s, 15.5 with slack.
        let shares = [(0, 0.6), (5_000, 0.1), (10_000, 0.6)];
        let home_at = |ms| [quick(1, 0.3, 1_000, "cloud"), quick(1, 0.3, ms, "east")];
        assert_eq!(check(&home_at(15_499), &shares), 0);
        assert_eq!(check(&home_at(15_500), &shares), 1, "0.6 holds from 10,000 on, that included");
    }

    #[test]
    fn the_decision_falls_between_sending_and_answer() {
        let shares = [(0, 0.6), (20_000, 0.0)];
        let moves = [quick(1, 0.3, 1_000, "cloud"), at(1, 0.3, 19_000, 20_500, "east")];
        assert_eq!(check(&moves, &shares), 0, "lowered while the request was under way");
        let moves = [quick(1, 0.3, 1_000, "cloud"), at(1, 0.3, 19_000, 19_999, "east")];
        assert_eq!(check(&moves, &shares), 1);
    }

    #[test]
    fn what_is_not_known_is_no_violation() {
        let moves = [quick(1, 0.1, 1_000, "cloud"), quick(1, 0.1, 12_000, "east")];
        assert_eq!(check(&moves, &[]), 0);
        assert_eq!(check(&moves, &[(6_501, 0.9)]), 0, "the first milliseconds are not covered");
        assert_eq!(check(&moves, &[(6_500, 0.9)]), 1);
    }

    #[test]
    fn only_a_move_from_cloud_to_home_counts() {
        let shares = [(0, 0.9)];
        assert_eq!(check(&[quick(1, 0.1, 50_000, "east")], &shares), 0, "first side");
        let two = [quick(1, 0.1, 50_000, "cloud"), quick(2, 0.1, 51_000, "east")];
        assert_eq!(check(&two, &shares), 0, "different clients");
        let sites = [quick(1, 0.1, 50_000, "east"), quick(1, 0.1, 51_000, "west")];
        assert_eq!(check(&sites, &shares), 0, "site to site");
    }

    #[test]
    fn order_of_the_log_does_not_matter_and_an_instant_of_a_low_share_does() {
        let moves = [quick(1, 0.1, 51_000, "east"), quick(1, 0.1, 50_000, "cloud")];
        assert_eq!(check(&moves, &[(0, 0.9)]), 1);
        assert_eq!(check(&moves, &[(0, 0.9), (49_000, 0.0), (49_000, 0.9)]), 0);
    }

    #[test]
    fn sides_are_written_as_names() {
        let moved = quick(3, 0.5, 9, "east");
        let text = serde_json::to_string(&moved).unwrap();
        assert!(text.contains(r#""to":"east","via":"dns"}"#), "{text}");
        assert_eq!(serde_json::from_str::<Move>(&text).unwrap(), moved);
        assert_eq!(Side::try_from("cloud".to_owned()), Ok(Side::Cloud));
    }

    proptest! {
        /// Clients that follow the rule, each acting on a share that is at most a TTL old, never
        /// violate it, whatever the shares do.
        #[test]
        fn clients_that_follow_the_rule_pass(
            steps in proptest::collection::vec((1u64..8_000, 0.0f64..=1.0), 1..20),
            rank in 0.0f64..1.0,
            requests in proptest::collection::vec((0u64..4_000, 0u64..=TTL, 0u64..2_000), 1..60),
        ) {
            let mut shares = vec![(0, 0.5)];
            for (gap, share) in steps {
                shares.push((shares[shares.len() - 1].0 + gap, share));
            }
            let in_force = |ms: u64| shares.iter().rev().find(|(at, _)| *at <= ms).unwrap().1;
            let (mut now, mut moves) = (10_000, Vec::new());
            for (gap, age, took) in requests {
                now += gap;
                let side = if rank < in_force(now - age) { "cloud" } else { "east" };
                moves.push(at(1, rank, now, now + took, side));
            }
            prop_assert_eq!(check(&moves, &shares), 0);
        }

        /// While the share only rises, whoever has been in the cloud and is at home later than a
        /// TTL after is found.
        #[test]
        fn every_return_under_rising_shares_is_found(
            raises in proptest::collection::vec((1u64..8_000, 0.0f64..0.1), 1..10),
            rank in 0.0f64..0.3,
            after in (TTL + SLACK)..60_000,
        ) {
            let mut shares = vec![(0, 0.3)];
            for (gap, raise) in raises {
                let (at, share) = shares[shares.len() - 1];
                shares.push((at + gap, f64::min(share + raise, 1.0)));
            }
            let moves = [quick(1, rank, 10, "cloud"), quick(1, rank, after, "east")];
            prop_assert_eq!(check(&moves, &shares), 1);
        }
    }
}
