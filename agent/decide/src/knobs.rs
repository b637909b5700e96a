//! The least harmful of some knobs that free what is missing: an exact search.
//!
//! What knobs release overlaps. Loads are therefore kept by part (a route's bits are one, its weighted
//! requests another): what is shed is shed once, a knob that keeps less of it releases nothing there, and
//! knobs that keep fractions of the same part multiply. No knob then releases more beside others than it
//! does alone, which makes this a submodular set cover (Wolsey, 1982): the greedy choice is the first
//! set tried, and letting each knob release what it does alone, in fractions, is the bound of a branch
//! and bound.

/// Most nodes of a search, and most loads looked at: well under a millisecond. Past them the best set
/// that was found is taken.
const NODES_MAX: usize = 1000;
const LOOKS_MAX: usize = 400_000;
/// Sums of rounded numbers are not exact: bounds give way by so much of a unit of harm.
const ROUNDING: f64 = 1e-6;

/// What a knob does to a part of the loads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Effect {
    /// This fraction of it is left.
    Keeps(f64),
    /// What is left is [`Part::shed`].
    Sheds,
}

/// A knob that may be turned on.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// Against the others; more than zero.
    pub(crate) harm: u32,
    /// By the place of the part.
    pub(crate) effects: Vec<(usize, Effect)>,
}

/// A load that has to fall to a limit, both in the same unit.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) limit: f64,
    /// What each part adds to it, by its place; parts at the end that add nothing may be left out.
    pub(crate) parts: Vec<Part>,
}

/// What a part adds to a line while it is served, and what while it is shed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Part {
    pub(crate) served: f64,
    pub(crate) shed: f64,
}

/// Which of `knobs` to turn on so that every line is within its limit. `None` when all of them together
/// do not suffice.
pub(crate) fn least(knobs: &[Choice], lines: &[Line]) -> Option<Vec<bool>> {
    let everything = Left::everything(parts(knobs, lines));
    if !fits(lines, &everything.with_all(knobs)) {
        return None;
    }
    let mut search = Search::new(knobs, lines);
    search.visit(knobs.iter().enumerate().collect(), &everything, 0);
    // A first set is found in as many nodes as there are knobs, at most.
    Some(search.best.map_or_else(|| vec![true; knobs.len()], |(_, on)| on))
}

/// What some knobs leave of each part.
#[derive(Debug, Clone)]
struct Left {
    keeps: Vec<f64>,
    shed: Vec<bool>,
}

impl Left {
    fn everything(parts: usize) -> Self {
        Self { keeps: vec![1.0; parts], shed: vec![false; parts] }
    }

    fn with(mut self, knob: &Choice) -> Self {
        for (place, effect) in &knob.effects {
            match effect {
                Effect::Keeps(part) => self.keeps[*place] *= part.clamp(0.0, 1.0),
                Effect::Sheds => self.shed[*place] = true,
            }
        }
        self
    }

    fn with_all<'a>(&self, knobs: impl IntoIterator<Item = &'a Choice>) -> Self {
        knobs.into_iter().fold(self.clone(), |left, knob| left.with(knob))
    }

    /// What each part adds to a line.
    fn loads(&self, line: &Line) -> impl Iterator<Item = f64> {
        line.parts.iter().zip(&self.keeps).zip(&self.shed).map(|((part, keeps), shed)| {
            let served = part.served * keeps;
            // Shedding an answer that is smaller still than a refusal adds nothing.
            if *shed { served.min(part.shed) } else { served }
        })
    }

    /// What a line is over its limit.
    fn over(&self, line: &Line) -> f64 {
        self.loads(line).sum::<f64>() - line.limit
    }
}

fn fits(lines: &[Line], left: &Left) -> bool {
    lines.iter().all(|line| left.over(line) <= 0.0)
}

struct Search<'a> {
    lines: &'a [Line],
    /// Of the knobs in their order: those that are on so far.
    on: Vec<bool>,
    best: Option<(u64, Vec<bool>)>,
    /// That may still be visited.
    nodes: usize,
}

