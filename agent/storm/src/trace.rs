//! Reading one column of a CSV trace.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Most rows that are read.
const ROWS_MAX: usize = 1_000_000;
/// Most bytes that are read.
const BYTES_MAX: u64 = 128 << 20;

/// Why a trace was refused. Lines count from 1, as editors do.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read, or is no CSV.
    #[error("cannot read {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why; names the line where there is one.
        #[source]
        source: csv::Error,
    },
    /// There is no such column.
    #[error("{} has no column `{column}`; its columns are {known}", .file.display())]
    NoColumn {
        /// The file.
        file: PathBuf,
        /// What was asked for.
        column: String,
        /// The columns there are.
        known: String,
    },
    /// A value that cannot be a count.
    #[error("{}:{line}: `{value}` in column `{column}` {wrong}", .file.display())]
    Value {
        /// The file.
        file: PathBuf,
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
    #[error("{} has {rows} rows; a trace has 2 to {ROWS_MAX}", .file.display())]
    Rows {
        /// The file.
        file: PathBuf,
        /// Rows after the header; one more than allowed when there are too many.
        rows: usize,
    },
    /// More than a trace could need.
    #[error("{} is larger than {} MiB", .file.display(), BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// Nothing but zeros.
    #[error("{}: column `{column}` holds nothing but zeros", .file.display())]
    AllZero {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
    },
}

/// The values of a column, none negative and at least one positive.
pub(crate) fn read(file: &Path, column: &str) -> Result<Vec<f64>, TraceError> {
    let failed = |e: std::io::Error| TraceError::Read { file: file.to_owned(), source: e.into() };
    let mut text = Vec::new();
    let source = std::fs::File::open(file).map_err(failed)?;
    source.take(BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(TraceError::TooLarge { file: file.to_owned() });
    }
    parse(&text, file, column)
}

fn parse(text: &[u8], file: &Path, column: &str) -> Result<Vec<f64>, TraceError> {
    let failed = |source| TraceError::Read { file: file.to_owned(), source };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(failed)?;
    let Some(index) = header.iter().position(|name| name == column) else {
        let quoted: Vec<_> = header.iter().map(|name| format!("`{name}`")).collect();
        let known = if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") };
        return Err(TraceError::NoColumn { file: file.to_owned(), column: column.into(), known });
    };
    let mut values = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(failed)? {
        if values.len() == ROWS_MAX {
            return Err(TraceError::Rows { file: file.to_owned(), rows: ROWS_MAX + 1 });
        }
        let value = record.get(index).unwrap_or("");
        values.push(count(value).map_err(|wrong| TraceError::Value {
            file: file.to_owned(),
            line: line_of(text, record.position()),
            value: value.to_owned(),
            column: column.to_owned(),
            wrong,
        })?);
    }
    if values.len() < 2 {
        return Err(TraceError::Rows { file: file.to_owned(), rows: values.len() });
    }
    if values.iter().all(|value| *value == 0.0) {
        return Err(TraceError::AllZero { file: file.to_owned(), column: column.to_owned() });
    }
    Ok(values)
}

/// The line of a record. Its position is that of the blank lines before it, if there are any.
fn line_of(text: &[u8], position: Option<&csv::Position>) -> usize {
    let byte = position.map_or(0, csv::Position::byte);
    let before = usize::try_from(byte).unwrap_or(usize::MAX).min(text.len());
    let blank = text[before..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    1 + text[..before + blank].iter().filter(|byte| **byte == b'\n').count()
}

fn count(text: &str) -> Result<f64, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    match text.parse::<f64>() {
        Ok(value) if !value.is_finite() => Err("is not a finite number"),
        Ok(value) if value < 0.0 => Err("is negative"),
        Ok(value) => Ok(value),
        Err(_) => Err("is not a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    fn values(text: &str) -> Result<Vec<f64>, String> {
        parse(text.as_bytes(), Path::new("t.csv"), "requests").map_err(|e| {
            let source = std::error::Error::source(&e).map(|s| format!(": {s}"));
            format!("{e}{}", source.unwrap_or_default())
        })
    }

    #[test]
    fn takes_the_column_that_is_named() {
        let text = "timestamp, requests ,bytes\n2026-11-23T00:00:00Z, 12 ,7\nx,3.5,\n";
        assert_eq!(values(text), Ok(vec![12.0, 3.5]));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let cases = [
            ("time,hits\n1,2\n", "t.csv has no column `requests`; its columns are `time`, `hits`"),
            ("", "t.csv has no column `requests`; its columns are none"),
            ("requests\n1\nmany\n", "t.csv:3: `many` in column `requests` is not a number"),
            ("requests\n1\n\n-4\n", "t.csv:4: `-4` in column `requests` is negative"),
            ("a,requests\n1,2\n1,\n", "t.csv:3: `` in column `requests` is empty"),
            ("requests\ninf\n", "t.csv:2: `inf` in column `requests` is not a finite number"),
            ("requests\n7\n", "t.csv has 1 rows; a trace has 2 to 1000000"),
            ("requests\n0\n0\n", "t.csv: column `requests` holds nothing but zeros"),
        ];
        for (text, expected) in cases {
            assert_eq!(values(text), Err(expected.to_owned()));
        }
        let ragged = values("a,requests\n1,2\n1\n").unwrap_err();
        assert!(ragged.contains("line: 3"), "{ragged}");
        let missing = read(Path::new("/nowhere.csv"), "x").unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /nowhere.csv");
    }

    #[test]
    fn a_trace_is_scaled_to_its_peak_and_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("flash.csv");
        std::fs::write(&file, "requests\n100\n400\n200\n").unwrap();
        let profile = Profile::Trace {
            file,
            column: "requests".into(),
            step_secs: 60.0,
            peak: 80.0,
            play_step_in: Some(2.0),
        };
        let curve = profile.curve().unwrap();
        assert_eq!((curve.secs(), curve.peak()), (4.0, 80.0));
        let rates: Vec<_> = [0.0, 1.0, 2.0, 3.0].map(|t| curve.rate_at(t)).to_vec();
        assert_eq!(rates, [20.0, 50.0, 80.0, 60.0]);
        assert!(profile.to_string().contains("60 s played in 2 s"), "{profile}");
    }
}
