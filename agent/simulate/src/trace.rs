//! One column of a CSV trace, with its gaps filled and told.

use crate::Unit;

/// Most rows that are read.
pub(crate) const ROWS_MAX: usize = 1_000_000;
/// A step of so many requests is followed by none by chance once in half a billion times (Poisson).
const BUSY: f64 = 20.0;
/// A longer time without any request may be true: a shop that closes at night.
const ZEROS_MAX: usize = 3;
/// So many lines are named in a note; the rest is counted.
const LINES_TOLD: usize = 5;

/// Why a trace was refused. Lines count from 1, as editors do.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It is no CSV.
    #[error("{file} cannot be read as CSV")]
    Csv {
        /// What the caller calls it.
        file: String,
        /// Why; names the line where there is one.
        #[source]
        source: csv::Error,
    },
    /// There is no such column.
    #[error("{file} has no column `{column}`; its columns are {known}")]
    NoColumn {
        /// What the caller calls it.
        file: String,
        /// What was asked for.
        column: String,
        /// The columns there are.
        known: String,
    },
    /// There are two of that name.
    #[error("{file} has several columns `{column}`")]
    Ambiguous {
        /// What the caller calls it.
        file: String,
        /// What was asked for.
        column: String,
    },
    /// A value that can be no amount.
    #[error("{file}:{line}: `{value}` in column `{column}` {wrong}")]
    Value {
        /// What the caller calls it.
        file: String,
        /// Where.
        line: usize,
        /// The text found.
        value: String,
        /// The column.
        column: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// There is not enough to make a curve of, or too much.
    #[error("{file} has {rows} rows; a trace has 2 to {ROWS_MAX}")]
    Rows {
        /// What the caller calls it.
        file: String,
        /// Rows after the header; one more than allowed when there are too many.
        rows: usize,
    },
    /// Nothing is asked in it at all.
    #[error("{file}: column `{column}` holds nothing above zero")]
    Nothing {
        /// What the caller calls it.
        file: String,
        /// The column.
        column: String,
    },
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// One a row, none negative and at least one positive.
    pub values: Vec<f64>,
    /// What was not as it should be and what was made of it, one sentence each.
    pub notes: Vec<String>,
}

impl Trace {
    /// Reads column `column` of `text`, which messages call `file`. `step_secs` and `unit` say what a
    /// value is.
    ///
    /// An empty value and `NaN` are missing. So is a zero, or up to three in a row, between two steps of
    /// twenty requests and more: those that collect counts write 0 for what they did not hear. What is
    /// missing is drawn as a line between the values beside it.
    ///
    /// # Errors
    /// When it is no CSV, has no such column, or holds what can be no amount.
    pub fn parse(
        text: &[u8],
        file: &str,
        column: &str,
        step_secs: u64,
        unit: Unit,
    ) -> Result<Self, TraceError> {
        let rows = rows(text, file, column)?;
        if rows.len() < 2 {
            return Err(TraceError::Rows { file: file.to_owned(), rows: rows.len() });
        }
        if rows.iter().all(|row| row.value.is_none_or(|value| value == 0.0)) {
            let (file, column) = (file.to_owned(), column.to_owned());
            return Err(TraceError::Nothing { file, column });
        }
        let busy = match unit {
            Unit::Count => BUSY,
            Unit::Rate => BUSY / step_secs as f64,
        };
        let mut notes = Vec::new();
        let mut values: Vec<Option<f64>> = rows.iter().map(|row| row.value).collect();
        let line = |i: usize| rows.get(i).map_or(0, |row| row.line);
        note(&mut notes, &lines(&values, Option::is_none, line), "has no value");
        let zeros = doubtful(&values, busy);
        let told: Vec<usize> = zeros.iter().map(|i| line(*i)).collect();
        note(&mut notes, &told, "is zero between busy steps, which is taken as missing");
        for i in zeros {
            if let Some(value) = values.get_mut(i) {
                *value = None;
            }
        }
        let zeros = values.iter().filter(|value| **value == Some(0.0)).count();
        if zeros > 0 {
            notes.push(format!("{zeros} of {} steps are zero, and taken as such", values.len()));
        }
        Ok(Self { values: filled(&values), notes })
    }
}

struct Row {
    line: usize,
    /// `None`: missing.
    value: Option<f64>,
}

fn rows(text: &[u8], file: &str, column: &str) -> Result<Vec<Row>, TraceError> {
    let failed = |source| TraceError::Csv { file: file.to_owned(), source };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(failed)?;
    let mut places = header.iter().enumerate().filter(|(_, name)| *name == column);
    let Some((place, _)) = places.next() else {
        let quoted: Vec<_> = header.iter().map(|name| format!("`{name}`")).collect();
        let known = if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") };
        return Err(TraceError::NoColumn { file: file.to_owned(), column: column.into(), known });
    };
    if places.next().is_some() {
        return Err(TraceError::Ambiguous { file: file.to_owned(), column: column.to_owned() });
    }
    let mut lines = Lines { text, byte: 0, line: 1 };
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(failed)? {
        if rows.len() == ROWS_MAX {
            return Err(TraceError::Rows { file: file.to_owned(), rows: ROWS_MAX + 1 });
        }
        let line = lines.of(record.position());
        let value = record.get(place).unwrap_or("");
        let value = amount(value).map_err(|wrong| TraceError::Value {
            file: file.to_owned(),
            line,
            value: value.to_owned(),
            column: column.to_owned(),
            wrong,
        })?;
        rows.push(Row { line, value });
    }
    Ok(rows)
}

