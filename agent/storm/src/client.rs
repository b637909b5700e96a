//! One client: what it remembers between requests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::Semaphore;

use crate::cohort::Via;
use crate::outcome::Served;
use crate::population;

/// Most connections of a client, as browsers have it; further requests wait.
pub(crate) const CONNECTIONS_MAX: usize = 6;
/// How long a connection may lie idle.
const IDLE: Duration = Duration::from_secs(15);
/// Most names a client remembers.
const NAMES_MAX: usize = 8;
/// How long a failed look-up is remembered, so that a dead name server is not asked by every
/// request in turn.
const FAILED_LOOKUP: Duration = Duration::from_secs(1);

/// A host and port, as in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

/// A connection that lies idle.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) target: Target,
    pub(crate) ip: IpAddr,
    pub(crate) sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: u32,
    pub(crate) address: Ipv4Addr,
    /// One permit a connection in use.
    pub(crate) slots: Semaphore,
    /// Held while a name is looked up, so that requests of one client ask once.
    pub(crate) lookup: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    names: Vec<Name>,
    affinity: Option<(Target, Instant)>,
    idle: Vec<Idle>,
    sides: Sides,
}

#[derive(Debug)]
struct Name {
    host: Arc<str>,
    ip: Option<IpAddr>,
    until: Instant,
}

impl Client {
    pub(crate) fn new(sources: Ipv4Addr, index: u32) -> Self {
        Self {
            index,
            address: population::address(sources, index),
            slots: Semaphore::new(CONNECTIONS_MAX),
            lookup: tokio::sync::Mutex::new(()),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the next request goes: to the host of a 307 whose `max-age` lasts, or to the service.
    pub(crate) fn target(&self, service: &Target, now: Instant) -> (Target, Via) {
        let mut state = self.state();
        match &state.affinity {
            Some((target, until)) if now < *until => (target.clone(), Via::Redirect),
            _ => {
                state.affinity = None;
                (service.clone(), Via::Dns)
            }
        }
    }

    /// Stays with a target until `until`; connections to others are given up.
    pub(crate) fn stay(&self, target: &Target, until: Instant) {
        let mut state = self.state();
        state.affinity = Some((target.clone(), until));
        state.idle.retain(|idle| idle.target == *target);
    }

    /// Forgets the affinity: the host that it led to did not answer.
    pub(crate) fn unstay(&self) {
        self.state().affinity = None;
    }

    /// What is remembered of a name: its address, or that it could not be looked up.
    pub(crate) fn known(&self, host: &str, now: Instant) -> Option<Option<IpAddr>> {
        let state = self.state();
        state.names.iter().find(|n| &*n.host == host && now < n.until).map(|n| n.ip)
    }

    /// Remembers an answer for its time to live, or a failure for a moment.
    pub(crate) fn learn(&self, host: &Arc<str>, answer: Option<(IpAddr, u32)>, now: Instant) {
        let (ip, ttl) = match answer {
            Some((ip, ttl)) => (Some(ip), Duration::from_secs(ttl.into())),
            None => (None, FAILED_LOOKUP),
        };
        let mut state = self.state();
        state.names.retain(|name| name.host != *host && now < name.until);
        if state.names.len() == NAMES_MAX {
            state.names.remove(0);
        }
        state.names.push(Name { host: host.clone(), ip, until: now + ttl });
    }

    /// The connection to a target that was used last, if one lies idle. Connections to an address
    /// that the target's name no longer has are given up.
    pub(crate) fn checkout(&self, target: &Target, ip: IpAddr, now: Instant) -> Option<Idle> {
        let mut state = self.state();
        let usable = |idle: &Idle| !idle.sender.is_closed() && now < idle.since + IDLE;
        state.idle.retain(|idle| usable(idle) && (idle.target != *target || idle.ip == ip));
        let index = state.idle.iter().rposition(|idle| idle.target == *target)?;
        Some(state.idle.remove(index))
    }

    /// Makes room for a connection about to be opened: with those in use there are at most
    /// [`CONNECTIONS_MAX`].
    pub(crate) fn make_room(&self) {
        let mut state = self.state();
        // The permit of the connection to be is among those taken.
        let in_use = CONNECTIONS_MAX - self.slots.available_permits();
        let keep = CONNECTIONS_MAX - in_use;
        let excess = state.idle.len().saturating_sub(keep);
        state.idle.drain(..excess);
    }

    /// Keeps a connection for later, unless the client has moved elsewhere meanwhile.
    pub(crate) fn checkin(
        &self,
        target: Target,
        ip: IpAddr,
        sender: SendRequest<Full<Bytes>>,
        now: Instant,
    ) {
        let mut state = self.state();
        let moved =
            state.affinity.as_ref().is_some_and(|(to, until)| now < *until && *to != target);
        if !moved && state.idle.len() < CONNECTIONS_MAX {
            state.idle.push(Idle { target, ip, sender, since: now });
        }
    }

    /// Closes connections that have lain idle for too long, or that the other side closed.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut state = self.state();
        state.idle.retain(|idle| !idle.sender.is_closed() && now < idle.since + IDLE);
    }

    /// A request was sent (again: to the host of a 307).
    pub(crate) fn sent(&self, request: u64, at: Instant) {
        self.state().sides.sent(request, at);
    }

    /// A request came to its end, served by a side or not. Changes of side go to `changed`, in the
    /// order in which the requests were sent.
    pub(crate) fn ended(&self, request: u64, seen: Option<Seen>, changed: impl FnMut(Change)) {
        self.state().sides.ended(request, seen, changed);
    }

    /// No request ends any more: reports what was held back for order's sake.
    pub(crate) fn flush(&self, changed: impl FnMut(Change)) {
        self.state().sides.flush(changed);
    }
}

/// Who served a request, and when the answer began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) by: Served,
    pub(crate) via: Via,
    pub(crate) generation: Option<u64>,
    pub(crate) at: Instant,
}

