//! The budget of reversals: what comes and goes in a rhythm that dwells do not know is learned to come again.

mod sim;

use sim::aws::config_on_aws;
use sim::{Tick, World, config};

/// How often something falls and rises again.
fn turns<T: PartialOrd>(of: impl Iterator<Item = T>) -> usize {
    let mut course: Vec<T> = of.collect();
    course.dedup();
    course.windows(3).filter(|next| next[0] > next[1] && next[1] < next[2]).count()
}

fn in_turn(every: u64, low: f64, high: f64) -> impl Fn(u64) -> f64 {
    move |second| if (second / every).is_multiple_of(2) { low } else { high }
}

#[test]
fn a_share_that_had_to_rise_again_soon_falls_later() {
    let mut world = World::new(&config(&[]), 1);
    // Twice a minute, for longer than the dwell of ten seconds.
    world.run(1800, 0.03, in_turn(30, 0.4, 3.0));
    let of = |ticks: &[Tick]| turns(ticks.iter().map(|tick| tick.share));
    let (first, last) = (of(&world.ticks[..600]), of(&world.ticks[1200..]));
    assert!((1..=8).contains(&first), "{first}");
    assert!(last <= 1, "one in ten minutes, not ten: {last}");
    let told = world.course();
    assert!(told.contains(", longer than usual since it was lowered too soon before"), "{told}");
    // No raise waited for it.
    assert!(world.over() <= 5 * (first + last + 4), "{} s over\n{told}", world.over());
    // Calm ends it.
    world.run(900, 0.03, |_| 0.4);
    assert_eq!(world.share(), 0.0, "{}", world.course());
    world.replays();
}

#[test]
fn gateways_that_were_launched_again_soon_stay_longer() {
    let mut world = World::new(&config_on_aws(&[]), 2);
    world.run(2400, 0.03, in_turn(100, 0.4, 8.0));
    let of = |ticks: &[Tick]| turns(ticks.iter().map(|tick| tick.fleet.gateways));
    let (first, last) = (of(&world.ticks[..1200]), of(&world.ticks[1200..]));
    assert!(first >= 1, "{first}");
    assert!(last <= 2, "one in ten minutes: {first}, {last}");
    assert_eq!(world.aws.as_ref().map(|aws| aws.lost), Some(0));
    world.run(1000, 0.03, |_| 0.4);
    assert_eq!(world.state.plan().fleet.gateways, 0);
}
