//! A Redis that may be away, be started anew, or be another server from one call to the next.
//!
//! One connection serves all calls. It is opened when a call needs one, and given up after the first
//! call that fails on it; a call that finds out that the connection held was none any more, as after a
//! process was frozen, tries once more on a new one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo as _};
use tokio::time::{Instant, timeout, timeout_at};

use crate::StoreError;
use crate::flight::{Flights, Lead, Role};
use crate::url::without_password;

/// How long opening a connection may take. Calls end before; opening goes on for those that follow, so
/// that a machine on which it takes longer than a call may still gets one.
const OPEN: Duration = Duration::from_secs(2);

/// A connection that was not used for so long is not tried: who stands between may have forgotten it,
/// and then nothing would be answered, not even an error.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Why a call was not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{redis} does not serve: {reason}")]
pub struct RedisFault {
    /// Its URL, without a password.
    pub redis: Arc<str>,
    /// Why.
    pub reason: String,
}

/// One Redis. Clones share its connection.
#[derive(Clone)]
pub(crate) struct Redis {
    client: Arc<Client>,
    shown: Arc<str>,
    held: Arc<Mutex<Option<Held>>>,
    opening: Flights<Held>,
}

#[derive(Clone)]
struct Held {
    connection: MultiplexedConnection,
    /// When it was opened, which tells it from others.
    opened: Instant,
    used: Instant,
}

impl Redis {
    /// A Redis at `redis://HOST:PORT`, or with TLS at `rediss://HOST:PORT`, whose certificate a root of
    /// this machine must vouch for. Nothing is connected to yet.
    pub(crate) fn open(url: &str) -> Result<Self, StoreError> {
        let bad = |message: String| StoreError::BadRedisUrl { url: without_password(url), message };
        if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
            return Err(bad("write redis://HOST:PORT, with TLS rediss://HOST:PORT".to_owned()));
        }
        // The driver takes the process's provider. Another that is there already does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let info = url.into_connection_info().map_err(|e| bad(e.to_string()))?;
        // Telling the server the driver's name would cost each new connection a round trip.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let client = Client::open(info.set_redis_settings(settings));
        Ok(Self {
            client: Arc::new(client.map_err(|e| bad(e.to_string()))?),
            shown: without_password(url).into(),
            held: Arc::default(),
            opening: Flights::default(),
        })
    }

    /// Its URL as it may be shown.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends a command, which must do no harm when it is done twice, and takes the answer.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        cmd: &Cmd,
        deadline: Duration,
    ) -> Result<T, RedisFault> {
        let end = Instant::now() + deadline;
        let late = |_| self.fault(format!("no answer within {deadline:?}"));
        let mut again = true;
        loop {
            let (mut held, new) = timeout_at(end, self.connection()).await.map_err(late)??;
            let answer = timeout_at(end, cmd.query_async(&mut held.connection)).await;
            match answer {
                Ok(Ok(value)) => {
                    self.used(&held);
                    return Ok(value);
                }
                Ok(Err(e)) => {
                    self.give_up(&held);
                    if new || !std::mem::replace(&mut again, false) {
                        return Err(self.fault(e.to_string()));
                    }
                }
                Err(elapsed) => {
                    self.give_up(&held);
                    return Err(late(elapsed));
                }
            }
        }
    }

    /// The connection held, or a new one, and whether it is new.
    async fn connection(&self) -> Result<(Held, bool), RedisFault> {
        loop {
            let held = self.slot().clone();
            if let Some(held) = held.filter(|held| held.used.elapsed() < IDLE_MAX) {
                return Ok((held, false));
            }
            let opening = match self.opening.join("") {
                Role::Wait(opening) => opening,
                Role::Lead(lead) => {
                    let opening = lead.wait();
                    tokio::spawn(self.clone().connect(lead));
                    opening
                }
            };
            match opening.landed().await {
                Some(Ok(held)) => return Ok((held, true)),
                Some(Err(reason)) => return Err(self.fault(reason)),
                None => {}
            }
        }
    }

    /// Opens a connection for all who wait for one.
    async fn connect(self, lead: Lead<Held>) {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        lead.land(match timeout(OPEN, connecting).await {
            Ok(Ok(connection)) => {
                let now = Instant::now();
                let held = Held { connection, opened: now, used: now };
                *self.slot() = Some(held.clone());
                Ok(held)
            }
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err(format!("no connection within {OPEN:?}")),
        });
    }

    fn used(&self, held: &Held) {
        let mut slot = self.slot();
        if let Some(now) = slot.as_mut().filter(|now| now.opened == held.opened) {
            now.used = Instant::now();
        }
    }

    /// Those who wait for answers on it may wait on.
    fn give_up(&self, held: &Held) {
        self.slot().take_if(|now| now.opened == held.opened);
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, reason: String) -> RedisFault {
        RedisFault { redis: self.shown.clone(), reason }
    }
}