/// The first side of a client, or a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) sent: Instant,
    pub(crate) seen: Seen,
}

/// The side that serves a client, in the order of sending. Answers overtake one another, so an
/// answer counts only once no request sent earlier is under way; there are at most
/// [`CONNECTIONS_MAX`] of those.
#[derive(Debug, Default)]
struct Sides {
    last: Option<Served>,
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    request: u64,
    sent: Instant,
    ended: bool,
    seen: Option<Seen>,
}

impl Sides {
    fn sent(&mut self, request: u64, at: Instant) {
        match self.pending.iter_mut().find(|p| p.request == request) {
            Some(pending) => pending.sent = at,
            None => self.pending.push(Pending { request, sent: at, ended: false, seen: None }),
        }
    }

    fn ended(&mut self, request: u64, seen: Option<Seen>, mut changed: impl FnMut(Change)) {
        if let Some(pending) = self.pending.iter_mut().find(|p| p.request == request) {
            (pending.ended, pending.seen) = (true, seen);
        }
        while let Some(first) = self.first()
            && self.pending[first].ended
        {
            self.commit(first, &mut changed);
        }
    }

    fn flush(&mut self, mut changed: impl FnMut(Change)) {
        while let Some(first) = self.first() {
            self.commit(first, &mut changed);
        }
    }

    fn first(&self) -> Option<usize> {
        let keys = self.pending.iter().enumerate().map(|(i, p)| ((p.sent, p.request), i));
        keys.min().map(|(_, i)| i)
    }

