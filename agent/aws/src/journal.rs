//! The record of every act: a line of JSON before it and one after it, in the state folder.
//!
//! The line before an act is on disk before AWS hears of it, so a process that is killed in between
//! sends the same client token again when it is started again.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;
use spillway_part::{clock, files};

use crate::act::Act;
use crate::lines::{Lines, aside};
use crate::memory::Kept;

/// The lock is tried so often, and so long after the time before.
const TRIES: u32 = 20;
const TRY_EVERY: Duration = Duration::from_millis(10);

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process changes AWS for this configuration.
    #[error(
        "another process makes AWS what a plan says ({0} is locked): stop `spillway-aws run` first"
    )]
    Locked(PathBuf),
    /// The file cannot be used.
    #[error("cannot keep the journal {0}")]
    File(PathBuf, #[source] io::Error),
}

/// The journal. Whoever has it is the only one that changes AWS.
#[derive(Debug)]
pub struct Journal {
    lines: Lines,
    /// Locked for as long as it is open.
    _lock: File,
}

#[derive(Serialize)]
struct Line<'a> {
    at: UnixMillis,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Act>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    kept: &'a Kept,
}

#[derive(Deserialize)]
struct KeptLine {
    kept: Kept,
}

impl Journal {
    /// Opens the journal in a state folder, and gives what was kept in it.
    ///
    /// # Errors
    /// When another process has it, or it cannot be read or written.
    pub fn open(folder: &Path) -> Result<(Self, Kept), JournalError> {
        let lock_path = folder.join("aws.lock");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |e| JournalError::File(path, e)
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let lock = File::options().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(failed(&lock_path))?;
        locked(&lock).map_err(|e| match e {
            TryLockError::WouldBlock => JournalError::Locked(lock_path.clone()),
            TryLockError::Error(e) => JournalError::File(lock_path.clone(), e),
        })?;
        let path = folder.join("aws.jsonl");
        let kept = [path.clone(), aside(&path)].iter().find_map(|path| last_kept(path));
        let kept = kept.unwrap_or_else(|| Kept { seed: rand::random(), ..Kept::default() });
        let lines = Lines::open(path.clone()).map_err(failed(&path))?;
        let mut journal = Self { lines, _lock: lock };
        journal.write("started", None, None, &kept).map_err(failed(&path))?;
        Ok((journal, kept))
    }

    /// Writes a line, and waits until it is on disk.
    ///
    /// # Errors
    /// When it cannot be written; then nothing may be launched.
    pub fn write(
        &mut self,
        event: &str,
        act: Option<&Act>,
        error: Option<&str>,
        kept: &Kept,
    ) -> io::Result<()> {
        self.lines.write(&Line { at: clock::now(), event, act, error, kept })
    }
}

/// Locks a file. A process that was just started by the one before has its files until it becomes
/// another program, such as one that gives credentials: so the lock is tried for a moment.
fn locked(file: &File) -> Result<(), TryLockError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY_EVERY),
            other => return other,
        }
    }
    file.try_lock()
}

/// What the last whole line of a journal kept.
fn last_kept(path: &Path) -> Option<Kept> {
    let bytes = files::read(path).ok()?;
    let lines = bytes.rsplit(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<KeptLine>(line).ok()).next().map(|l| l.kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::BYTES_MAX;
    use crate::memory::Memory;

    #[test]
    fn what_was_kept_outlives_a_kill_at_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, kept) = Journal::open(folder.path()).unwrap();
        let mut memory = Memory::new(kept);
        let act = Act::Launch(memory.new_launch("east", 2));
        memory.begun(&act, UnixMillis(5));
        journal.write("begun", Some(&act), None, &memory.kept).unwrap();
        drop(journal);
        let path = folder.path().join("aws.jsonl");
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..20 {
            let mut bytes = whole.clone();
            bytes.extend_from_slice(&whole[whole.len() / 2..whole.len() - cut]);
            std::fs::write(&path, bytes).unwrap();
            let (_journal, again) = Journal::open(folder.path()).unwrap();
            assert_eq!(again, memory.kept);
        }
    }

    #[test]
    fn only_one_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(folder.path()).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(JournalError::Locked(_))));
        drop(first);
        assert!(Journal::open(folder.path()).is_ok());
    }

    #[test]
    fn it_is_bounded_and_forgets_nothing_that_matters() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, kept) = Journal::open(folder.path()).unwrap();
        let long = "x".repeat(300_000);
        for _ in 0..12 {
            journal.write("failed", None, Some(&long), &kept).unwrap();
        }
        drop(journal);
        let sizes: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|f| f.unwrap().metadata().unwrap().len())
            .collect();
        assert!(sizes.iter().sum::<u64>() < 3 * BYTES_MAX + 1_000_000, "{sizes:?}");
        std::fs::remove_file(folder.path().join("aws.jsonl")).unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().1, kept);
    }
}
