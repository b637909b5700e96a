//! Servers on EC2: they boot, serve, and are billed from their launch on.

use crate::chance::Chance;
use crate::setting::Setting;

/// The stream that boot times are drawn from: the nth launch of every policy takes equally long.
const STREAM: u64 = 1;

/// The servers of one run.
#[derive(Debug)]
pub(crate) struct Servers {
    boot_secs: (u64, u64),
    secs_min: u64,
    max: u32,
    chance: Chance,
    /// When each of those that boot was launched and will serve, oldest first.
    booting: Vec<(u64, u64)>,
    /// When each of those that serve was launched, in the order in which they began to serve.
    serving: Vec<u64>,
    /// Seconds that have been billed.
    billed: u64,
}

impl Servers {
    pub(crate) fn new(setting: &Setting, seed: u64) -> Self {
        Self {
            boot_secs: setting.boot_secs,
            secs_min: setting.ec2_secs_min,
            max: setting.ec2_max,
            chance: Chance::new(seed, STREAM),
            booting: Vec::new(),
            serving: Vec::new(),
            billed: 0,
        }
    }

    /// Second `at` begins, with `wanted` servers from now on. Who still boots goes first, the last
    /// launched before the others.
    pub(crate) fn step(&mut self, at: u64, wanted: u32) {
        if !self.booting.is_empty() {
            let serving = &mut self.serving;
            self.booting.retain(|(launched, serves)| {
                let boots = *serves > at;
                if !boots {
                    serving.push(*launched);
                }
                boots
            });
        }
        let wanted = wanted.min(self.max) as usize;
        while self.booting.len() + self.serving.len() < wanted {
            let boot = self.chance.between(self.boot_secs.0, self.boot_secs.1);
            self.booting.push((at, at + boot));
        }
        while self.booting.len() + self.serving.len() > wanted {
            let ended = self.booting.pop().map(|(launched, _)| launched);
            let Some(launched) = ended.or_else(|| self.serving.pop()) else { break };
            self.billed += self.secs_min.saturating_sub(at - launched);
        }
        self.billed += (self.booting.len() + self.serving.len()) as u64;
    }

    /// Those that serve.
    pub(crate) fn ready(&self) -> u32 {
        u32::try_from(self.serving.len()).unwrap_or(u32::MAX)
    }

    /// Those that serve or boot.
    pub(crate) fn launched(&self) -> u32 {
        self.ready().saturating_add(u32::try_from(self.booting.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn billed_secs(&self) -> u64 {
        self.billed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_boot_and_are_billed_for_a_minute_at_least() {
        let setting = Setting { boot_secs: (30, 30), ..Setting::default() };
        let mut servers = Servers::new(&setting, 1);
        for at in 0..30 {
            servers.step(at, 2);
            assert_eq!((servers.ready(), servers.launched()), (0, 2), "{at}");
        }
        servers.step(30, 2);
        assert_eq!((servers.ready(), servers.billed_secs()), (2, 62));
        servers.step(31, 1);
        // The second one was billed for 31 s and costs 29 more.
        assert_eq!((servers.ready(), servers.billed_secs()), (1, 62 + 29 + 1));
        servers.step(32, 200);
        assert_eq!(servers.launched(), setting.ec2_max);
    }

    #[test]
    fn boot_times_are_within_their_bounds() {
        let setting = Setting::default();
        let mut servers = Servers::new(&setting, 3);
        servers.step(0, 80);
        servers.step(24, 80);
        assert_eq!(servers.ready(), 0);
        servers.step(57, 80);
        assert!((25..55).contains(&servers.ready()), "{}", servers.ready());
        servers.step(90, 80);
        assert_eq!(servers.ready(), 80);
    }
}
