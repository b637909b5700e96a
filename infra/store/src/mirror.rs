//! The copy of the signed plan in a Redis: the agent puts it there, functions in the cloud get it.
//!
//! What lies there is trusted as little as what comes over a network: it carries its signature and its
//! generation, and whoever gets it looks at both.

use std::time::Duration;

use crate::StoreError;
use crate::redis_connection::{Redis, RedisFault};

/// Where a Redis keeps the plan of a site set.
#[derive(Clone)]
pub struct Mirror {
    redis: Redis,
    key: String,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mirror({})", self.url())
    }
}

impl Mirror {
    /// The mirror at `redis://HOST:PORT`, or with TLS `rediss://HOST:PORT`, of the site set that serves
    /// `host`: several may share a Redis. It need not be there. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn open(url: &str, host: &str) -> Result<Self, StoreError> {
        Ok(Self::of(Redis::open(url)?, host))
    }

    pub(crate) fn of(redis: Redis, host: &str) -> Self {
        Self { redis, key: format!("spillway:plan:{host}") }
    }

    /// Where it is, without a password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.redis.shown()
    }

    /// Puts a signed plan there, in place of the one that is.
    ///
    /// # Errors
    /// When the Redis does not take it in time.
    pub async fn put(&self, signed: &[u8], deadline: Duration) -> Result<(), RedisFault> {
        let mut set = redis::cmd("SET");
        set.arg(&self.key).arg(signed);
        self.redis.call(&set, deadline).await
    }

    /// The signed plan that is there, if one is.
    ///
    /// # Errors
    /// When the Redis does not answer in time.
    pub async fn get(&self, deadline: Duration) -> Result<Option<Vec<u8>>, RedisFault> {
        let mut get = redis::cmd("GET");
        get.arg(&self.key);
        self.redis.call(&get, deadline).await
    }
}
