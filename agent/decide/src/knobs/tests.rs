use proptest::prelude::*;

use super::*;

fn keeps(harm: u32, effects: &[(usize, f64)]) -> Choice {
    let effects = effects.iter().map(|(place, part)| (*place, Effect::Keeps(*part))).collect();
    Choice { harm, effects }
}

fn sheds(harm: u32, places: &[usize]) -> Choice {
    let effects = places.iter().map(|place| (*place, Effect::Sheds)).collect();
    Choice { harm, effects }
}

/// A load of these parts; of a shed one a tenth is left.
fn line(limit: f64, parts: &[f64]) -> Line {
    let part = |served: &f64| Part { served: *served, shed: served / 10.0 };
    Line { limit, parts: parts.iter().map(part).collect() }
}

fn chosen(knobs: &[Choice], lines: &[Line]) -> Option<Vec<usize>> {
    let on = least(knobs, lines)?;
    Some((0..knobs.len()).filter(|place| on[*place]).collect())
}

#[test]
fn the_least_harmful_are_taken_and_no_more_than_is_needed() {
    let knobs = [keeps(60, &[(0, 0.4)]), keeps(20, &[(0, 0.8)]), keeps(30, &[(0, 0.7)])];
    let with = |limit| chosen(&knobs, &[line(limit, &[100.0])]);
    assert_eq!(with(100.0), Some(vec![]));
    assert_eq!(with(80.0), Some(vec![1]));
    assert_eq!(with(75.0), Some(vec![2]));
    assert_eq!(with(56.1), Some(vec![1, 2]));
    assert_eq!(with(40.0), Some(vec![0]));
    assert_eq!(with(22.5), Some(vec![0, 1, 2]));
    assert_eq!(with(22.0), None);
}

#[test]
fn what_is_shed_twice_counts_once_and_a_knob_releases_nothing_of_it() {
    let knobs = [sheds(10, &[0]), sheds(10, &[0, 1]), keeps(1, &[(0, 0.2)])];
    let lines = [line(31.0, &[100.0, 100.0, 1.0])];
    assert_eq!(chosen(&knobs, &lines), Some(vec![1]));
    // The two that shed route 0 do not free it twice, nor does keeping less of it free the rest.
    assert_eq!(chosen(&knobs, &[line(20.9, &[100.0, 100.0, 1.0])]), None);
    assert_eq!(chosen(&[knobs[0].clone(), knobs[2].clone()], &[line(9.9, &[100.0])]), None);
}

#[test]
fn every_line_counts() {
    // Bits are part 0, weighted requests part 1.
    let knobs = [keeps(5, &[(0, 0.5)]), sheds(9, &[0, 1]), keeps(5, &[(1, 0.5)])];
    let bits = |limit| line(limit, &[8e6]);
    let weight = |limit| line(limit, &[0.0, 900.0]);
    assert_eq!(chosen(&knobs, &[bits(5e6), weight(900.0)]), Some(vec![0]));
    assert_eq!(chosen(&knobs, &[bits(8e6), weight(500.0)]), Some(vec![2]));
    assert_eq!(chosen(&knobs, &[bits(5e6), weight(500.0)]), Some(vec![1]));
}

#[test]
fn of_equally_harmful_sets_the_earlier_knobs_are_taken() {
    let knobs = vec![keeps(7, &[(0, 0.5)]); 5];
    assert_eq!(chosen(&knobs, &[line(25.0, &[100.0])]), Some(vec![0, 1]));
}

#[test]
fn nothing_to_choose_from_frees_nothing() {
    assert_eq!(least(&[], &[line(1.0, &[2.0])]), None);
    assert_eq!(least(&[], &[line(3.0, &[2.0])]), Some(vec![]));
    assert_eq!(least(&[], &[]), Some(vec![]));
}

