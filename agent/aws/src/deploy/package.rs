//! What is uploaded: a ZIP of the built program, the configuration and the key that plans are verified
//! with. The same inputs give the same bytes on any machine, so AWS's digest of the code tells whether
//! there is anything to ship.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use spillway_model::config::AwsProgram;
use spillway_part::files;

/// Largest ZIP that Lambda takes within a request.
const ZIP_BYTES_MAX: usize = 50 * 1024 * 1024;
/// Largest code that Lambda takes once it is unpacked.
const CODE_BYTES_MAX: u64 = 250 * 1024 * 1024;
/// How hard it is compressed: harder gives less than one percent more.
const LEVEL: u8 = 8;
/// The time of every file, 1 January 1980, which is the first that a ZIP can tell.
const DATE: u16 = 0x0021;

/// What a function's machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Architecture {
    /// Graviton.
    #[serde(rename = "arm64")]
    Arm64,
    /// Intel and AMD.
    #[serde(rename = "x86_64")]
    X86,
}

impl Architecture {
    /// Its number in the header of an ELF file.
    fn machine(self) -> u16 {
        match self {
            Self::X86 => 62,
            Self::Arm64 => 183,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arm64 => "arm64",
            Self::X86 => "x86_64",
        })
    }
}

/// Why a package cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The program is not there.
    #[error("cannot read the program {0}: build it with `./just functions`")]
    Program(PathBuf, #[source] io::Error),
    /// The program is none.
    #[error("{0} is no program for Linux on 64 bits: build it with `./just functions`")]
    NoProgram(PathBuf),
    /// The program is for another machine.
    #[error(
        "{0} is not built for {1}, which the function runs on: build it with `./just functions`"
    )]
    Machine(PathBuf, Architecture),
    /// It is too large.
    #[error("the package of {0} has {1} bytes, and Lambda takes at most {ZIP_BYTES_MAX}")]
    Size(&'static str, usize),
}

/// What is uploaded.
#[derive(Clone)]
pub(crate) struct Package {
    /// The ZIP.
    pub zip: Vec<u8>,
    /// Its digest as Lambda tells it: SHA-256 in base 64.
    pub sha: String,
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Package").field("sha", &self.sha).finish_non_exhaustive()
    }
}

/// Packs the program that is in `folder/ARCHITECTURE/PROGRAM/bootstrap` with a configuration and a key.
///
/// # Errors
/// When the program is not there, is for another machine, or is too large.
pub(crate) fn package(
    folder: &Path,
    architecture: Architecture,
    program: AwsProgram,
    config: &[u8],
    key: &[u8],
) -> Result<Package, PackageError> {
    let path = folder.join(architecture.to_string()).join(program.name()).join("bootstrap");
    let code = files::read_at_most(&path, CODE_BYTES_MAX)
        .map_err(|e| PackageError::Program(path.clone(), e))?;
    match machine(&code) {
        Some(machine) if machine == architecture.machine() => {}
        Some(_) => return Err(PackageError::Machine(path, architecture)),
        None => return Err(PackageError::NoProgram(path)),
    }
    let zip = zip(&[
        ("bootstrap", 0o755, &code),
        ("plan.pub", 0o644, key),
        ("spillway.toml", 0o644, config),
    ]);
    if zip.len() > ZIP_BYTES_MAX {
        return Err(PackageError::Size(program.name(), zip.len()));
    }
    let sha = BASE64_STANDARD.encode(Sha256::digest(&zip));
    Ok(Package { zip, sha })
}

/// The machine that a little-endian ELF file of 64 bits is for.
fn machine(code: &[u8]) -> Option<u16> {
    let head = code.first_chunk::<20>()?;
    let elf = head.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]);
    elf.then(|| u16::from_le_bytes([head[18], head[19]]))
}

