//! Reading logs line by line, leniently.

use serde::Serialize;

use super::{Entry, Format, Names, Survey};

/// Lines that are told of those that could not be read.
const TOLD_MAX: usize = 5;

/// Why a log says nothing.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No line could be read.
    #[error(
        "{file} has no line of an access log among {lines}; the known formats are {formats}{first}",
        formats = formats(),
        first = first.as_ref().map(|first| format!(". {first}")).unwrap_or_default()
    )]
    NoLine {
        /// The file, or the first of several.
        file: String,
        /// Lines that there were.
        lines: u64,
        /// What is wrong with the first.
        first: Option<Unreadable>,
    },
    /// There is not enough to make a curve of.
    #[error("the log is of {secs} s; a trace has two whole steps of {step} s and more")]
    Short {
        /// Seconds from the first line to the last.
        secs: u64,
        /// Seconds of a step.
        step: u64,
    },
}

fn formats() -> String {
    let all = Format::ALL.map(|format| format!("`{}` ({format})", format.name()));
    all.join(", ")
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its file.
    pub file: String,
    /// Its number, from 1 on.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} {}", self.file, self.line, self.why)
    }
}

/// Logs as they are read: files one after the other, in any order of time.
#[derive(Debug)]
pub struct Reading<'a> {
    wanted: Option<Format>,
    file: String,
    first_file: Option<String>,
    /// Of this file; its first good line says it.
    format: Option<Format>,
    line: u64,
    lines: u64,
    bad: u64,
    told: Vec<Unreadable>,
    formats: Vec<Format>,
    survey: Survey<'a>,
}

impl<'a> Reading<'a> {
    /// Nothing read yet. All files are of `format`, or each of its own where none is given.
    #[must_use]
    pub fn new(format: Option<Format>, names: Names<'a>) -> Self {
        Self {
            wanted: format,
            file: String::new(),
            first_file: None,
            format,
            line: 0,
            lines: 0,
            bad: 0,
            told: Vec::new(),
            formats: Vec::new(),
            survey: Survey::new(names),
        }
    }

    /// What follows is of another file.
    pub fn file(&mut self, name: &str) {
        name.clone_into(&mut self.file);
        self.first_file.get_or_insert_with(|| name.to_owned());
        self.line = 0;
        self.format = self.wanted;
    }

    /// Takes in a line, without its end.
    pub fn line(&mut self, bytes: &[u8]) {
        self.line += 1;
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_ascii();
        // Blank lines are nothing, and are no mistake.
        if text.is_empty() {
            return;
        }
        self.lines += 1;
        match self.entry(text) {
            Ok(entry) if self.survey.add(&entry) => {}
            Ok(_) => self.bad("is more than a year from the first line".to_owned()),
            Err(why) => self.bad(why),
        }
    }

    /// Takes in that a line was too long to be read.
    pub fn too_long(&mut self) {
        self.line += 1;
        self.lines += 1;
        self.bad("is too long".to_owned());
    }

    fn entry<'l>(&mut self, line: &'l str) -> Result<Entry<'l>, String> {
        let format = match self.format {
            Some(format) => format,
            None => Format::of(line).ok_or("is of no known format")?,
        };
        let entry = format.parse(line).map_err(|e| e.to_string())?;
        self.format = Some(format);
        if !self.formats.contains(&format) {
            self.formats.push(format);
        }
        Ok(entry)
    }

    fn bad(&mut self, why: String) {
        self.bad += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(Unreadable { file: self.file.clone(), line: self.line, why });
        }
    }

    /// Lines that could not be read, and the first of them.
    #[must_use]
    pub fn unreadable(&self) -> (u64, &[Unreadable]) {
        (self.bad, &self.told)
    }

    /// Lines that were not blank.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The formats found.
    #[must_use]
    pub fn formats(&self) -> &[Format] {
        &self.formats
    }

    /// What they come to.
    ///
    /// # Errors
    /// When no line could be read.
    pub fn survey(&self) -> Result<&Survey<'a>, LogError> {
        if self.survey.requests() > 0 {
            return Ok(&self.survey);
        }
        Err(LogError::NoLine {
            file: self.first_file.clone().unwrap_or_default(),
            lines: self.lines,
            first: self.told.first().cloned(),
        })
    }
}
