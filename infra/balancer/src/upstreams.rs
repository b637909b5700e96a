//! The gateways of a site: who is healthy, and whom the next connection goes to.
//!
//! ```text
//!                    two checks in a row fail, or one connect fails
//!          ┌─────────────────────────────────────────────────────────▶ down
//!   up ────┤                                                            │
//!    ▲     └── a check is answered 503 ──▶ draining ── as from up ──────┘
//!    └────────────────────── a check passes ──────── (from either)
//! ```
//!
//! A gateway is up until a check says otherwise. Only gateways that are up get new connections;
//! when none is, the others do (fail open): a balancer that is wrong about all of them would
//! otherwise be the outage.
//!
//! A gateway that is down keeps its connections through two more failed checks. Then they are ended, if
//! another gateway is up: their clients' next attempts go there. A gateway that drains says so, and
//! keeps them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spillway_model::config::Instance;
use spillway_model::load::UpstreamLoad;
use spillway_part::Shutdown;

/// Failed checks in a row after which an upstream is down.
const FALL: u32 = 2;
/// Failed checks in a row after which its connections are ended.
const CUT: u32 = 4;

/// What a health check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Pass,
    /// The upstream asks for no new connections. It is believed at once, as no lost packet says so.
    Draining,
    Fail,
}

/// In the order of preference for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Up,
    Draining,
    Down,
}

#[derive(Debug)]
struct Member {
    name: String,
    address: SocketAddr,
    admin: SocketAddr,
    health: Health,
    failed_checks: u32,
    active: u64,
    failures: u64,
    /// Ends the connections that it has now.
    cut: Shutdown,
}

impl Member {
    fn becomes(&mut self, health: Health) {
        if self.health != health {
            let gateway = self.name.as_str();
            match health {
                Health::Up => tracing::info!(gateway, "the gateway is up again"),
                Health::Draining => tracing::info!(gateway, "the gateway drains"),
                Health::Down => tracing::warn!(gateway, "the gateway is down"),
            }
            self.health = health;
        }
    }
}

#[derive(Debug)]
struct State {
    members: Vec<Member>,
    // Where the search for the least busy starts, so that equals take turns.
    next: usize,
}

/// The gateways. One short lock covers choice and count, so that connections that arrive together
/// do not all see the same gateway as the least busy.
#[derive(Debug)]
pub(crate) struct Upstreams {
    state: Mutex<State>,
}

/// A connection counted towards an upstream until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    upstreams: Arc<Upstreams>,
    index: usize,
    address: SocketAddr,
    cut: Shutdown,
}

impl Lease {
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the connection is to be ended, because its upstream is down.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// The connect failed: the upstream gets no more connections until a check passes.
    pub(crate) fn failed(self) {
        let member = &mut self.upstreams.lock().members[self.index];
        member.failures += 1;
        member.becomes(Health::Down);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstreams.lock().members[self.index].active -= 1;
    }
}

