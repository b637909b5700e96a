//! A file of JSON, a line each, that does not grow for ever.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A file larger than this is put aside, and the one put aside before is deleted.
pub(crate) const BYTES_MAX: u64 = 1024 * 1024;

/// The file.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Lines {
    /// Opens the file to write at its end; it is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        let bytes = file.metadata()?.len();
        let mut lines = Self { path, file, bytes };
        // A line that was cut off must not take the next one with it.
        lines.put(b"\n")?;
        Ok(lines)
    }

    /// Writes a line, and waits until it is on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        if self.bytes > BYTES_MAX {
            std::fs::rename(&self.path, aside(&self.path))?;
            (self.file, self.bytes) = (append(&self.path)?, 0);
        }
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.put(&line)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        self.file.sync_data()
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Where a file is put aside.
pub(crate) fn aside(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}
