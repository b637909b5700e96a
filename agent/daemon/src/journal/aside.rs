//! Moving a damaged journal out of the way, so that a new one can begin in its place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use spillway_model::UnixMillis;

/// Most damaged journals that are kept. The newest stay: each may be as large as a disk allows.
const KEPT_MAX: usize = 3;
/// What SQLite keeps beside a database. These go first: a new database would take them for its own.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Renames the journal at `path` to `….damaged-<time>`, with what SQLite keeps beside it, and removes
/// the oldest of those moved before. Returns its new name.
///
/// # Errors
/// When it cannot be renamed; it then stands where it stood.
pub(crate) fn set_aside(path: &Path, now: UnixMillis) -> std::io::Result<PathBuf> {
    // 20261123T111948001Z: names in the order of time, without what a shell would have quoted.
    let time: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let to = with(path, &format!(".damaged-{time}"));
    for ending in BESIDE {
        match std::fs::rename(with(path, ending), with(&to, ending)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(path, &to)?;
    remove_oldest(path);
    Ok(to)
}

/// The write-ahead log of the database at `path`.
pub(crate) fn write_ahead_log(path: &Path) -> PathBuf {
    with(path, BESIDE[0])
}

fn remove_oldest(path: &Path) {
    let start = with(path, ".damaged-");
    let Some(folder) = path.parent() else { return };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let of_ours = |path: &PathBuf| {
        let text = path.as_os_str().as_encoded_bytes();
        text.starts_with(start.as_os_str().as_encoded_bytes())
            && !BESIDE.iter().any(|ending| text.ends_with(ending.as_bytes()))
    };
    let mut damaged: Vec<_> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(of_ours).collect();
    damaged.sort();
    let surplus = damaged.len().saturating_sub(KEPT_MAX);
    for old in damaged.drain(..surplus) {
        for file in [with(&old, BESIDE[0]), with(&old, BESIDE[1]), old] {
            // One that cannot be removed is tried again the next time.
            let _best_effort = std::fs::remove_file(file);
        }
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_damaged_journals_are_kept_and_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        for minute in 0..5 {
            std::fs::write(&path, "damaged").unwrap();
            std::fs::write(folder.path().join("journal.db-wal"), "beside").unwrap();
            let moved = set_aside(&path, UnixMillis(minute * 60_000)).unwrap();
            assert_eq!(std::fs::read(moved).unwrap(), b"damaged");
        }
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let expected: Vec<_> = (2..5)
            .flat_map(|minute| {
                let name = format!("journal.db.damaged-19700101T000{minute}00000Z");
                [name.clone(), format!("{name}-wal")]
            })
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn what_cannot_be_moved_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(set_aside(&folder.path().join("journal.db"), UnixMillis(0)).is_err());
    }
}