impl Upstreams {
    pub(crate) fn new(gateways: &[Instance]) -> Self {
        let member = |gateway: &Instance| Member {
            name: gateway.name.clone(),
            address: gateway.listen,
            admin: gateway.admin,
            health: Health::Up,
            failed_checks: 0,
            active: 0,
            failures: 0,
            cut: Shutdown::new(),
        };
        let members = gateways.iter().map(member).collect();
        Self { state: Mutex::new(State { members, next: 0 }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses the upstream in the best health with the fewest connections, except those `tried`, and
    /// counts the connection.
    pub(crate) fn choose(self: &Arc<Self>, tried: &[usize]) -> Option<Lease> {
        let mut state = self.lock();
        let State { members, next } = &mut *state;
        let count = members.len();
        let index = (*next..*next + count)
            .map(|turn| turn % count)
            .filter(|index| !tried.contains(index))
            .min_by_key(|&index| (members[index].health, members[index].active))?;
        *next = index + 1;
        let member = &mut members[index];
        member.active += 1;
        let cut = member.cut.clone();
        Some(Lease { upstreams: self.clone(), index, address: member.address, cut })
    }

    /// Takes in what a check of the upstream at `index` found.
    pub(crate) fn checked(&self, index: usize, check: Check) {
        let mut state = self.lock();
        let elsewhere = state.members.iter().any(|member| member.health == Health::Up);
        let member = &mut state.members[index];
        match check {
            Check::Pass => {
                member.failed_checks = 0;
                member.becomes(Health::Up);
            }
            Check::Draining => {
                member.failed_checks = 0;
                member.becomes(Health::Draining);
            }
            Check::Fail => {
                member.failed_checks = member.failed_checks.saturating_add(1);
                if member.failed_checks >= FALL {
                    member.becomes(Health::Down);
                }
                // By now it is not up itself.
                if member.failed_checks >= CUT && elsewhere && member.active > 0 {
                    let (gateway, connections) = (member.name.as_str(), member.active);
                    tracing::warn!(
                        gateway,
                        connections,
                        "ending the connections of a gateway that is down"
                    );
                    std::mem::take(&mut member.cut).cancel();
                }
            }
        }
    }

    /// Where the upstreams answer health checks, by index.
    pub(crate) fn admins(&self) -> Vec<SocketAddr> {
        self.lock().members.iter().map(|member| member.admin).collect()
    }

    pub(crate) fn load(&self) -> BTreeMap<String, UpstreamLoad> {
        let load = |member: &Member| UpstreamLoad {
            healthy: member.health == Health::Up,
            active: member.active,
            failures: member.failures,
        };
        self.lock().members.iter().map(|member| (member.name.clone(), load(member))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(count: u16) -> Arc<Upstreams> {
        let instance = |i: u16| Instance {
            name: format!("gw-{i}"),
            listen: ([127, 0, 0, 1], 1000 + i).into(),
            admin: ([127, 0, 0, 1], 2000 + i).into(),
        };
        Arc::new(Upstreams::new(&(0..count).map(instance).collect::<Vec<_>>()))
    }

    fn healthy(upstreams: &Upstreams) -> Vec<bool> {
        upstreams.load().values().map(|load| load.healthy).collect()
    }

    #[test]
    fn equals_take_turns_and_the_least_busy_comes_first() {
        let upstreams = upstreams(3);
        let mut leases: Vec<_> = (0..6).map(|_| upstreams.choose(&[]).unwrap()).collect();
        assert_eq!(leases.iter().map(Lease::index).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        leases.retain(|lease| lease.index() != 1);
        let (a, b) = (upstreams.choose(&[]).unwrap(), upstreams.choose(&[]).unwrap());
        assert_eq!((a.index(), b.index()), (1, 1));
        assert_eq!(upstreams.load()["gw-1"].active, 2);
    }

    #[test]
    fn an_upstream_falls_after_two_failed_checks_and_rises_after_one() {
        let upstreams = upstreams(2);
        upstreams.checked(0, Check::Fail);
        assert_eq!(healthy(&upstreams), [true, true]);
        upstreams.checked(0, Check::Pass);
        upstreams.checked(0, Check::Fail);
        assert_eq!(healthy(&upstreams), [true, true]);
        upstreams.checked(0, Check::Fail);
        assert_eq!(healthy(&upstreams), [false, true]);
        upstreams.checked(0, Check::Pass);
        assert_eq!(healthy(&upstreams), [true, true]);
    }

    #[test]
    fn a_draining_upstream_keeps_what_it_has_and_gets_no_more() {
        let upstreams = upstreams(2);
        let kept = upstreams.choose(&[]).unwrap();
        upstreams.checked(0, Check::Draining);
        let more: Vec<_> = (0..3).map(|_| upstreams.choose(&[]).unwrap()).collect();
        assert!(more.iter().all(|lease| lease.index() == 1));
        assert_eq!((kept.index(), upstreams.load()["gw-0"].active), (0, 1));
    }

    #[test]
    fn a_failed_connect_ejects_until_a_check_passes() {
        let upstreams = upstreams(2);
        upstreams.choose(&[]).unwrap().failed();
        let load = &upstreams.load()["gw-0"];
        assert_eq!((load.healthy, load.active, load.failures), (false, 0, 1));
        assert_eq!(upstreams.choose(&[]).unwrap().index(), 1);
        assert_eq!(upstreams.choose(&[]).unwrap().index(), 1);
        upstreams.checked(0, Check::Pass);
        assert_eq!(healthy(&upstreams), [true, true]);
    }

    #[test]
    fn when_none_is_up_each_is_tried_once_the_draining_first() {
        let upstreams = upstreams(3);
        for index in [0, 1] {
            upstreams.checked(index, Check::Fail);
            upstreams.checked(index, Check::Fail);
        }
        upstreams.checked(2, Check::Draining);
        let mut tried = Vec::new();
        while let Some(lease) = upstreams.choose(&tried) {
            tried.push(lease.index());
            lease.failed();
        }
        assert_eq!(tried, [2, 0, 1]);
        assert!(upstreams.choose(&tried).is_none());
    }
}
