//! The record of what deployments did: a line of JSON for each act, in the state folder of the machine
//! that they were started on, if it has one.

use std::path::Path;

use serde::Serialize;
use spillway_model::UnixMillis;

use crate::lines::Lines;

use super::tell::Said;

/// The record.
#[derive(Debug)]
pub(crate) struct Record(Option<Lines>);

#[derive(Serialize)]
struct Line<'a> {
    at: UnixMillis,
    #[serde(flatten)]
    said: &'a Said,
}

impl Record {
    /// Opens the record in a state folder. Where there is none, or it cannot be written, nothing is
    /// recorded: AWS has its own.
    #[must_use]
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join("deploy.jsonl");
        Self(folder.is_dir().then(|| Lines::open(path).ok()).flatten())
    }

    /// Records what changes something, and how it ends.
    pub(crate) fn keep(&mut self, at: UnixMillis, said: &Said) {
        let passing = matches!(said, Said::Watches { .. } | Said::Would { .. });
        let Some(lines) = self.0.as_mut().filter(|_| !passing) else { return };
        if lines.write(&Line { at, said }).is_err() {
            self.0 = None;
        }
    }
}
