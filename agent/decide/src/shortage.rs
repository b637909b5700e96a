//! Whether spilling suffices; where it does not, which knobs free what is missing, and where it does,
//! which one could be spared.

use spillway_model::plan::Tier;
use spillway_model::{KnobId, UnixMillis};

use crate::demand::SHED_WEIGHT;
use crate::expected::Expected;
use crate::knobs::{Choice, Effect, Line, Part, least};
use crate::orders::Orders;
use crate::policy::{KnobPolicy, Policy};
use crate::reason;
use crate::release::{SHED_BYTES, Trust};
use crate::state::State;
use crate::tier::KnobSet;
use crate::view::View;

/// Room to be left by what is chosen, and to be there before less will do: noise must not turn knobs.
const MARGIN: f64 = 1.1;
/// What falls short by a tenth is clearly too little: noise must not carry the tier further than is needed.
const CLEARLY: f64 = 0.9;
/// Harm of a knob beside that to the requests that it is seen on, of which a thousand are all.
const HARM_LEAST: f64 = 1.0;
const HARM_MOST: f64 = 1000.0;

/// What the sites say together about the knobs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Spilling falls short with those that are on.
    Short(More),
    /// They are needed.
    Right,
    /// Every site would do without this one.
    Spare(KnobId),
    /// Some site is blind, or has no service: nothing is turned off.
    Held,
}

/// What to turn on next; no knobs when there are no others.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct More {
    pub(crate) knobs: Vec<KnobId>,
    /// The harshest tier that they are of.
    pub(crate) tier: Tier,
    /// Whether even all of that tier are clearly too little.
    pub(crate) clearly: bool,
    /// How many of that tier are not needed.
    pub(crate) left_out: usize,
    /// What is missing, one clause each.
    pub(crate) missing: Vec<String>,
}

/// One tick, as the choice of knobs sees it.
struct Scene<'a> {
    policy: &'a Policy,
    state: &'a State,
    views: &'a [View<'a>],
    orders: &'a Orders,
    at: UnixMillis,
}

/// What the sites together say about the knobs: whether, with all that the cloud takes spilled, home
/// stays below its caps, less a quarter of the room that the targets leave. What is counts, not the upper
/// bound of what may come: it has to last for seconds, and users see what it leads to. Where no service
/// is healthy and the cloud does not take everything, the knobs stay as they are: no degradation makes a
/// service answer, and users would have it for a while after one does.
pub(crate) fn verdict(
    policy: &Policy,
    state: &State,
    views: &[View<'_>],
    orders: &Orders,
    at: UnixMillis,
) -> Verdict {
    let scene = Scene { policy, state, views, orders, at };
    let short = |view: &View<'_>| {
        serves(view) && (scene.panics(view) || !scene.carries(view, &view.present, 1.0))
    };
    let now = scene.with(state.tier.set(policy, orders, at));
    if views.iter().any(short) {
        return Verdict::Short(scene.more(&now));
    }
    if !views.iter().all(|view| serves(view) && view.sense.whole()) {
        return Verdict::Held;
    }
    scene.spare(&now.set).map_or(Verdict::Right, |knob| Verdict::Spare(knob.id.clone()))
}

/// A set of knobs, and bytes of the answers with them by route.
struct Degraded {
    set: KnobSet,
    bytes: Vec<f64>,
}

