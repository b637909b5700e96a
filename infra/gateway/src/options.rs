//! Limits and deadlines of a gateway. The defaults are what [`crate::run`] uses; tests narrow them.

use std::path::PathBuf;
use std::time::Duration;

/// Everything about a gateway that the configuration file does not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most client connections open at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// From a connection's first wait, or a request's first byte, to the end of the request's head.
    pub head_deadline: Duration,
    /// How long a connection may idle between requests.
    pub idle_deadline: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_deadline: Duration,
    /// Largest request head, in bytes.
    pub head_bytes_max: usize,
    /// Most fields in a request head.
    pub headers_max: usize,
    /// Longest request target, in bytes. RFC 9112 §3 recommends to support 8,000.
    pub target_bytes_max: usize,
    /// How long connections are still accepted after shutdown, so that a balancer's check notices.
    pub drain_accept: Duration,
    /// Connections to upstreams.
    pub pool: PoolOptions,
    /// Active health checks.
    pub health: HealthOptions,
    /// Where the access log goes; none is written when absent.
    pub access_log: Option<PathBuf>,
}

/// Connections to one upstream.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Most connections, and so most requests in flight.
    pub connections_max: usize,
    /// Most of them kept idle.
    pub idle_max: usize,
    /// A connection idle for longer is closed. Shorter than any upstream's own deadline, so that
    /// requests seldom meet a connection that is just being closed.
    pub idle_deadline: Duration,
    /// How long a request waits for a connection when all are in use, before it is answered 503.
    pub wait: Duration,
    /// How long connecting may take.
    pub connect_deadline: Duration,
    /// For how long an upstream that could not be connected to is passed over, unless a health check
    /// passes: long enough for the checks to find the same.
    pub eject: Duration,
}

/// Active health checks of upstreams: `GET /healthz` must answer 2xx.
#[derive(Debug, Clone)]
pub struct HealthOptions {
    /// From the start of one check to that of the next.
    pub period: Duration,
    /// How long one check may take.
    pub deadline: Duration,
    /// Failures in a row that take an upstream out.
    pub fall: u32,
    /// Successes in a row that bring it back.
    pub rise: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_deadline: Duration::from_secs(10),
            idle_deadline: Duration::from_secs(60),
            write_deadline: Duration::from_secs(30),
            head_bytes_max: 32 * 1024,
            headers_max: 100,
            target_bytes_max: 8 * 1024,
            drain_accept: Duration::from_secs(1),
            pool: PoolOptions::default(),
            health: HealthOptions::default(),
            access_log: None,
        }
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            connections_max: 512,
            idle_max: 64,
            idle_deadline: Duration::from_secs(15),
            wait: Duration::from_millis(500),
            connect_deadline: Duration::from_millis(500),
            eject: Duration::from_secs(2),
        }
    }
}

impl Default for HealthOptions {
    fn default() -> Self {
        Self {
            period: Duration::from_millis(500),
            deadline: Duration::from_millis(400),
            fall: 2,
            rise: 1,
        }
    }
}