    fn commit(&mut self, index: usize, changed: &mut impl FnMut(Change)) {
        let pending = self.pending.swap_remove(index);
        if let Some(seen) = pending.seen
            && self.last != Some(seen.by)
        {
            self.last = Some(seen.by);
            changed(Change { sent: pending.sent, seen });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(by: Served, at: Instant) -> Option<Seen> {
        Some(Seen { by, via: Via::Dns, generation: None, at })
    }

    #[test]
    fn sides_are_in_the_order_of_sending() {
        let start = spillway_part::clock::instant();
        let ms = |n| start + Duration::from_millis(n);
        let mut sides = Sides::default();
        let mut log = Vec::new();
        let mut end = |sides: &mut Sides, request, seen| {
            sides.ended(request, seen, |c| log.push((c.sent, c.seen.by)));
            log.len()
        };
        sides.sent(1, ms(0));
        sides.sent(2, ms(1));
        sides.sent(3, ms(2));
        // The cloud answers the second request before the site answers the first.
        assert_eq!(end(&mut sides, 2, seen(Served::Cloud, ms(5))), 0, "waits for the first");
        assert_eq!(end(&mut sides, 1, seen(Served::Site(0), ms(9))), 2);
        assert_eq!(end(&mut sides, 3, seen(Served::Cloud, ms(9))), 2, "no change");
        // A request that fails holds up the later one, and then says nothing.
        sides.sent(4, ms(10));
        sides.sent(5, ms(11));
        assert_eq!(end(&mut sides, 5, seen(Served::Site(0), ms(12))), 2);
        assert_eq!(end(&mut sides, 4, None), 3);
        // A 307 sends a request again: it counts from then on.
        sides.sent(6, ms(20));
        sides.sent(7, ms(21));
        sides.sent(6, ms(25));
        assert_eq!(end(&mut sides, 7, seen(Served::Cloud, ms(26))), 4);
        assert_eq!(end(&mut sides, 6, seen(Served::Cloud, ms(27))), 4);
        let order =
            [(0, Served::Site(0)), (1, Served::Cloud), (11, Served::Site(0)), (21, Served::Cloud)];
        assert_eq!(log, order.map(|(at, by)| (ms(at), by)));
    }

    #[test]
    fn what_is_held_back_is_reported_at_the_end() {
        let now = spillway_part::clock::instant();
        let client = Client::new(population::SOURCES, 3);
        client.sent(1, now);
        client.sent(2, now);
        let mut log = Vec::new();
        client.ended(2, seen(Served::Cloud, now), |c| log.push(c));
        assert!(log.is_empty());
        client.flush(|c| log.push(c));
        assert_eq!(log.len(), 1);
    }

    #[test]
    fn names_are_remembered_for_their_ttl() {
        let now = spillway_part::clock::instant();
        let secs = |n| now + Duration::from_secs(n);
        let client = Client::new(population::SOURCES, 0);
        let host: Arc<str> = "a.test".into();
        let ip: IpAddr = [127, 0, 0, 9].into();
        client.learn(&host, Some((ip, 5)), now);
        assert_eq!(client.known("a.test", secs(4)), Some(Some(ip)));
        assert_eq!(client.known("a.test", secs(5)), None);
        client.learn(&host, None, now);
        assert_eq!(client.known("a.test", now), Some(None));
        assert_eq!(client.known("a.test", secs(1)), None);
        client.learn(&host, Some((ip, 0)), now);
        assert_eq!(client.known("a.test", now), None, "TTL 0 serves one transaction");
    }

    #[test]
    fn affinity_ends_with_its_age() {
        let now = spillway_part::clock::instant();
        let target = |host: &str| Target { host: host.into(), port: 80 };
        let (service, cloud) = (target("service"), target("cloud"));
        let client = Client::new(population::SOURCES, 0);
        assert_eq!(client.target(&service, now), (service.clone(), Via::Dns));
        client.stay(&cloud, now + Duration::from_secs(3));
        assert_eq!(client.target(&service, now), (cloud, Via::Redirect));
        let later = now + Duration::from_secs(3);
        assert_eq!(client.target(&service, later), (service, Via::Dns));
    }
}
