//! A balancer that runs out of file descriptors. A program of its own, because the limit is the
//! process's.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spillway_balancer::Options;
use support::{Balancer, Client, Gateway, UNSHAPED, in_time, quick};

/// The log, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn count(&self, words: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(words).count()
    }

    async fn says(&self, words: &str) {
        in_time(words, async {
            while self.count(words) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn limit(descriptors: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
}

#[tokio::test]
async fn without_descriptors_clients_wait_and_the_log_says_so_once() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).init();
    let mut gateway = Gateway::start("gw-1").await;
    let options = Options { check_every: std::time::Duration::from_secs(3600), ..quick() };
    let balancer = Balancer::start(&[&gateway], UNSHAPED, options).await;
    gateway.checked().await;
    let (mut early, _) = balancer.client().await;

    // Descriptors are given out lowest first, and the limit is on their number: with it at the
    // number that the next client gets, plus one, nothing is left for the accept.
    let Rlimit { current: before, .. } = getrlimit(Resource::Nofile);
    let next = std::fs::File::open("/dev/null").unwrap();
    limit(u64::try_from(next.as_raw_fd()).unwrap() + 1);
    drop(next);
    let mut late = Client::connect(balancer.address).await;
    log.says("cannot accept connections").await;
    // Who is connected notices nothing; the accept is tried again meanwhile.
    for _ in 0..100 {
        early.echo(&[3; 10_000]).await;
    }

    limit(before.unwrap());
    assert!(late.line().await.starts_with("gw-1 "));
    log.says("accepting connections again").await;
    assert_eq!(log.count("cannot accept connections"), 1);
}
