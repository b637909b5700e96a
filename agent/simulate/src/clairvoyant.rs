//! The least that anyone could do who knows the trace: an exact dynamic programme.
//!
//! In each second there are some servers on EC2 (they were launched in time, and are billed for their boot),
//! home is filled to its limit first, then EC2, and functions take the rest for their price. Seconds over
//! the limit are fewest, and among all ways to have so few, the cost is least. The value of having n servers
//! before a second is
//!
//! ```text
//! V(n) = min over m of  boot × max(0, m − n) + cost of the second with m + V of the next second (m)
//! ```
//!
//! and the minimum over m is the smaller of one over all m ≤ n and one over all m > n, so that a second takes
//! time proportional to the number of servers there may be. Values are kept at the beginning of each
//! block of seconds, and those within a block are found again when its turn comes: memory does not grow with
//! the square of anything. Less is not possible for any policy of this world but by luck with boot times.

use crate::chance::whole;
use crate::demand::Demand;
use crate::setting::Setting;

/// What a second costs.
#[derive(Debug, Clone)]
pub(crate) struct Prices {
    /// By the number of servers: requests per second that fit without functions, and dollars for a second.
    room: Vec<u64>,
    servers_usd: Vec<f64>,
    /// Requests per second that functions serve.
    functions: u64,
    /// Dollars of a server's launch, and of a request that functions serve.
    boot_usd: f64,
    request_usd: f64,
    /// Dollars of a second over the limit: more than avoiding it can cost.
    over_usd: f64,
}

/// What a server is.
#[derive(Debug, Clone, Copy)]
struct Server {
    qps: f64,
    usd: f64,
    boot_usd: f64,
}

impl Prices {
    /// Of a world in which at most `most` requests arrive in a second.
    fn of(setting: &Setting, most: u64) -> Self {
        let home = whole(setting.capacity().floor());
        let useful = (most.saturating_sub(home) as f64 / setting.server_qps).ceil();
        let usd = setting.ec2_usd_per_sec();
        let boot_secs = setting.boot_mean_secs().max(setting.ec2_secs_min as f64 - 1.0);
        let server = Server { qps: setting.server_qps, usd, boot_usd: boot_secs * usd };
        let servers = whole(useful.min(f64::from(setting.ec2_max)));
        let functions = whole(setting.functions.most().floor());
        Self::new(home, server, servers, functions, setting.functions.usd_per_request)
    }

    fn new(home: u64, server: Server, servers: u64, functions: u64, request_usd: f64) -> Self {
        let counts = || (0..=servers).map(|servers| servers as f64);
        let dearest =
            servers as f64 * (server.usd + server.boot_usd) + functions as f64 * request_usd;
        Self {
            room: counts().map(|n| home + whole((n * server.qps).floor())).collect(),
            servers_usd: counts().map(|n| n * server.usd).collect(),
            functions,
            boot_usd: server.boot_usd,
            request_usd,
            // Once to launch them for this second, and once for whatever follows from that.
            over_usd: 1.0 + 2.0 * dearest,
        }
    }

    /// Of a second with `arrivals` requests, by the number of servers.
    fn seconds(
        &self,
        arrivals: u64,
    ) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator + '_ {
        self.room.iter().zip(&self.servers_usd).map(move |(room, usd)| {
            let rest = arrivals.saturating_sub(*room);
            let over = if rest > self.functions { self.over_usd } else { 0.0 };
            usd + rest.min(self.functions) as f64 * self.request_usd + over
        })
    }
}

/// From the values after a second of `arrivals` to those before it, less the least of them.
///
/// From n servers it is free to have fewer, and each more costs its boot. So it is enough to go from the
/// most down, taking one more where that is cheaper, and then up, taking one fewer.
fn step_back(prices: &Prices, arrivals: u64, values: &mut [f64]) {
    let mut more = f64::INFINITY;
    for (value, second) in values.iter_mut().zip(prices.seconds(arrivals)).rev() {
        *value = (*value + second).min(more);
        more = *value + prices.boot_usd;
    }
    let mut fewer = f64::INFINITY;
    for value in values.iter_mut() {
        *value = value.min(fewer);
        fewer = *value;
    }
    // The last is the least now. Without it sums would grow until small prices are lost in them.
    for value in values {
        *value -= fewer;
    }
}

/// The servers of a second of `arrivals`, from those before it and the values after it.
fn choose(prices: &Prices, arrivals: u64, before: usize, after: &[f64]) -> usize {
    let mut best = (0, f64::INFINITY);
    for (servers, (second, after)) in prices.seconds(arrivals).zip(after).enumerate() {
        let boots = servers.saturating_sub(before) as f64 * prices.boot_usd;
        let cost = boots + second + after;
        if cost < best.1 {
            best = (servers, cost);
        }
    }
    best.0
}

/// The best course through one demand, second by second.
#[derive(Debug)]
pub(crate) struct Clairvoyant<'a> {
    demand: &'a Demand,
    prices: Prices,
    /// The values after each block.
    after: Vec<Vec<f64>>,
    /// Arrivals of the present block, latest first, and the values after each.
    coming: Vec<(u64, Vec<f64>)>,
    block: u64,
    /// Before the first second as many as one likes, for which nothing is paid.
    servers: usize,
}

