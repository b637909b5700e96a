//! The cache: bytes by key, each with a time to live, in this process or in Redis.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use moka::Expiry;
use spillway_model::UnixMillis;

use crate::StoreError;
use crate::flight::{Flights, Role};
use crate::mirror::Mirror;
use crate::redis_cache::RedisCache;
use crate::redis_connection::Redis;

/// Most bytes that a cache in this process holds, keys included.
const PROCESS_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What an entry costs besides its key and value, roughly.
const ENTRY_OVERHEAD: usize = 128;

/// A cache. Clones are the same cache.
#[derive(Clone)]
pub struct Cache {
    backend: Backend,
    flights: Flights<Cached>,
}

#[derive(Clone)]
enum Backend {
    Process(moka::sync::Cache<Arc<str>, Entry>),
    Redis(RedisCache),
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.backend {
            Backend::Process(_) => "Cache(process)",
            Backend::Redis(_) => "Cache(redis)",
        })
    }
}

/// A value and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The value.
    pub bytes: Bytes,
    /// When it was loaded, by the clock of whoever loaded it.
    pub at: UnixMillis,
}

/// How old a value may be. Values are kept for longer than they are usually fresh, so that a caller
/// may take a staler one when that is better than loading.
#[derive(Debug, Clone, Copy)]
pub struct Age {
    /// Now, by the caller's clock.
    pub now: UnixMillis,
    /// Oldest value taken.
    pub max: Duration,
    /// How long a loaded value is kept.
    pub keep: Duration,
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E: std::error::Error + 'static> {
    /// The load failed.
    #[error("cannot load what the cache does not hold")]
    Own(#[source] E),
    /// The load that another request had started failed.
    #[error("cannot load what the cache does not hold: {0}")]
    Shared(String),
}

impl Cache {
    /// Opens a cache: `process` for the memory of this process, or `redis://HOST:PORT`, with TLS
    /// `rediss://HOST:PORT`. Redis need not be there. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let backend = match url {
            "process" => Backend::Process(process_cache()),
            _ => Backend::Redis(RedisCache::new(Redis::open(url)?)),
        };
        Ok(Self { backend, flights: Flights::default() })
    }

    /// The mirror of the plan of the site set that serves `host`, in the same Redis and by the same
    /// connection; none where the cache is none.
    #[must_use]
    pub fn mirror(&self, host: &str) -> Option<Mirror> {
        match &self.backend {
            Backend::Process(_) => None,
            Backend::Redis(cache) => Some(Mirror::of(cache.redis.clone(), host)),
        }
    }

    /// The value of a key, unless it is missing, has expired, or the cache is away.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        match &self.backend {
            Backend::Process(cache) => cache.get(key).map(|entry| entry.bytes),
            Backend::Redis(redis) => redis.get(key).await.map(Bytes::from),
        }
    }

    /// Whether there is a value of a key; unknown while the cache is away.
    pub async fn has(&self, key: &str) -> Option<bool> {
        match &self.backend {
            Backend::Process(cache) => Some(cache.contains_key(key)),
            Backend::Redis(redis) => redis.has(key).await,
        }
    }

    /// Keeps a value for at most `ttl`.
    pub async fn set(&self, key: &str, value: Bytes, ttl: Duration) {
        match &self.backend {
            Backend::Process(cache) => cache.insert(key.into(), Entry { bytes: value, ttl }),
            Backend::Redis(redis) => redis.set(key, &value, ttl).await,
        }
    }

    /// The value of a key if it is young enough, or else what `load` brings, which is kept. Of many
    /// requests of this process that find nothing at once, one loads.
    ///
    /// # Errors
    /// When there is no value young enough and the load fails.
    pub async fn get_or_load<E, F, Loading>(
        &self,
        key: &str,
        age: Age,
        load: F,
    ) -> Result<Cached, LoadError<E>>
    where
        E: std::error::Error + 'static,
        F: FnOnce() -> Loading,
        Loading: Future<Output = Result<Bytes, E>>,
    {
        loop {
            if let Some(cached) = self.young(key, age).await {
                return Ok(cached);
            }
            match self.flights.join(key) {
                Role::Wait(wait) => {
                    if let Some(landed) = wait.landed().await {
                        return landed.map_err(LoadError::Shared);
                    }
                }
                Role::Lead(lead) => {
                    // The last flight may have landed between the look and the start of this one.
                    if let Some(cached) = self.young(key, age).await {
                        lead.land(Ok(cached.clone()));
                        return Ok(cached);
                    }
                    let loaded = match load().await {
                        Ok(bytes) => Cached { bytes, at: age.now },
                        Err(e) => {
                            lead.land(Err(e.to_string()));
                            return Err(LoadError::Own(e));
                        }
                    };
                    self.set(key, loaded.stamped(), age.keep).await;
                    lead.land(Ok(loaded.clone()));
                    return Ok(loaded);
                }
            }
        }
    }

    async fn young(&self, key: &str, age: Age) -> Option<Cached> {
        let cached = Cached::read(self.get(key).await?)?;
        (u128::from(age.now.millis_since(cached.at)) <= age.max.as_millis()).then_some(cached)
    }
}

impl Cached {
    /// The bytes as kept: eight of the time, big endian, then the value.
    fn stamped(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(8 + self.bytes.len());
        out.put_u64(self.at.0);
        out.put_slice(&self.bytes);
        out.freeze()
    }

    fn read(mut stamped: Bytes) -> Option<Self> {
        let at = stamped.first_chunk::<8>().map(|stamp| u64::from_be_bytes(*stamp))?;
        Some(Self { bytes: stamped.split_off(8), at: UnixMillis(at) })
    }
}

#[derive(Clone)]
struct Entry {
    bytes: Bytes,
    ttl: Duration,
}

/// Every entry lives as long as it was set for, a rewritten one from then on.
struct PerEntry;

impl Expiry<Arc<str>, Entry> for PerEntry {
    fn expire_after_create(
        &self,
        _: &Arc<str>,
        entry: &Entry,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Arc<str>,
        entry: &Entry,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

fn process_cache() -> moka::sync::Cache<Arc<str>, Entry> {
    moka::sync::Cache::builder()
        .max_capacity(PROCESS_BYTES_MAX)
        .weigher(|key: &Arc<str>, entry: &Entry| {
            u32::try_from(key.len() + entry.bytes.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        })
        .expire_after(PerEntry)
        .build()
}
