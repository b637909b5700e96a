//! A place where requests are served: at home, or on servers in the cloud.

use crate::chance::whole;
use crate::setting::Setting;

/// Requests that wait at one place.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: u64,
}

/// What a place can do in a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Requests per second within the limit, and at all.
    pub(crate) limit: f64,
    pub(crate) most: f64,
    /// Requests per second that keep its processors busy all the time.
    pub(crate) processors: f64,
}

/// What became of the requests of a second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passed {
    pub(crate) served: u64,
    pub(crate) failed: u64,
    /// Whether the 95th percentile of latency was above its limit.
    pub(crate) over: bool,
    pub(crate) p95_ms: f64,
}

impl Queue {
    /// A second in which `arrivals` requests come.
    ///
    /// While a place keeps up, the 95th percentile of latency is that of an idle server over its idle
    /// part, for its processors are shared. When it does not, what waits adds its time, and who would
    /// wait for longer than people do fails.
    pub(crate) fn pass(&mut self, setting: &Setting, arrivals: u64, room: Room) -> Passed {
        let offered = self.waiting + arrivals;
        if offered == 0 {
            return Passed { p95_ms: setting.idle_p95_ms, ..Passed::default() };
        }
        let served = offered.min(whole(room.most.floor()));
        let waits_max = whole((setting.patience_secs * room.most).floor());
        let failed = (offered - served).saturating_sub(waits_max);
        self.waiting = offered - served - failed;
        let idle = 1.0 - served as f64 / room.processors.max(1.0);
        let waits_ms = if room.most > 0.0 { self.waiting as f64 / room.most * 1000.0 } else { 0.0 };
        Passed {
            served,
            failed,
            over: offered as f64 > room.limit,
            p95_ms: setting.idle_p95_ms / idle.max(0.01) + waits_ms,
        }
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { limit: 1500.0, most: 1764.7, processors: 1764.7 };

    #[test]
    fn latency_is_at_its_limit_at_the_capacity() {
        let setting = Setting::default();
        let mut queue = Queue::default();
        let idle = queue.pass(&setting, 0, ROOM);
        assert_eq!((idle.p95_ms, idle.over), (60.0, false));
        let full = queue.pass(&setting, 1500, ROOM);
        assert!((full.p95_ms - setting.p95_limit_ms()).abs() < 0.1, "{}", full.p95_ms);
        assert!(!full.over);
        assert!(queue.pass(&setting, 1501, ROOM).over);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn what_does_not_fit_waits_and_then_fails() {
        let setting = Setting::default();
        let mut queue = Queue::default();
        let passed = queue.pass(&setting, 3764, ROOM);
        assert_eq!((passed.served, passed.failed, queue.waiting()), (1764, 0, 2000));
        assert!(passed.over && passed.p95_ms > 1000.0);
        let passed = queue.pass(&setting, 10_000, ROOM);
        assert_eq!((passed.failed, queue.waiting()), (12_000 - 1764 - 8823, 8823));
        let none = Room { limit: 0.0, most: 0.0, processors: 0.0 };
        let passed = queue.pass(&setting, 0, none);
        assert_eq!((passed.served, passed.failed, queue.waiting()), (0, 8823, 0));
    }
}