impl<'a> Clairvoyant<'a> {
    pub(crate) fn new(demand: &'a Demand, setting: &Setting) -> Self {
        let most = demand.seconds().map(|second| second.arrivals).max().unwrap_or(0);
        Self::with(demand, Prices::of(setting, most))
    }

    fn with(demand: &'a Demand, prices: Prices) -> Self {
        let mut values = vec![0.0; prices.room.len()];
        let mut after = Vec::new();
        let mut arrivals = Vec::new();
        for block in (0..demand.blocks()).rev() {
            after.push(values.clone());
            arrivals.clear();
            arrivals.extend(demand.block(block).map(|second| second.arrivals));
            for arrivals in arrivals.iter().rev() {
                step_back(&prices, *arrivals, &mut values);
            }
        }
        Self { demand, prices, after, coming: Vec::new(), block: 0, servers: usize::MAX }
    }

    /// The servers of the next second.
    pub(crate) fn advance(&mut self) -> u32 {
        if self.coming.is_empty() {
            self.enter();
        }
        if let Some((arrivals, after)) = self.coming.pop() {
            self.servers = choose(&self.prices, arrivals, self.servers, &after);
        }
        u32::try_from(self.servers).unwrap_or(u32::MAX)
    }

    /// Finds the values within the next block again.
    fn enter(&mut self) {
        // They were kept from the last block on.
        let Some(mut values) = self.after.pop() else { return };
        let seconds: Vec<_> = self.demand.block(self.block).collect();
        for second in seconds.iter().rev() {
            self.coming.push((second.arrivals, values.clone()));
            step_back(&self.prices, second.arrivals, &mut values);
        }
        self.block += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::Trace;

    /// Of three servers.
    fn prices() -> Prices {
        Prices::new(10, Server { qps: 3.5, usd: 1.0, boot_usd: 2.5 }, 3, 6, 0.7)
    }

    /// What a course costs.
    fn cost(prices: &Prices, arrivals: &[u64], course: &[usize]) -> f64 {
        let before = course.first().into_iter().chain(course);
        let boots = before.zip(course).map(|(then, now)| now.saturating_sub(*then) as f64);
        let second = |(arrivals, servers): (&u64, &usize)| prices.seconds(*arrivals).nth(*servers);
        let seconds = arrivals.iter().zip(course).map(|pair| second(pair).unwrap());
        seconds.sum::<f64>() + boots.sum::<f64>() * prices.boot_usd
    }

    /// The least over all courses, tried one by one.
    fn brute_force(prices: &Prices, arrivals: &[u64]) -> f64 {
        let counts = prices.room.len();
        let courses = counts.pow(u32::try_from(arrivals.len()).unwrap());
        let least = (0..courses).map(|mut course| {
            let course: Vec<usize> = arrivals
                .iter()
                .map(|_| {
                    let count = course % counts;
                    course /= counts;
                    count
                })
                .collect();
            cost(prices, arrivals, &course)
        });
        least.fold(f64::INFINITY, f64::min)
    }

    fn course(prices: &Prices, arrivals: &[u64]) -> Vec<usize> {
        let mut values = vec![0.0; prices.room.len()];
        let mut after = Vec::new();
        for arrivals in arrivals.iter().rev() {
            after.push(values.clone());
            step_back(prices, *arrivals, &mut values);
        }
        let mut servers = usize::MAX;
        let after = after.iter().rev();
        arrivals
            .iter()
            .zip(after)
            .map(|(arrivals, after)| {
                servers = choose(prices, *arrivals, servers, after);
                servers
            })
            .collect()
    }

    proptest! {
        #[test]
        fn nothing_is_cheaper(arrivals in prop::collection::vec(0_u64..34, 1..7)) {
            let prices = prices();
            let course = course(&prices, &arrivals);
            let (found, least) = (cost(&prices, &arrivals, &course), brute_force(&prices, &arrivals));
            prop_assert!((found - least).abs() < 1e-9, "{found} with {course:?}, {least} is possible");
        }
    }

    #[test]
    fn what_lasts_is_for_servers_and_what_does_not_for_functions() {
        let prices = prices();
        assert_eq!(course(&prices, &[10, 10, 10, 13, 10, 10]), [0; 6]);
        let lasts = course(&prices, &[10, 10, 10, 10, 13, 13, 13, 13, 10]);
        assert_eq!(lasts, [0, 0, 0, 0, 1, 1, 1, 1, 0]);
        assert_eq!(course(&prices, &[10, 13, 10]), [1, 1, 0], "who was there before is free");
        // 26 fit with three servers and functions; nothing helps 27.
        assert!(cost(&prices, &[26], &course(&prices, &[26])) < prices.over_usd);
        assert!(cost(&prices, &[27], &course(&prices, &[27])) > prices.over_usd);
    }

    #[test]
    fn blocks_make_no_difference() {
        let trace = Trace { values: vec![100.0, 900.0, 300.0, 950.0, 100.0], notes: Vec::new() };
        let demand = Demand::new(&trace, 2000, 30.0, 1);
        let prices = prices();
        let arrivals: Vec<u64> = demand.seconds().map(|second| second.arrivals).collect();
        let whole = course(&prices, &arrivals);
        let mut clairvoyant = Clairvoyant::with(&demand, prices);
        let by_blocks: Vec<usize> =
            arrivals.iter().map(|_| clairvoyant.advance() as usize).collect();
        assert_eq!(by_blocks, whole);
    }
}
