//! The access log: one JSON object a line, one line a request.
//!
//! Lines go through a bounded queue to a thread of their own. Whatever the disk does, serving goes
//! on: a line that finds the queue full, or the disk, is lost and counted.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use spillway_part::clock;

/// Most lines that wait for the disk.
const QUEUE_LINES_MAX: usize = 8192;
/// Bytes collected before they are written.
const WRITE_BYTES: usize = 64 * 1024;
/// Longest that a line waits for others to be written with.
const COLLECT: Duration = Duration::from_millis(200);

/// One request. The fields of a line, in their order.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) time: String,
    pub(crate) request_id: &'a str,
    /// The client's prefix, never its whole address.
    pub(crate) client: String,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// The path of its route as configured, parameters by their names: `/v1/users/{user}/code`. Of a
    /// request without a route, `*` stands for whatever no route names. Who asks is nowhere in it.
    pub(crate) path: &'a str,
    pub(crate) route: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) duration_ms: f64,
    pub(crate) upstream: &'a str,
    pub(crate) outcome: &'static str,
    pub(crate) reason: &'a str,
    pub(crate) generation: u64,
}

enum Message {
    Line(String),
    End,
}

/// The writing side. Clones write to the same file.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
}

impl AccessLog {
    /// Starts the thread. The file is opened for appending when there is something to write.
    pub(crate) fn start(path: PathBuf) -> (Self, JoinHandle<()>) {
        let (queue, lines) = mpsc::sync_channel(QUEUE_LINES_MAX);
        let log = Self { queue, lost: Arc::default(), reopen: Arc::default() };
        let (lost, reopen) = (log.lost.clone(), log.reopen.clone());
        let thread = std::thread::spawn(move || {
            Writer { path, file: None, pending: Vec::new(), lines: 0, failing: false, lost }
                .run(&lines, &reopen);
        });
        (log, thread)
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        let Ok(mut text) = serde_json::to_string(line) else { return };
        text.push('\n');
        if self.queue.try_send(Message::Line(text)).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Opens the file anew before the next write, for whoever moved it away.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    /// Ends the thread once it has written what is queued.
    pub(crate) fn end(&self) {
        // A queue that is full or has no reader ends by its senders being dropped.
        let _ended_otherwise = self.queue.try_send(Message::End);
    }
}

struct Writer {
    path: PathBuf,
    file: Option<File>,
    pending: Vec<u8>,
    lines: u64,
    failing: bool,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>, reopen: &AtomicBool) {
        // A line waits for others, but only for so long; with none it costs nothing to wait.
        while let Ok(Message::Line(first)) = queue.recv() {
            self.take(&first);
            let until = clock::instant() + COLLECT;
            let mut ended = false;
            while self.pending.len() < WRITE_BYTES && !ended {
                let left = until.saturating_duration_since(clock::instant());
                match queue.recv_timeout(left) {
                    Ok(Message::Line(line)) => self.take(&line),
                    Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => ended = true,
                    Err(RecvTimeoutError::Timeout) => break,
                }
            }
            self.flush(reopen);
            if ended {
                return;
            }
        }
    }

    fn take(&mut self, line: &str) {
        self.pending.extend_from_slice(line.as_bytes());
        self.lines += 1;
    }

    fn flush(&mut self, reopen: &AtomicBool) {
        if reopen.swap(false, Relaxed) {
            self.file = None;
        }
        let written = self.write();
        if let Err(e) = &written {
            self.lost.fetch_add(self.lines, Relaxed);
            // The next flush opens the file again: the fault may be the file's and not the disk's.
            self.file = None;
            if !self.failing {
                tracing::warn!(file = %self.path.display(), error = %e, "the access log cannot be written; its lines are lost until it can");
            }
        } else if self.failing {
            tracing::info!(lost = self.lost.load(Relaxed), "the access log is written again");
        }
        self.failing = written.is_err();
        self.pending.clear();
        self.lines = 0;
    }

    fn write(&mut self) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path)?),
        };
        file.write_all(&self.pending)
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(request_id: &str) -> Line<'_> {
        Line {
            time: String::new(),
            request_id,
            client: "192.0.2.0/24".to_owned(),
            method: "GET",
            host: "h\"",
            path: "/",
            route: "r",
            status: 200,
            bytes: 1,
            duration_ms: 0.5,
            upstream: "u",
            outcome: "served",
            reason: "",
            generation: 1,
        }
    }

    #[test]
    fn lines_are_json_and_survive_a_moved_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log/a.log"), folder.path().join("moved"));
        let (log, thread) = AccessLog::start(path.clone());
        log.write(&line("1"));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        while read(&path).is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.write(&line("2"));
        log.end();
        thread.join().unwrap();
        for (path, id) in [(&moved, "1"), (&path, "2")] {
            let value: serde_json::Value = serde_json::from_str(&read(path)).unwrap();
            assert_eq!(value["request_id"], id);
            assert_eq!(value["host"], "h\"");
        }
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let (log, thread) = AccessLog::start(PathBuf::from("/dev/full"));
        log.write(&line("1"));
        log.write(&line("2"));
        log.end();
        thread.join().unwrap();
        assert_eq!(log.lost(), 2);
        log.write(&line("3"));
        assert_eq!(log.lost(), 3, "a line after the end is lost too");
    }
}