/// Powers of two and small whole numbers, so that no sum or product is rounded.
fn choice() -> impl Strategy<Value = Choice> {
    let effect = prop_oneof![
        Just(Effect::Sheds),
        (0..3_i32).prop_map(|halves| Effect::Keeps(0.5_f64.powi(halves))),
    ];
    let effects = prop::collection::btree_map(0_usize..6, effect, 0..5);
    (1_u32..30, effects)
        .prop_map(|(harm, effects)| Choice { harm, effects: effects.into_iter().collect() })
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let part = (0_u32..64, 0_u32..8)
        .prop_map(|(served, shed)| Part { served: served.into(), shed: shed.into() });
    let line = (prop::collection::vec(part, 1..6), 0.0..1.2_f64).prop_map(|(parts, part)| {
        let all: f64 = parts.iter().map(|part| part.served).sum();
        Line { limit: (all * part).floor(), parts }
    });
    prop::collection::vec(line, 1..4)
}

fn harm(knobs: &[Choice], on: impl Fn(usize) -> bool) -> u64 {
    let on = knobs.iter().enumerate().filter(|(place, _)| on(*place));
    on.map(|(_, knob)| u64::from(knob.harm)).sum()
}

/// By trying every set.
fn brute_force(knobs: &[Choice], lines: &[Line]) -> Option<u64> {
    let sets = (0..1_usize << knobs.len()).filter(|set| {
        let on = knobs.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1);
        fits(lines, &Left::everything(6).with_all(on.map(|(_, knob)| knob)))
    });
    sets.map(|set| harm(knobs, |place| set >> place & 1 == 1)).min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_set_is_milder(knobs in prop::collection::vec(choice(), 0..11), lines in lines()) {
        let found = least(&knobs, &lines);
        prop_assert_eq!(found.as_ref().map(|on| harm(&knobs, |place| on[place])), brute_force(&knobs, &lines));
        if let Some(on) = found {
            let on = knobs.iter().zip(on).filter(|(_, on)| *on).map(|(knob, _)| knob);
            prop_assert!(fits(&lines, &Left::everything(6).with_all(on)));
        }
    }

    #[test]
    fn more_missing_never_does_less_harm(
        knobs in prop::collection::vec(choice(), 0..11), lines in lines(), less in 0.0..1.0_f64
    ) {
        let worse: Vec<Line> = lines
            .iter()
            .map(|line| Line { limit: (line.limit * less).floor(), ..line.clone() })
            .collect();
        let of = |lines: &[Line]| least(&knobs, lines).map(|on| harm(&knobs, |place| on[place]));
        match (of(&lines), of(&worse)) {
            (Some(milder), Some(harsher)) => prop_assert!(milder <= harsher),
            (before, after) => prop_assert!(before.is_some() || after.is_none()),
        }
    }
}

/// Knobs that touch two of 40 routes each, some of them the same.
fn many(seed: u64) -> (Vec<Choice>, Vec<Line>) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = move |below: u32| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % u64::from(below)).unwrap()
    };
    let loads: Vec<f64> = (0..40).map(|_| f64::from(10 + draw(90))).collect();
    let knobs = (0..64_u8).map(|_| {
        let mut place = || draw(40) as usize;
        let places = [place(), place()];
        let parts = [0.05, 0.2, 0.5, 0.8];
        let keep = |place| (place, Effect::Keeps(parts[draw(4) as usize]));
        let effects = places.map(keep).to_vec();
        Choice { harm: 1 + draw(300), effects }
    });
    let knobs = knobs.collect();
    let all: f64 = loads.iter().sum();
    (knobs, vec![line(all * (0.4 + f64::from(draw(50)) / 100.0), &loads)])
}

#[test]
fn sixty_four_knobs_are_decided_within_the_bound_on_work() {
    let mut proven = 0;
    for seed in 0..100 {
        let (knobs, lines) = many(seed);
        let mut search = Search::new(&knobs, &lines);
        search.visit(knobs.iter().enumerate().collect(), &Left::everything(40), 0);
        assert!(search.best.is_some(), "{seed}");
        proven += u32::from(search.nodes > 0);
    }
    assert!(proven >= 80, "{proven} of 100");
}
