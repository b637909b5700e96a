//! The logs of processes: one file each, which the process itself appends to, and the part before it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A log that has grown beyond this begins anew; what was in it is kept once.
pub(super) const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Begins a log: that of a run is of that run alone.
pub(super) fn begin(log: &Path) -> io::Result<()> {
    match std::fs::remove_file(before(log)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    File::create(log).map(drop)
}

/// Opens a log for a process to append to. Appending is what makes [`trim`] possible.
pub(super) fn open(log: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(log)
}

/// Moves what is in a log of more than `bytes_max` to a file beside it. The process has the log open,
/// so it is copied and emptied; a line written in between is lost. So is everything when the disk has
/// no room for the copy: a log without end would not make that better.
pub(super) fn trim(log: &Path, bytes_max: u64) {
    if !std::fs::metadata(log).is_ok_and(|log| log.len() > bytes_max) {
        return;
    }
    if std::fs::copy(log, before(log)).is_err() {
        // Half a copy is of no use.
        let _ = std::fs::remove_file(before(log));
    }
    // Only a log that is gone cannot be emptied.
    let _ = File::options().write(true).truncate(true).open(log);
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn before(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_and_the_part_before_it_are_all_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("east-gw-1.log");
        begin(&log).unwrap();
        let mut process = open(&log).unwrap();
        let mut say = |text: &str| process.write_all(text.as_bytes()).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        say("first\n");
        trim(&log, 6);
        assert_eq!(read(&log), "first\n", "there is room left");
        say("second\n");
        trim(&log, 6);
        say("third\n");
        assert_eq!((read(&log), read(&before(&log))), ("third\n".into(), "first\nsecond\n".into()));
        say("fourth\n");
        trim(&log, 6);
        assert_eq!((read(&log), read(&before(&log))), (String::new(), "third\nfourth\n".into()));
        assert_eq!(before(&log), folder.path().join("east-gw-1.log.1"));
        begin(&log).unwrap();
        assert!(!before(&log).exists(), "of another run");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
