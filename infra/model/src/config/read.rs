//! From text to a configuration or to all of its problems.
//!
//! `serde` stops at the first mistake. To find the next, what is wrong is taken out of the parsed
//! document and the rest read again, until it reads or nothing can be taken out any more.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, check};

/// One mistake and its place, both counted from 1; columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the text.
    pub line: usize,
    /// Column in that line.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// All mistakes of a file, in order. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Mistakes by byte offset, before they are turned into lines.
type Found = Vec<(usize, String)>;

pub(super) fn read(text: &str, base: &Path) -> Result<Config, Problems> {
    let (mut document, syntax) = DeTable::parse_recoverable(text);
    let mut found: Found =
        syntax.iter().map(|e| (e.span().map_or(0, |s| s.start), e.message().to_owned())).collect();
    // Past a syntax error the document is a guess; its other mistakes would be too.
    let whole = if found.is_empty() { deserialize(&mut document, &mut found) } else { None };
    if let Some(mut config) = whole {
        config.base = base.to_owned();
        for (path, message) in check::check(&config) {
            found.push((offset_of(&document, &path), message));
        }
        if found.is_empty() {
            return Ok(config);
        }
    }
    found.sort();
    found.dedup();
    Err(Problems(found.into_iter().map(|(offset, message)| place(text, offset, message)).collect()))
}

fn deserialize(document: &mut Spanned<DeTable<'_>>, found: &mut Found) -> Option<Config> {
    // What was taken out, so that its absence is not reported as a second mistake: the start of
    // the table it stood in, and its key.
    let mut taken: Vec<(usize, String)> = Vec::new();
    // Each round takes something out of a finite document, so this ends; the bound says when a
    // person has enough to do.
    for _ in 0..100 {
        let error = match Config::deserialize(toml::Deserializer::from(document.clone())) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        let missing = message
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next())
            .map(str::to_owned);
        let known = missing
            .is_some_and(|key| taken.iter().any(|(table, k)| *table == span.start && *k == key));
        if !known {
            found.push((span.start, message.to_owned()));
        }
        match take_out(document.get_mut(), 0, &span) {
            Some(out) => taken.push(out),
            None => return None,
        }
    }
    None
}

/// Removes the innermost entry whose key or value lies at `span`; returns where its table starts and
/// its key.
fn take_out(table: &mut DeTable<'_>, start: usize, span: &Range<usize>) -> Option<(usize, String)> {
    if span.is_empty() {
        return None;
    }
    let at_span = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span)
        .map(|(key, _)| key.get_ref().to_string());
    if let Some(key) = at_span {
        table.remove(key.as_str());
        return Some((start, key));
    }
    table.iter_mut().find_map(|(key, value)| {
        let value_start = value.span().start;
        match value.get_mut() {
            DeValue::Table(inner) => take_out(inner, value_start, span),
            DeValue::Array(items) => {
                if let Some(index) = items.iter().position(|item| item.span() == *span) {
                    let rest = items.iter().enumerate().filter(|(i, _)| *i != index);
                    *items = rest.map(|(_, item)| item.clone()).collect();
                    return Some((value_start, key.get_ref().to_string()));
                }
                items.iter_mut().find_map(|item| {
                    let item_start = item.span().start;
                    match item.get_mut() {
                        DeValue::Table(inner) => take_out(inner, item_start, span),
                        _ => None,
                    }
                })
            }
            _ => None,
        }
    })
}

/// Where the value at `path` stands, or the nearest thing above it that stands in the document.
/// Paths are keys and indices joined by dots: `site.0.uplink.bits_per_sec`.
fn offset_of(document: &Spanned<DeTable<'_>>, path: &str) -> usize {
    let mut offset = 0;
    let mut steps = path.split('.');
    let mut here = steps.next().and_then(|key| document.get_ref().get(key));
    while let Some(value) = here {
        offset = value.span().start;
        here = match (value.get_ref(), steps.next()) {
            (DeValue::Table(table), Some(key)) => table.get(key),
            (DeValue::Array(items), Some(index)) => {
                index.parse().ok().and_then(|i: usize| items.get(i))
            }
            _ => None,
        };
    }
    offset
}

fn place(text: &str, offset: usize, message: String) -> Problem {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Problem {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message,
    }
}
