//! `testdata/answers.txt`: questions, each with the whole response to it.
//!
//! A question is `? NAME TYPE`, and may have `share=`, `from=`, `subnet=`, `payload=` and `tcp`.

use super::support::{Ask, rendered, snapshot};
use crate::Transport;

fn asked(line: &str) -> (Ask, f64) {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap();
    let mut ask = Ask::new(name, words.next().unwrap().parse().unwrap());
    let mut share = 0.0;
    for word in words {
        match word.split_once('=') {
            None if word == "tcp" => ask.transport = Transport::Tcp,
            Some(("share", value)) => share = value.parse().unwrap(),
            Some(("from", value)) => ask.source = value.parse().unwrap(),
            Some(("payload", value)) => ask.payload = Some(value.parse().unwrap()),
            Some(("subnet", value)) => {
                let (address, bits) = value.split_once('/').unwrap();
                ask.subnet = Some((address.parse().unwrap(), bits.parse().unwrap()));
            }
            _ => panic!("{word} in {line}"),
        }
    }
    (ask, share)
}

#[test]
fn answers_are_as_written_down() {
    let expected = include_str!("../../testdata/answers.txt");
    let mut actual = String::new();
    for line in expected.lines() {
        if let Some(question) = line.strip_prefix("? ") {
            let (ask, share) = asked(question);
            let (outcome, message) = ask.answer(&snapshot(share));
            actual += &format!("? {question}\n{}", rendered(outcome, &message));
        } else if line.is_empty() || line.starts_with('#') {
            actual += &format!("{line}\n");
        }
    }
    for (n, (ours, theirs)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}; all answers now:\n{actual}", n + 1);
    }
    assert_eq!(actual.len(), expected.len(), "all answers now:\n{actual}");
}