/// Counts lines as records go on.
struct Lines<'a> {
    text: &'a [u8],
    byte: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of a record. Its position is that of the blank lines before it, if there are any.
    fn of(&mut self, position: Option<&csv::Position>) -> usize {
        let byte = position.map_or(0, csv::Position::byte);
        let before = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        let blank =
            self.text[before..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let from = self.byte.min(before + blank);
        self.line += self.text[from..before + blank].iter().filter(|byte| **byte == b'\n').count();
        self.byte = before + blank;
        self.line
    }
}

fn amount(text: &str) -> Result<Option<f64>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_nan() => Ok(None),
        Ok(value) if value.is_infinite() => Err("is not a finite number"),
        Ok(value) if value < 0.0 => Err("is negative"),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err("is not a number"),
    }
}

/// Places of zeros that chance does not explain.
fn doubtful(values: &[Option<f64>], busy: f64) -> Vec<usize> {
    let is_zero = |value: &Option<f64>| *value == Some(0.0);
    let busy = |value: Option<&Option<f64>>| {
        value.is_some_and(|value| value.is_some_and(|value| value >= busy))
    };
    let mut places = Vec::new();
    let mut at = 0;
    for run in values.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let end = at + run.len();
        let beside = at > 0 && busy(values.get(at - 1)) && busy(values.get(end));
        if run.first().is_some_and(is_zero) && run.len() <= ZEROS_MAX && beside {
            places.extend(at..end);
        }
        at = end;
    }
    places
}

/// What is missing as a line between what is beside it, and at the ends as what is next to it.
fn filled(values: &[Option<f64>]) -> Vec<f64> {
    let mut all = Vec::with_capacity(values.len());
    let mut before: Option<f64> = None;
    for run in values.chunk_by(|a, b| a.is_some() == b.is_some()) {
        if run.first().is_some_and(Option::is_some) {
            all.extend(run.iter().flatten());
            before = all.last().copied();
            continue;
        }
        let after = values.get(all.len() + run.len()).copied().flatten();
        let (from, to) = match (before, after) {
            (Some(from), Some(to)) => (from, to),
            (one, other) => {
                let value = one.or(other).unwrap_or(0.0);
                (value, value)
            }
        };
        let parts = run.len() as f64 + 1.0;
        all.extend((1..=run.len()).map(|i| from + (to - from) * i as f64 / parts));
    }
    all
}

fn lines(
    values: &[Option<f64>],
    says: impl Fn(&Option<f64>) -> bool,
    line: impl Fn(usize) -> usize,
) -> Vec<usize> {
    let places = values.iter().enumerate().filter(|(_, value)| says(value));
    places.map(|(i, _)| line(i)).collect()
}

fn note(notes: &mut Vec<String>, lines: &[usize], what: &str) {
    let told: Vec<String> = lines.iter().take(LINES_TOLD).map(usize::to_string).collect();
    let rest = match lines.len().saturating_sub(LINES_TOLD) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let lines = match lines.len() {
        0 => return,
        1 => "line",
        _ => "each of lines",
    };
    notes.push(format!(
        "{lines} {}{rest} {what}; filled from the values beside it",
        told.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trace, String> {
        Trace::parse(text.as_bytes(), "t.csv", "requests", 60, Unit::Count).map_err(|e| {
            let source = std::error::Error::source(&e).map(|s| format!(": {s}"));
            format!("{e}{}", source.unwrap_or_default())
        })
    }

    #[test]
    fn takes_the_column_that_is_named() {
        let trace =
            read("\u{feff}timestamp, requests ,bytes\n2026-11-23, 12 ,7\nx,3.5,\n").unwrap();
        assert_eq!((trace.values, trace.notes), (vec![12.0, 3.5], vec![]));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let cases = [
            ("time,hits\n1,2\n", "t.csv has no column `requests`; its columns are `time`, `hits`"),
            ("", "t.csv has no column `requests`; its columns are none"),
            ("requests,requests\n1,2\n", "t.csv has several columns `requests`"),
            ("requests\n1\nmany\n", "t.csv:3: `many` in column `requests` is not a number"),
            ("requests\n1\n\n-4\n", "t.csv:4: `-4` in column `requests` is negative"),
            ("requests\ninf\n", "t.csv:2: `inf` in column `requests` is not a finite number"),
            ("requests\n7\n", "t.csv has 1 rows; a trace has 2 to 1000000"),
            ("requests\n0\n0\n", "t.csv: column `requests` holds nothing above zero"),
            ("a,requests\n1,\n1,NaN\n", "t.csv: column `requests` holds nothing above zero"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), Err(expected.to_owned()));
        }
        let ragged = read("a,requests\n1,2\n1\n").unwrap_err();
        assert!(ragged.starts_with("t.csv cannot be read as CSV: ") && ragged.contains("line: 3"));
    }

    #[test]
    fn what_is_missing_is_filled_and_told() {
        let trace = read("a,requests\n1,\n1,40\n1,\n1,\n1,10\n1,nan\n").unwrap();
        assert_eq!(trace.values, [40.0, 40.0, 30.0, 20.0, 10.0, 10.0]);
        assert_eq!(
            trace.notes,
            ["each of lines 2, 4, 5, 7 has no value; filled from the values beside it"]
        );
    }

    #[test]
    fn zeros_that_chance_does_not_explain_are_missing() {
        let trace = read("requests\n0\n60\n0\n90\n19\n0\n60\n0\n0\n0\n0\n60\n0\n").unwrap();
        let same = [0.0, 60.0, 75.0, 90.0, 19.0, 0.0, 60.0, 0.0, 0.0, 0.0, 0.0, 60.0, 0.0];
        assert_eq!(trace.values, same);
        assert_eq!(
            trace.notes,
            [
                "line 4 is zero between busy steps, which is taken as missing; filled from the values beside it",
                "7 of 13 steps are zero, and taken as such"
            ]
        );
    }
}
