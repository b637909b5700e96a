//! From a text to a configuration and all of its mistakes.
//!
//! `serde` stops at the first mistake, and the rules between fields need a whole configuration. So
//! what does not read is replaced by what the example has at that place, or taken out where the
//! example has nothing, and the rest is read again. What the rules then find at a replaced place, or
//! because of one, is nobody's mistake and is left out.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::check::Faults;
use super::{Config, check};

/// What is known to be good. Every required setting stands in it, or it would not be valid itself; some
/// in sections that are commented out.
static EXAMPLE: LazyLock<String> =
    LazyLock::new(|| uncommented(include_str!("../../../../examples/spillway.toml")));

/// The example with its optional sections: their lines have a `#` with no space behind it.
pub(super) fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// With so many values that do not read, a person has enough to do.
const REPLACED_MAX: usize = 100;

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

impl Problem {
    /// A mistake at a byte offset of a text.
    #[must_use]
    pub fn at(text: &str, offset: usize, message: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        }
    }
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

/// What a text says as far as it can be understood, and the mistakes found in it so far.
#[derive(Debug)]
pub struct Draft<'t> {
    text: &'t str,
    config: Option<Config>,
    places: Places,
    /// Paths where the configuration does not say what the text does.
    replaced: Vec<String>,
    /// Mistakes by byte offset.
    found: Vec<(usize, String)>,
}

impl<'t> Draft<'t> {
    /// Reads a text; `base` is the folder of its file.
    #[must_use]
    pub fn read(text: &'t str, base: &Path) -> Self {
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut draft = Self {
            text,
            config: None,
            places: Places::default(),
            replaced: Vec::new(),
            found: Vec::new(),
        };
        let mut guessed = false;
        for error in &syntax {
            let offset = error.span().map_or(0, |span| span.start);
            let twice = error.message() == "duplicate key";
            let message = if twice { "this key stands twice; keep one" } else { error.message() };
            draft.found.push((offset, message.to_owned()));
            guessed |= !twice;
        }
        // Past a syntax error the document is a guess; its other mistakes would be too.
        if guessed {
            return draft;
        }
        let document = Spanned::new(document.span(), DeValue::Table(document.into_inner()));
        let document = draft.places.number(document, &[], None);
        draft.config = draft.deserialize(document);
        if let Some(config) = &mut draft.config {
            config.base = base.to_owned();
            let mut faults = Faults::new(&draft.replaced);
            check::check(config, &mut faults);
            let placed = faults.found.into_iter().map(|(p, m)| (draft.places.offset_of(&p), m));
            draft.found.extend(placed);
        }
        draft
    }

    /// The configuration, for finding further mistakes only: values that did not read in it are made
    /// up. None when the text is not TOML.
    #[must_use]
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Adds a mistake that the text alone does not show, at a path such as `dns.zone_files.0`; not,
    /// when the value there, or one `with` which it does not go, is made up.
    pub fn fault(&mut self, path: &str, with: &[&str], message: String) {
        let mut faults = Faults::new(&self.replaced);
        faults.between(path, with, message);
        let found = faults.found;
        self.found.extend(found.into_iter().map(|(p, m)| (self.places.offset_of(&p), m)));
    }

    /// The configuration, if no mistake was found.
    ///
    /// # Errors
    /// All mistakes found, in the order of their places.
    pub fn finish(mut self) -> Result<Config, Problems> {
        self.found.sort();
        self.found.dedup();
        if let (Some(config), true) = (self.config, self.found.is_empty()) {
            return Ok(config);
        }
        let found = self.found.into_iter();
        Err(Problems(found.map(|(offset, m)| Problem::at(self.text, offset, m)).collect()))
    }

    fn deserialize(&mut self, mut document: Spanned<DeValue<'t>>) -> Option<Config> {
        let mut good = None;
        loop {
            let error = match Config::deserialize(ValueDeserializer::from(document.clone())) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            if self.replaced.len() == REPLACED_MAX {
                let message = "there are more mistakes; `check` finds them once these are mended";
                self.found.push((self.text.len(), message.to_owned()));
                return None;
            }
            let number = error.span().unwrap_or_default();
            let Place { mut steps, offset } = self.places.of(&number);
            let value = at(document.get_ref(), &steps);
            self.found.push((offset, in_words(error.message(), value)));
            let missing = missing_field(error.message());
            steps.extend(missing.clone());
            let good = good.get_or_insert_with(|| DeTable::parse(&EXAMPLE).ok());
            let value = good
                .as_ref()
                .and_then(|good| good_at(good.get_ref(), &steps))
                .map(|value| self.places.number(value.clone(), &steps, Some(offset)));
            if missing.is_some() && value.is_none() {
                // What lacks a thing that nobody can make up is taken out as a whole.
                steps.pop();
            }
            let made_up = replace(document.get_mut(), &steps, &number, value)?;
            self.replaced.push(made_up.join("."));
        }
    }
}

/// The keys and values of a document. Each carries its number here in place of its span, by which an
/// error of `serde` then names it, wherever it came from.
#[derive(Debug, Default)]
struct Places {
    numbered: Vec<Place>,
    /// Where values stand in the text, by path.
    offsets: HashMap<String, usize>,
}

#[derive(Debug, Default, Clone)]
struct Place {
    /// Keys and indices.
    steps: Vec<String>,
    offset: usize,
}

