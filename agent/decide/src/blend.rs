//! What a second cost, with the chance in which routes happened to be asked for taken out.

/// A cost per second, with the chance in which routes happened to be asked for taken out.
///
/// Few requests of a costly route make a cost noisier than the number of requests. So it is taken
/// as that number at the usual mix of routes, unless what was seen is further from that than two
/// standard deviations of chance (arrivals as Poisson processes), and then as near as those allow.
#[derive(Default)]
pub(crate) struct Blend {
    pub(crate) seen: f64,
    pub(crate) variance: f64,
    pub(crate) requests: f64,
    pub(crate) usual: f64,
    pub(crate) usual_requests: f64,
}

impl Blend {
    /// One route: its requests per second now and usually, and what each costs.
    pub(crate) fn add(&mut self, rate: f64, usual: f64, cost: f64) {
        self.seen += rate * cost;
        self.variance += rate * cost * cost;
        self.requests += rate;
        self.usual += usual * cost;
        self.usual_requests += usual;
    }

    pub(crate) fn rate(&self, secs: f64) -> f64 {
        if self.usual_requests <= 0.0 {
            return self.seen;
        }
        let chance = 2.0 * (self.variance / secs).sqrt();
        let usual = self.requests * self.usual / self.usual_requests;
        // Unlike `clamp`, these take what is no number.
        usual.max(self.seen - chance).min(self.seen + chance)
    }
}
