//! A cache in Redis that may be away.
//!
//! Every call ends within [`DEADLINE`]. After a failure none is tried for [`PAUSE`], so that an
//! outage costs one request in many a tenth of a second and not each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, FromRedisValue};
use tokio::time::Instant;

use crate::StoreError;
use crate::url::without_password;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_millis(100);
/// How long Redis is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct RedisCache {
    connection: ConnectionManager,
    shown: Arc<str>,
    opened: Instant,
    /// Milliseconds after `opened` until which Redis is left alone; 0 while it answers.
    away_until: Arc<AtomicU64>,
}

impl RedisCache {
    pub(crate) fn open(url: &str) -> Result<Self, StoreError> {
        let bad = |e: redis::RedisError| StoreError::BadCacheUrl {
            url: without_password(url),
            message: format!("{e}; write `process` or redis://HOST:PORT"),
        };
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        let client = redis::Client::open(url).map_err(bad)?;
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(bad)?;
        Ok(Self {
            connection,
            shown: without_password(url).into(),
            opened: Instant::now(),
            away_until: Arc::default(),
        })
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let mut get = redis::cmd("GET");
        get.arg(key);
        self.call::<Option<Vec<u8>>>(get).await.flatten()
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        // Zero is no expiry that Redis takes.
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(key).arg(value).arg("PX").arg(millis);
        self.call::<()>(set).await;
    }

    async fn call<T: FromRedisValue>(&self, cmd: Cmd) -> Option<T> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now < self.away_until.load(Relaxed) {
            return None;
        }
        let mut connection = self.connection.clone();
        let reason = match tokio::time::timeout(DEADLINE, cmd.query_async(&mut connection)).await {
            Ok(Ok(value)) => {
                if self.away_until.load(Relaxed) != 0 && self.away_until.swap(0, Relaxed) != 0 {
                    tracing::info!(redis = %self.shown, "the cache answers again");
                }
                return Some(value);
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no answer within {DEADLINE:?}"),
        };
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
        if self.away_until.swap(now.saturating_add(pause), Relaxed) == 0 {
            tracing::warn!(redis = %self.shown, reason, "the cache is away; every look-up is a miss until it is back");
        }
        None
    }
}