impl Places {
    fn add(&mut self, steps: Vec<String>, offset: usize) -> Range<usize> {
        self.numbered.push(Place { steps, offset });
        self.numbered.len() - 1..self.numbered.len()
    }

    /// Numbers a value and all in it. What is not from the text counts as standing at `instead`.
    fn number<'d>(
        &mut self,
        value: Spanned<DeValue<'d>>,
        steps: &[String],
        instead: Option<usize>,
    ) -> Spanned<DeValue<'d>> {
        let offset = instead.unwrap_or(value.span().start);
        self.offsets.entry(steps.join(".")).or_insert(offset);
        let number = self.add(steps.to_vec(), offset);
        let within = |step: String| [steps, &[step]].concat();
        let value = match value.into_inner() {
            DeValue::Table(table) => {
                let mut numbered = DeTable::new();
                for (key, value) in table {
                    let steps = within(key.get_ref().to_string());
                    let number = self.add(steps.clone(), instead.unwrap_or(key.span().start));
                    let value = self.number(value, &steps, instead);
                    numbered.insert(Spanned::new(number, key.into_inner()), value);
                }
                DeValue::Table(numbered)
            }
            DeValue::Array(items) => {
                let mut numbered = DeArray::new();
                for (i, item) in items.into_iter().enumerate() {
                    numbered.push(self.number(item, &within(i.to_string()), instead));
                }
                DeValue::Array(numbered)
            }
            scalar => scalar,
        };
        Spanned::new(number, value)
    }

    fn of(&self, number: &Range<usize>) -> Place {
        self.numbered.get(number.start).cloned().unwrap_or_default()
    }

    /// Where the value at `path` stands, or the nearest thing above it that stands in the text.
    /// Paths are keys and indices joined by dots: `site.0.uplink.bits_per_sec`.
    fn offset_of(&self, mut path: &str) -> usize {
        loop {
            if let Some(offset) = self.offsets.get(path) {
                return *offset;
            }
            path = path.rsplit_once('.').map_or("", |(above, _)| above);
            if path.is_empty() {
                return 0;
            }
        }
    }
}

fn missing_field(message: &str) -> Option<String> {
    let rest = message.strip_prefix("missing field `")?;
    rest.split('`').next().map(str::to_owned)
}

fn at<'v, 'd>(document: &'v DeValue<'d>, steps: &[String]) -> Option<&'v DeValue<'d>> {
    steps.iter().try_fold(document, |here, step| match here {
        DeValue::Table(table) => table.get(step.as_str()).map(Spanned::get_ref),
        DeValue::Array(items) => items.get(step.parse::<usize>().ok()?).map(Spanned::get_ref),
        _ => None,
    })
}

/// What the example has at a place: of a list, what its first element that has something has there.
fn good_at<'v, 'd>(good: &'v DeTable<'d>, steps: &[String]) -> Option<&'v Spanned<DeValue<'d>>> {
    fn within<'v, 'd>(
        here: &'v Spanned<DeValue<'d>>,
        steps: &[String],
    ) -> Option<&'v Spanned<DeValue<'d>>> {
        let Some((step, rest)) = steps.split_first() else { return Some(here) };
        match here.get_ref() {
            DeValue::Table(table) => within(table.get(step.as_str())?, rest),
            DeValue::Array(items) => items.iter().find_map(|item| within(item, rest)),
            _ => None,
        }
    }
    let (key, rest) = steps.split_first()?;
    within(good.get(key.as_str())?, rest)
}

/// Puts `value` at a place, or takes out what has this number there. Returns the place whose value is
/// made up then: a list's elements change their places when one is taken out.
fn replace<'s, 'd>(
    document: &mut DeValue<'d>,
    steps: &'s [String],
    number: &Range<usize>,
    value: Option<Spanned<DeValue<'d>>>,
) -> Option<&'s [String]> {
    let (last, above) = steps.split_last()?;
    let mut here = document;
    for step in above {
        let next = match here {
            DeValue::Table(table) => table.get_mut(step.as_str())?,
            DeValue::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
        here = next.get_mut();
    }
    match (here, value) {
        (DeValue::Table(table), Some(value)) => {
            table.insert(Spanned::new(value.span(), last.clone().into()), value);
        }
        (DeValue::Table(table), None) => {
            table.remove(last.as_str())?;
        }
        (DeValue::Array(items), Some(value)) => {
            *items.get_mut(last.parse::<usize>().ok()?)? = value;
        }
        (DeValue::Array(items), None) => {
            *items = items.iter().filter(|item| item.span() != *number).cloned().collect();
            return Some(above);
        }
        _ => return None,
    }
    Some(steps)
}

/// A message of `serde` in the words of the person who writes the file.
fn in_words(message: &str, value: Option<&DeValue<'_>>) -> String {
    if let Some(DeValue::String(text)) = value {
        if message.starts_with("invalid socket address") {
            return format!("`{text}` is not an address and a port, as in 127.0.0.1:8080");
        }
        if message.starts_with("invalid IP address") {
            return format!("`{text}` is not an IP address");
        }
    }
    let (said, expected) = message.rsplit_once("expected ").unwrap_or((message, ""));
    let plain = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "text in quotes",
        "a sequence" => "a list",
        _ if expected.starts_with("struct ") => "a table",
        _ => return message.to_owned(),
    };
    format!("{said}expected {plain}")
}
