//! Access logs from files and from standard input, plain or compressed by gzip. What is read is not kept.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;
use spillway_simulate::log::{Format, Names, Reading};

/// Longest line that is read. Servers refuse heads of half the size.
const LINE_BYTES_MAX: usize = 64 << 10;
const BUFFER_BYTES: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes between two words on how far it is.
const TELL_BYTES: u64 = 256 << 20;

/// Reads `files` one after the other; `-` is standard input.
pub(crate) fn read<'a>(
    files: &[PathBuf],
    format: Option<Format>,
    names: Names<'a>,
) -> anyhow::Result<Reading<'a>> {
    let mut reading = Reading::new(format, names);
    let mut told = Told::default();
    for file in files {
        let name = file.display().to_string();
        reading.file(&name);
        let failed = || format!("cannot read {name}");
        let mut source = open(file).with_context(failed)?;
        lines(source.as_mut(), &mut reading, &mut told).with_context(failed)?;
    }
    told.end();
    Ok(reading)
}

fn open(file: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let source: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(file)?)
    };
    let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
    if source.fill_buf()?.starts_with(&GZIP) {
        // Rotated logs may be several compressed files in a row.
        let plain = MultiGzDecoder::new(source);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, plain)));
    }
    Ok(Box::new(source))
}

fn lines(
    source: &mut dyn BufRead,
    reading: &mut Reading<'_>,
    told: &mut Told,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    let mut long = false;
    loop {
        let bytes = match source.fill_buf() {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        long |= line.len() + part.len() > LINE_BYTES_MAX;
        if !long {
            line.extend_from_slice(part);
        }
        let over = bytes.is_empty();
        let taken = end.map_or(bytes.len(), |end| end + 1);
        source.consume(taken);
        told.add(taken);
        if end.is_some() || over && (long || !line.is_empty()) {
            if long {
                reading.too_long()
            } else {
                reading.line(&line)
            }
            line.clear();
            long = false;
        }
        if over {
            return Ok(());
        }
    }
}

/// On a terminal, how much has been read of what takes a while.
#[derive(Default)]
struct Told {
    bytes: u64,
    next: u64,
}

impl Told {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes >= self.next + TELL_BYTES {
            self.next = self.bytes;
            rewrite(&format!("{:.1} GB read", self.bytes as f64 / 1e9));
        }
    }

    fn end(&self) {
        if self.next > 0 {
            rewrite("");
        }
    }
}

fn rewrite(text: &str) {
    if std::io::stderr().is_terminal() {
        // Nothing depends on whether it could be written.
        let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const LINE: &str =
        "192.0.2.7 - - [23/Nov/2026:11:19:48 +0000] \"GET / HTTP/1.1\" 200 7 \"-\" \"-\"";

    fn gzip(text: &str) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(text.as_bytes()).unwrap();
        writer.finish().unwrap()
    }

    fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn all(files: &[PathBuf]) -> anyhow::Result<Reading<'static>> {
        read(files, None, Names::new(None))
    }

    #[test]
    fn plain_and_compressed_files_are_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        // Without a line's end at the end; two compressed files in one.
        let plain = written(&folder, "a.log", format!("{LINE}\r\n\n{LINE}").as_bytes());
        let twice = [gzip(&format!("{LINE}\n")), gzip(&format!("{LINE}\n{LINE}\n"))].concat();
        let twice = written(&folder, "a.log.1.gz", &twice);
        let empty = written(&folder, "empty.log", b"");
        let reading = all(&[plain, twice, empty]).unwrap();
        assert_eq!((reading.lines(), reading.unreadable().0), (5, 0));
        assert_eq!(reading.survey().unwrap().requests(), 5);
    }

    #[test]
    fn endless_lines_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(3 * BUFFER_BYTES);
        let text = format!("{LINE}\n{long}\n{LINE}\n{long}");
        let reading = all(&[written(&folder, "a.log", text.as_bytes())]).unwrap();
        assert_eq!((reading.lines(), reading.unreadable().0), (4, 2));
        assert_eq!(reading.unreadable().1[1].line, 4);
        let longest = format!("{LINE} {}", "x".repeat(LINE_BYTES_MAX - LINE.len() - 1));
        let reading = all(&[written(&folder, "a.log", longest.as_bytes())]).unwrap();
        assert_eq!(reading.unreadable().0, 0);
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent.log");
        let error = format!("{:#}", all(std::slice::from_ref(&absent)).unwrap_err());
        assert!(error.starts_with(&format!("cannot read {}: ", absent.display())), "{error}");
        let mut cut = gzip(&LINE.repeat(100));
        cut.truncate(cut.len() / 2);
        let cut = written(&folder, "cut.gz", &cut);
        let error = format!("{:#}", all(std::slice::from_ref(&cut)).unwrap_err());
        assert!(error.starts_with(&format!("cannot read {}: ", cut.display())), "{error}");
        assert!(all(&[folder.path().to_owned()]).is_err(), "a folder");
    }
}
