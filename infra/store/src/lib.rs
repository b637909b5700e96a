//! Where a service keeps its data: SQL spread over shards, and a cache in front of it.
//!
//! [`Database`] is one or more SQLite files or PostgreSQL databases behind one SQL text (`$1`
//! placeholders, `BIGINT`, `TEXT` and so on); a key is placed on its shard by
//! [`place`]. What may be a moment old can be asked of a shard's replica ([`Shard::read`]). [`Cache`] is memory of this process or a Redis. Nothing here knows what is stored.
//! [`Mirror`] is where a Redis keeps a copy of the signed plan.
//!
//! A cache is never needed to answer: whatever goes wrong with it is a miss.

mod cache;
mod circuit;
mod database;
mod flight;
mod mirror;
mod place;
mod redis_cache;
mod redis_connection;
mod replica;
mod url;

pub use cache::{Age, Cache, Cached, LoadError};
pub use database::{Database, Kind, Migration, Options, Shard, Transaction};
pub use mirror::Mirror;
pub use place::place;
pub use redis_connection::RedisFault;
pub use url::{at_host, with_password};

use std::path::PathBuf;

/// Why the store could not be opened or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A list of shards without a shard.
    #[error("no shard is configured: name at least one database URL")]
    NoShards,
    /// A database URL that cannot be used. The URL is shown without its password.
    #[error("`{url}` cannot be used as a database: {message}")]
    BadDatabaseUrl {
        /// Which, without its password.
        url: String,
        /// What is wrong and what to write.
        message: String,
    },
    /// A list of replicas that does not go with the shards.
    #[error("there are {replicas} replicas for {shards} shards: write one a shard, \"\" for none")]
    Replicas {
        /// How many there are.
        replicas: usize,
        /// Of how many shards.
        shards: usize,
    },
    /// A URL of a Redis that cannot be used. The URL is shown without its password.
    #[error("`{url}` cannot be used as a Redis: {message}")]
    BadRedisUrl {
        /// Which, without its password.
        url: String,
        /// What is wrong and what to write.
        message: String,
    },
    /// The folder of a SQLite file cannot be made.
    #[error("cannot make the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A migration failed; nothing of it was applied.
    #[error("migration `{name}` failed on shard {shard}")]
    Migration {
        /// Which.
        name: &'static str,
        /// On which shard.
        shard: usize,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A SQLite file that is damaged, or is no SQLite file.
    #[error(
        "{path} is damaged or is no SQLite database: stop what uses it, move it away with its -wal and -shm files, and put its backup in its place; without a backup leave none there, and an empty one is made"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// A database did not do what it was asked.
    #[error("the database of shard {shard} failed")]
    Database {
        /// Which shard.
        shard: usize,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}
