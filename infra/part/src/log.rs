//! Logging: `tracing` events to standard error, as text for people and as JSON for machines.
//!
//! A log never holds work up: a line that cannot be written at once (a full disk, a reader that has
//! gone away or does not read) is lost.

use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::EnvFilter;

/// Sets up logging for a process. `SPILLWAY_LOG` filters (`info` when unset, in the syntax of
/// `EnvFilter`); `SPILLWAY_LOG_FORMAT=json` writes a JSON object a line. A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("SPILLWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| AtOnce(io::stderr()))
        // Said how? On standard error, which is what has failed; and that would panic.
        .log_internal_errors(false)
        .with_target(false);
    let json = std::env::var("SPILLWAY_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A subscriber that is already there (a test's) stays.
    let _already = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    };
}

/// Writes what can be written without waiting, and fails otherwise.
struct AtOnce<W>(W);

/// A pipe that is ready takes so much without blocking (`PIPE_BUF`, pipe(7)).
const PIECE_BYTES: usize = 4096;

impl<W: Write + AsFd> Write for AtOnce<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&at_once))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.write(&bytes[..bytes.len().min(PIECE_BYTES)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = AtOnce(&writer);
        let line = [b'x'; 10_000];
        let mut lines = 0;
        while log.write_all(&line).is_ok() {
            lines += 1;
        }
        assert!(lines > 0);
        assert_eq!(log.write(b"lost").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // Once it reads again, lines are written again.
        let mut read = vec![0; 20_000];
        reader.read_exact(&mut read).unwrap();
        log.write_all(b"seen").unwrap();
        drop(reader);
        assert_eq!(log.write(b"gone").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let error = AtOnce(&full).write(b"full").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
