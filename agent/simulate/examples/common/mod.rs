//! Traces in a folder.
//!
//! A file is named `NAME_5min.csv`: its name ends in its step (`s`, `min` or `h`). The last column has the
//! values: counts per step, or a rate per second where it is called `rps`.

use std::error::Error;
use std::path::{Path, PathBuf};

use spillway_simulate::{Trace, Unit};

/// The CSV files of a folder, by name.
pub(crate) fn files(folder: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|e| format!("cannot read the folder {folder}: {e}"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "csv"));
    files.sort();
    if files.is_empty() {
        return Err(format!("there is no CSV file in {folder}").into());
    }
    Ok(files)
}

/// A file's name without its ending.
pub(crate) fn name(file: &Path) -> String {
    file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A trace, the seconds of its step, and what a value is.
pub(crate) fn read(file: &Path) -> Result<(Trace, u64, Unit), Box<dyn Error>> {
    let text = std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let name = name(file);
    let step = step_secs(&name)
        .ok_or_else(|| format!("{name}: a file's name ends in its step, as in NAME_5min.csv"))?;
    let column = last_column(&text);
    let unit = if column == "rps" { Unit::Rate } else { Unit::Count };
    let trace = Trace::parse(&text, &file.display().to_string(), &column, step, unit)?;
    Ok((trace, step, unit))
}

/// Of the end of a name, as in `NAME_5min`.
fn step_secs(name: &str) -> Option<u64> {
    let (_, step) = name.rsplit_once('_')?;
    let unit = step.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = step.split_at(unit);
    let secs = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(secs).filter(|secs| *secs > 0)
}

fn last_column(text: &[u8]) -> String {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let last = reader.headers().ok().and_then(|head| head.iter().next_back().map(str::to_owned));
    last.unwrap_or_default()
}