impl<'a> Search<'a> {
    fn new(knobs: &[Choice], lines: &'a [Line]) -> Self {
        let effects: usize = knobs.iter().map(|knob| knob.effects.len()).sum();
        let looks = (effects + parts(knobs, lines)).saturating_mul(lines.len());
        let nodes = NODES_MAX.min(LOOKS_MAX / looks.max(1));
        Self { lines, on: vec![false; knobs.len()], best: None, nodes }
    }

    /// Decides on `knobs`, given with their places; `left` and `harm` are of those that are on.
    fn visit(&mut self, mut knobs: Vec<(usize, &Choice)>, left: &Left, harm: u64) {
        if self.nodes == 0 {
            return;
        }
        self.nodes -= 1;
        let short = self.lines.iter().filter_map(|line| Short::of(line, left));
        let short: Vec<Short<'_>> = short.collect();
        let enough = self.best.as_ref().map(|(best, _)| *best);
        if short.is_empty() {
            if enough.is_none_or(|best| harm < best) {
                self.best = Some((harm, self.on.clone()));
            }
            return;
        }
        let all = || knobs.iter().map(|(_, knob)| *knob);
        let more = short.iter().map(|line| line.bound(all())).max().unwrap_or(0);
        if enough.is_some_and(|best| harm + more >= best)
            || !fits(self.lines, &left.with_all(all()))
        {
            return;
        }
        // The one that frees most of what is missing for its harm, of several the first.
        let worth = |knob: &Choice| {
            let part = |line: &Short<'_>| (line.gain(knob) / line.over).min(1.0);
            short.iter().map(part).sum::<f64>() / f64::from(knob.harm)
        };
        let worths = all().map(worth).enumerate();
        let best = worths.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((at, _)) = best else { return };
        let (place, knob) = knobs.remove(at);
        self.on[place] = true;
        let with = left.clone().with(knob);
        self.visit(knobs.clone(), &with, harm + u64::from(knob.harm));
        self.on[place] = false;
        self.visit(knobs, left, harm);
    }
}

/// A line that is over its limit.
struct Short<'a> {
    line: &'a Line,
    /// Its parts now, and what they are over together.
    loads: Vec<f64>,
    over: f64,
}

impl<'a> Short<'a> {
    fn of(line: &'a Line, left: &Left) -> Option<Self> {
        let loads: Vec<f64> = left.loads(line).collect();
        let over = loads.iter().sum::<f64>() - line.limit;
        (over > 0.0).then_some(Self { line, loads, over })
    }

    /// The most that a knob can free of it, whatever else is turned on.
    fn gain(&self, knob: &Choice) -> f64 {
        let gain = |(place, effect): &(usize, Effect)| {
            let part = self.line.parts.get(*place).zip(self.loads.get(*place));
            part.map_or(0.0, |(part, load)| match effect {
                Effect::Keeps(left) => load * (1.0 - left.clamp(0.0, 1.0)),
                Effect::Sheds => load - load.min(part.shed),
            })
        };
        knob.effects.iter().map(gain).sum()
    }

    /// The least harm that some of `knobs` do when they free what it is over, were each to release what it
    /// does alone, and were it possible to turn them on in part.
    fn bound<'k>(&self, knobs: impl Iterator<Item = &'k Choice>) -> u64 {
        let price = |knob: &Choice| (f64::from(knob.harm) / self.gain(knob), f64::from(knob.harm));
        let mut prices: Vec<(f64, f64)> = knobs.map(price).filter(|p| p.0.is_finite()).collect();
        prices.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut over, mut harm) = (self.over, 0.0);
        for (price, of) in prices {
            let part = (over * price).min(of);
            harm += part;
            over -= part / price;
            if part < of {
                break;
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sum of some harms, each of 32 bits"
        )]
        let harm = (harm - ROUNDING).ceil().max(0.0) as u64;
        harm
    }
}

/// How many parts the loads have.
fn parts(knobs: &[Choice], lines: &[Line]) -> usize {
    let effects = knobs.iter().flat_map(|knob| knob.effects.iter().map(|(place, _)| place + 1));
    effects.chain(lines.iter().map(|line| line.parts.len())).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