/// A ZIP of files of less than 4 GiB, in their order, by name, mode and contents.
fn zip(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, mode, contents) in files {
        let packed = miniz_oxide::deflate::compress_to_vec(contents, LEVEL);
        // What both headers have: version, flags, method, time, date, sums and sizes, lengths.
        let mut about = Vec::new();
        for part in [20_u16, 0, 8, 0, DATE] {
            about.extend(part.to_le_bytes());
        }
        for part in [crc32fast::hash(contents), size(packed.len()), size(contents.len())] {
            about.extend(part.to_le_bytes());
        }
        about.extend(short(name.len()).to_le_bytes());
        about.extend(0_u16.to_le_bytes());

        directory.extend(b"PK\x01\x02");
        // Made on Unix, so that the mode counts.
        directory.extend([20, 3]);
        directory.extend(&about);
        // No comment, the first disk, no internal attributes.
        directory.extend([0; 6]);
        directory.extend(((0o100_000 | mode) << 16).to_le_bytes());
        directory.extend(size(out.len()).to_le_bytes());
        directory.extend(name.as_bytes());

        out.extend(b"PK\x03\x04");
        out.extend(about);
        out.extend(name.as_bytes());
        out.extend(packed);
    }
    let begins = size(out.len());
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(short(files.len()).to_le_bytes());
    out.extend(short(files.len()).to_le_bytes());
    out.extend(size(directory.len()).to_le_bytes());
    out.extend(begins.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn size(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn short(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u16) -> Vec<u8> {
        let mut code = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        code.resize(18, 0);
        code.extend(machine.to_le_bytes());
        code.extend(b"text ".repeat(2_000));
        code
    }

    fn folder(machine: u16) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("arm64/one-code");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("bootstrap"), program(machine)).unwrap();
        folder
    }

    fn packed(folder: &Path, config: &[u8]) -> Result<Package, PackageError> {
        package(folder, Architecture::Arm64, AwsProgram::OneCode, config, b"key\n")
    }

    #[test]
    fn the_same_inputs_give_the_same_code() {
        let (one, other) = (folder(183), folder(183));
        let first = packed(one.path(), b"a = 1\n").unwrap();
        assert_eq!(first.sha, packed(other.path(), b"a = 1\n").unwrap().sha);
        assert_ne!(first.sha, packed(other.path(), b"a = 2\n").unwrap().sha);
        // These bytes are what AWS compares: other ones would ship everything again.
        assert_eq!(first.sha, "e1d94pIIMtENZGZo7Sgkqw7UYugKvXG0iBSG2AlEf8c=");
    }

    #[test]
    fn what_cannot_run_there_is_not_packed() {
        let told = |folder: &Path| packed(folder, b"").unwrap_err().to_string();
        assert!(told(folder(62).path()).contains("not built for arm64"));
        let empty = tempfile::tempdir().unwrap();
        assert!(told(empty.path()).contains("just functions"));
        let script = folder(183);
        std::fs::write(script.path().join("arm64/one-code/bootstrap"), "#!/bin/sh\n").unwrap();
        assert!(told(script.path()).contains("no program for Linux"));
    }

    /// Name, mode and contents of each file, read as the ZIP's specification says: from its end.
    fn unzipped(zip: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([zip[at], zip[at + 1]]));
        let u32_at = |at: usize| {
            usize::try_from(u32::from_le_bytes(zip[at..at + 4].try_into().unwrap())).unwrap()
        };
        let end = zip.len() - 22;
        assert_eq!(&zip[end..end + 4], b"PK\x05\x06");
        let mut at = u32_at(end + 16);
        let mut found = Vec::new();
        for _ in 0..u16_at(end + 10) {
            assert_eq!(&zip[at..at + 4], b"PK\x01\x02");
            let (packed, whole, name) = (u32_at(at + 20), u32_at(at + 24), u16_at(at + 28));
            let mode = u32::try_from(u32_at(at + 38)).unwrap() >> 16;
            let text = String::from_utf8(zip[at + 46..at + 46 + name].to_vec()).unwrap();
            let local = u32_at(at + 42);
            assert_eq!(zip[local..local + 4], *b"PK\x03\x04");
            let data = local + 30 + u16_at(local + 26) + u16_at(local + 28);
            let contents =
                miniz_oxide::inflate::decompress_to_vec(&zip[data..data + packed]).unwrap();
            assert_eq!(contents.len(), whole);
            assert_eq!(usize::try_from(crc32fast::hash(&contents)).unwrap(), u32_at(at + 16));
            found.push((text, mode, contents));
            at += 46 + name;
        }
        found
    }

    #[test]
    fn a_package_can_be_unpacked_and_run() {
        let folder = folder(183);
        let files = unzipped(&packed(folder.path(), b"a = 1\n").unwrap().zip);
        let expected = [
            ("bootstrap", 0o100_755, program(183)),
            ("plan.pub", 0o100_644, b"key\n".to_vec()),
            ("spillway.toml", 0o100_644, b"a = 1\n".to_vec()),
        ];
        assert_eq!(files, expected.map(|(name, mode, data)| (name.to_owned(), mode, data)));
    }
}
