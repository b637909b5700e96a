//! The report as people read it.

use serde_json::Value;

use super::Told;
use super::again::Checked;
use super::under::{Compared, Pair, Span};
use crate::output;

/// Longest value that is shown whole, in characters.
const VALUE_CHARS_MAX: usize = 60;
/// Spans of differences that are shown, the longest.
const SPANS_MAX: usize = 20;

pub(super) fn text(told: &Told, width: Option<u16>) -> String {
    let mut parts = vec![checked(told)];
    let differences = differences(&told.checked, width);
    // Under another configuration the question is another.
    if told.under.is_none() && !differences.is_empty() {
        parts.push(differences);
        parts.push(
            "A decision follows from the configuration and the program too: was either changed since?"
                .to_owned(),
        );
    }
    if let Some(compared) = &told.under {
        parts.push(summary(compared));
        parts.push(instructions(compared, width));
        if !compared.spans.is_empty() {
            parts.push(spans(compared, width));
        }
    }
    parts.join("\n\n")
}

fn checked(told: &Told) -> String {
    let Checked { ticks, equal, different, undecided, skipped, restarts, .. } = &told.checked;
    let mut text = format!(
        "{} from {} to {}: {ticks} decisions computed again, ",
        told.journal, told.from, told.to
    );
    text.push_str(&match different {
        0 if *undecided == 0 => "all what was decided, byte by byte".to_owned(),
        0 => format!("{equal} of them what was decided, byte by byte"),
        _ => format!("{different} of them NOT what was decided"),
    });
    let more = [
        (undecided, "have no decision left to compare with"),
        (skipped, "observations could not be replayed, as nothing before them is left"),
        (restarts, "times the agent began anew, as after a start"),
    ];
    for (count, what) in more {
        if *count > 0 {
            text.push_str(&format!("; {count} {what}"));
        }
    }
    text
}

fn differences(checked: &Checked, width: Option<u16>) -> String {
    if checked.first_different.is_empty() {
        return String::new();
    }
    let rows = checked.first_different.iter().flat_map(|difference| {
        let fields = difference.fields.iter();
        fields.map(|field| {
            let at = difference.at.clone();
            vec![at, field.name.clone(), short(&field.decided), short(&field.computed)]
        })
    });
    output::table_within(&["at", "what", "decided", "computed"], rows, width)
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).chain("…".chars()).collect()
}

fn summary(compared: &Compared) -> String {
    let tiers: Vec<String> = compared
        .tier_seconds
        .iter()
        .filter(|(tier, _)| **tier > 0)
        .map(|(tier, Pair { decided, under })| {
            format!("\n{decided:.0} s at tier {tier} were decided, {under:.0} s would have been")
        })
        .collect();
    format!(
        "Under {} other instructions in {:.0} of {:.0} s, on the same observations: what they would have \
         brought about is not simulated.\n{:.0} s were over a limit, {:.0} of them with other \
         instructions.{}",
        compared.config,
        compared.seconds_different,
        compared.seconds,
        compared.seconds_over,
        compared.seconds_over_different,
        tiers.concat()
    )
}

fn instructions(compared: &Compared, width: Option<u16>) -> String {
    let head = [
        "instruction",
        "mean",
        "most",
        "turns",
        "mean there",
        "most there",
        "turns there",
        "s different",
    ];
    let rows = compared.instructions.iter().map(|(name, instruction)| {
        let Pair { decided, under } = &instruction.tracks;
        let number = |value: f64| number(name, value);
        vec![
            name.clone(),
            number(decided.mean),
            number(decided.most),
            decided.turns.to_string(),
            number(under.mean),
            number(under.most),
            under.turns.to_string(),
            format!("{:.0}", instruction.seconds_different),
        ]
    });
    output::table_within(&head, rows, width)
}

fn spans(compared: &Compared, width: Option<u16>) -> String {
    let mut longest: Vec<&Span> = compared.spans.iter().collect();
    longest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    longest.truncate(SPANS_MAX);
    longest.sort_by(|a, b| a.from.cmp(&b.from));
    let rows = longest.iter().map(|span| {
        let different: Vec<String> = span
            .different
            .iter()
            .map(|(name, Pair { decided, under })| {
                format!("{name} {} instead of {}", range(name, under), range(name, decided))
            })
            .collect();
        vec![span.from.clone(), format!("{:.0}", span.seconds), different.join(", ")]
    });
    let mut text = output::table_within(&["from", "s", "different"], rows, width);
    let all = compared.spans.len() as u64 + compared.spans_left_out;
    if all > longest.len() as u64 {
        text.push_str(&format!("\nThe longest {} of {all}; --json has more.", longest.len()));
    }
    text
}

fn range(name: &str, [least, most]: &[f64; 2]) -> String {
    let (least, most) = (number(name, *least), number(name, *most));
    if least == most { least } else { format!("{least} to {most}") }
}

fn number(name: &str, value: f64) -> String {
    if name.starts_with("share") {
        format!("{:.1} %", value * 100.0)
    } else if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