impl Scene<'_> {
    fn with(&self, set: KnobSet) -> Degraded {
        Degraded { bytes: self.state.learned.bytes(self.policy, &set, Trust::Likely), set }
    }

    fn panics(&self, view: &View<'_>) -> bool {
        // The line says what the forecast does not: it is full, with all spilled that can be.
        let site = self.state.sites.get(&view.site.id);
        site.is_some_and(|site| site.share.overfull())
            && !view.pressure.settling
            && view.reach() < 1.0
            && view.share + 1.0 / 64.0 >= view.reach()
    }

    /// The most bits per second and weighted requests per second that home may be asked for.
    fn limits(&self, view: &View<'_>, expected: &Expected) -> (f64, f64) {
        let below = |cap: f64, line: f64| (3.0 * cap + line) / 4.0;
        let site = view.site;
        let line = expected.line(site.cap, self.policy.uplink_target, view.reach());
        let target = site.weighted_qps * self.policy.compute_target;
        (below(site.cap, line), below(site.weighted_qps, target))
    }

    /// The present of a site, were these knobs on; nothing where there is none.
    fn expected(&self, view: &View<'_>, with: &Degraded) -> Expected {
        let site = self.state.sites.get(&view.site.id);
        let Degraded { set, bytes } = with;
        site.map_or_else(Expected::default, |site| {
            let loads = site.demand.loads(self.policy, &self.state.learned, set, bytes);
            site.demand.present(&loads)
        })
    }

    fn fits(&self, view: &View<'_>, with: &Degraded, margin: f64) -> bool {
        self.carries(view, &self.expected(view, with), margin)
    }

    fn carries(&self, view: &View<'_>, expected: &Expected, margin: f64) -> bool {
        let (bits, weight) = self.limits(view, expected);
        expected.home_bits(view.reach()) * margin <= bits
            && expected.home_weight(view.reach()) * margin <= weight
    }

    /// The first knob, of the harshest tier and there of the most harmful, that home would do without.
    fn spare(&self, now: &KnobSet) -> Option<&KnobPolicy> {
        let on = |knob: &&KnobPolicy| self.state.tier.on.contains(&knob.id);
        let tier = self.policy.knobs.iter().filter(on).map(|knob| knob.tier).max()?;
        let of_tier = self.policy.knobs.iter().filter(on).filter(|knob| knob.tier == tier);
        let mut of_tier: Vec<&KnobPolicy> = of_tier.collect();
        // Of equally harmful ones the last.
        of_tier.sort_by_key(|knob| self.harm(knob));
        of_tier.into_iter().rev().find(|spared| {
            let rest = |knob: &KnobPolicy| on(&knob) && knob.id != spared.id;
            let set = KnobSet::of(self.policy, rest, self.orders, self.at);
            let bytes = self.state.learned.bytes_without(self.policy, now, spared, &set);
            let rest = Degraded { set, bytes };
            self.views.iter().all(|view| self.fits(view, &rest, MARGIN))
        })
    }

    /// What to turn on next, where those of `now` are too little: of the mildest tier that has any left,
    /// the least harmful that free what is missing, or all of them.
    fn more(&self, now: &Degraded) -> More {
        let off = |knob: &&KnobPolicy| {
            !self.state.tier.on.contains(&knob.id) && self.orders.knob(&knob.id, self.at).is_none()
        };
        let lines = self.lines(now);
        let missing = lines.iter().map(|line| line.what.clone()).collect();
        let Some(tier) = self.policy.knobs.iter().filter(off).map(|knob| knob.tier).min() else {
            return More { missing, ..More::default() };
        };
        let of_tier: Vec<&KnobPolicy> =
            self.policy.knobs.iter().filter(off).filter(|knob| knob.tier == tier).collect();
        let all = |knob: &KnobPolicy| {
            self.state.tier.on.contains(&knob.id) || of_tier.iter().any(|of| of.id == knob.id)
        };
        let all = self.with(KnobSet::of(self.policy, all, self.orders, self.at));
        let mut serving = self.views.iter().filter(|view| serves(view));
        let clearly = serving.any(|view| !self.fits(view, &all, CLEARLY));
        let chosen = if clearly { None } else { self.least(&of_tier, &lines) };
        let on = chosen.unwrap_or_else(|| of_tier.clone());
        More {
            knobs: on.iter().map(|knob| knob.id.clone()).collect(),
            tier,
            clearly,
            left_out: of_tier.len() - on.len(),
            missing,
        }
    }

    /// The least harmful of `knobs` that free what is missing.
    fn least<'k>(
        &self,
        knobs: &[&'k KnobPolicy],
        lines: &[Missing],
    ) -> Option<Vec<&'k KnobPolicy>> {
        let routes = self.policy.routes.len();
        let choice = |knob: &&KnobPolicy| {
            let left = self.state.learned.releases.left([*knob].into_iter(), routes, Trust::Least);
            let sheds = |place: &usize| knob.sheds.contains(place);
            let bits =
                left.into_iter().enumerate().filter(|(place, left)| *left < 1.0 && !sheds(place));
            let bits = bits.map(|(place, left)| (place, Effect::Keeps(left)));
            let shed = knob.sheds.iter().flat_map(|place| [*place, routes + place]);
            let shed = shed.map(|place| (place, Effect::Sheds));
            Choice { harm: self.harm(knob), effects: bits.chain(shed).collect() }
        };
        let choices: Vec<Choice> = knobs.iter().map(choice).collect();
        let lines: Vec<Line> = lines.iter().map(|line| line.line.clone()).collect();
        let on = least(&choices, &lines)?;
        Some(knobs.iter().zip(on).filter(|(_, on)| *on).map(|(knob, _)| *knob).collect())
    }

    /// How much users notice of a knob, against others of its tier.
    fn harm(&self, knob: &KnobPolicy) -> u32 {
        let mut mix = vec![0.0; self.policy.routes.len()];
        for site in self.state.sites.values() {
            for (sum, rate) in mix.iter_mut().zip(site.demand.mix()) {
                *sum += rate;
            }
        }
        let part = self.state.learned.releases.seen_part(knob, &mix).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between the two bounds"
        )]
        let harm = (HARM_LEAST + HARM_MOST * part).floor() as u32;
        harm
    }

    /// The loads that have to fall, by parts: the bits of each route, then its weighted requests.
    fn lines(&self, now: &Degraded) -> Vec<Missing> {
        let Self { policy, state, .. } = *self;
        let mut lines = Vec::new();
        for view in self.views.iter().filter(|view| serves(view)) {
            let Some(site) = state.sites.get(&view.site.id) else { continue };
            let expected = &view.present;
            let (bits_max, weight_max) = self.limits(view, expected);
            let staying = site.demand.staying(policy, &state.learned, view.reach());
            // A line that is full carries its cap, whatever is known of the answers.
            let bits = expected.home_bits(view.reach());
            let more = if self.panics(view) && bits > 0.0 { view.site.cap / bits } else { 1.0 };
            let more = more.max(1.0);
            let bits = staying.iter().zip(&now.bytes).map(|(staying, bytes)| {
                let per_byte = more * staying.bits_per_byte;
                Part { served: per_byte * bytes, shed: per_byte * SHED_BYTES }
            });
            let bits: Vec<Part> = bits.collect();
            let weight = staying.iter().enumerate().map(|(place, staying)| {
                let shed = staying.requests * SHED_WEIGHT;
                let served = staying.requests * staying.weight;
                Part { served: if now.set.sheds(place) { shed } else { served }, shed }
            });
            let none = vec![Part::default(); policy.routes.len()];
            let id = &view.site.id;
            let name = |over| format!("{} of the uplink of {id}", reason::bits(over));
            lines.extend(Missing::of(bits_max, bits, name));
            let name = |over| format!("{over:.0} weighted requests/s at {id}");
            lines.extend(Missing::of(weight_max, none.into_iter().chain(weight).collect(), name));
        }
        lines
    }
}

/// A load over what home may be asked for.
struct Missing {
    line: Line,
    /// How much of what.
    what: String,
}

impl Missing {
    fn of(limit: f64, parts: Vec<Part>, what: impl Fn(f64) -> String) -> Option<Self> {
        let load: f64 = parts.iter().map(|part| part.served).sum();
        let line = Line { limit: limit / MARGIN, parts };
        (load > limit).then(|| Self { line, what: what(load - limit) })
    }
}

/// Whether what is seen of a site says anything about the knobs.
fn serves(view: &View<'_>) -> bool {
    view.sense.sees() && !(view.service.down && view.reach() < 1.0)
}
