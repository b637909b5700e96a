//! Moving the share of one site: as its need says, as far as orders, money and the cloud let it.

use spillway_model::UnixMillis;
use spillway_model::api::ShareOrder;
use spillway_model::plan::SpillMode;

use crate::policy::Policy;
use crate::share::{Allowed, ForMoney, Move};
use crate::state::SiteState;
use crate::view::View;

/// What a share is moved by, beside what the site needs.
pub(crate) struct Way {
    /// When the cloud is dead: whether home takes what it carries at once.
    pub(crate) alone: Option<bool>,
    /// Whether what is in force stays, but for an order.
    pub(crate) holds: bool,
    /// Where money allows no more.
    pub(crate) money: Option<ForMoney>,
}

/// Moves the share of one site, and says how what is spilled is to move.
pub(crate) fn move_share(
    policy: &Policy,
    site: &mut SiteState,
    view: &mut View<'_>,
    way: &Way,
    at: UnixMillis,
) {
    let Way { alone, holds, money } = *way;
    let allowed = Allowed { most: view.most, whole: view.sense.whole(), money };
    let before = site.share.clone();
    view.moved = match alone {
        _ if !view.sense.sees() => Move::Kept(view.share),
        // As long as sites that help serve all that is away, nothing is as if the cloud were dead.
        Some(_) if view.offered() > 0.0 && view.share <= view.offered() => {
            site.share.next(policy, &view.need, allowed, view.share, at)
        }
        Some(at_once) => {
            let shares = (view.share, view.offered());
            site.share.next_alone(policy, &view.need, at_once, shares, at)
        }
        None => site.share.next(policy, &view.need, allowed, view.share, at),
    };
    let decided = view.moved.share();
    let held = held(view, alone.is_some(), holds);
    if (held - decided).abs() > 0.0 {
        let decided_state = std::mem::replace(&mut site.share, before);
        let calm = decided_state.calm(policy, at);
        site.share.ordered(policy, decided_state, (view.share, held), at);
        let moves = (held - view.share).abs() > 0.0;
        let obeys = |order: &ShareOrder| order.bound.hold(decided, order.share.get());
        let obeyed = view.order.map(obeys).is_some_and(|obeyed| (obeyed - decided).abs() > 0.0);
        view.moved = match view.moved {
            _ if moves || obeyed => Move::Ordered(held, decided),
            // Step by step, but who is told wants to know how far.
            Move::Lowered(next) => Move::Advised(held, calm.unwrap_or(next).min(next)),
            _ => Move::Advised(held, decided),
        };
    }
    if !view.sense.sees() || holds {
        return;
    }
    let line = view.expected.line(view.site.cap, policy.uplink_target, 0.0);
    let fits = |part: f64| view.expected.bits() <= line * part;
    view.mode = match (view.mode, view.share > 0.0) {
        _ if view.moved.share() <= 0.0 => SpillMode::Redirect,
        // Proxying spares the client a turn, but its answers cross the uplink after all.
        (_, false) if view.need.compute > 0.0 && fits(0.9) => SpillMode::Proxy,
        (SpillMode::Proxy, true) if fits(1.0) => SpillMode::Proxy,
        _ => SpillMode::Redirect,
    };
}

/// Where the share of a site is held, by an order or because what is in force stays; else where it was
/// decided to be. While the cloud is dead nobody is sent there, nor does an order stand against bringing
/// clients home; where nothing else brings them, one may.
fn held(view: &View<'_>, dead: bool, holds: bool) -> f64 {
    let ordered = |share: f64| view.order.map_or(share, |o| o.bound.hold(share, o.share.get()));
    match (holds, dead) {
        (false, true) => view.moved.share(),
        (false, false) => ordered(view.moved.share()),
        (true, false) => ordered(view.share),
        (true, true) => ordered(view.share).min(view.share),
    }
}
