//! A cache in Redis that may be away.
//!
//! Every call ends within [`DEADLINE`]. After a failure none is tried for [`PAUSE`], so that an
//! outage costs one request in many a tenth of a second and not each of them.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue};
use tokio::time::Instant;

use crate::circuit::Circuit;
use crate::redis_connection::Redis;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_millis(100);
/// How long Redis is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct RedisCache {
    pub(crate) redis: Redis,
    circuit: Arc<Circuit>,
}

impl RedisCache {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis, circuit: Arc::new(Circuit::new(PAUSE, Instant::now())) }
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let mut get = redis::cmd("GET");
        get.arg(key);
        self.call::<Option<Vec<u8>>>(&get).await.flatten()
    }

    pub(crate) async fn has(&self, key: &str) -> Option<bool> {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(key);
        self.call(&exists).await
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        // Zero is no expiry that Redis takes.
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(key).arg(value).arg("PX").arg(millis);
        self.call::<()>(&set).await;
    }

    async fn call<T: FromRedisValue>(&self, cmd: &Cmd) -> Option<T> {
        let asked = Instant::now();
        if !self.circuit.asks(asked) {
            return None;
        }
        let redis = self.redis.shown();
        match self.redis.call(cmd, DEADLINE).await {
            Ok(value) => {
                if self.circuit.answered(asked) {
                    tracing::info!(redis, "the cache answers again");
                }
                Some(value)
            }
            Err(fault) => {
                if self.circuit.failed(Instant::now()) {
                    let reason = fault.reason;
                    tracing::warn!(
                        redis,
                        reason,
                        "the cache is away; every look-up is a miss until it is back"
                    );
                }
                None
            }
        }
    }
}
