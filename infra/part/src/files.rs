//! Reading the small files of the state folder, whatever stands under their names.
//!
//! A pipe would hold the reader for ever, a device or a huge file fill its memory; none of them is
//! what a part left there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Largest file read, in bytes: a kept plan is a few kilobytes, a key a line.
pub const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a regular file of at most [`BYTES_MAX`]. Never waits for another process.
///
/// # Errors
/// When it cannot be read, is no regular file or is larger.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, BYTES_MAX)
}

/// Reads a regular file of at most so many bytes. Never waits for another process.
///
/// # Errors
/// When it cannot be read, is no regular file or is larger.
pub fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_open(open(path)?, bytes_max)
}

/// Reads a file as [`read`] does, as text that only its owner may know: a key or a token.
///
/// # Errors
/// As for [`read`], when others than its owner have rights to it, and when it is not UTF-8.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let file = open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!(
            "its mode is {mode:03o}, so others than its owner may know it: run `chmod 600 {}`, or \
             replace it if they do",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    String::from_utf8(read_open(file, BYTES_MAX)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
}

/// Reads a configuration, from a pipe too: `check` takes one that a program makes.
///
/// # Errors
/// When it cannot be read or is larger than [`BYTES_MAX`].
pub fn read_config(path: &Path) -> io::Result<Vec<u8>> {
    read_open(File::open(path)?, BYTES_MAX)
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe without a writer is then opened at once instead of waited for.
    let file = File::options().read(true).custom_flags(nonblocking()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

fn read_open(file: impl io::Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// The flag that keeps opening a pipe from waiting for its other end.
pub(crate) fn nonblocking() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    /// What is no small regular file, under names in `folder`.
    pub(crate) fn strange_files(folder: &Path) -> [PathBuf; 4] {
        let [pipe, directory, huge, device] =
            ["pipe", "directory", "huge", "device"].map(|name| folder.join(name));
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        std::fs::create_dir(&directory).unwrap();
        File::create(&huge).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
        [pipe, directory, huge, device]
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for path in strange_files(folder.path()) {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("regular file") || error.contains("larger than"), "{error}");
        }
        let path = folder.path().join("small");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(read(&path).unwrap(), b"x");
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_secret_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "x").unwrap();
        for (mode, refused) in
            [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o620, true)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let told = read_secret(&path).map_err(|e| e.to_string());
            let command = format!("chmod 600 {}", path.display());
            assert_eq!(told.is_err_and(|e| e.contains(&command)), refused, "{mode:o}");
        }
    }
}
