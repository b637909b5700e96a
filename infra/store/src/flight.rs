//! Single flight: of many requests that miss the same key at once, one loads and the others wait
//! for what it brings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// What a load brought, for those who waited: a value, or the words of the error.
pub(crate) type Landed<T> = Result<T, String>;

type Waiting<T> = watch::Receiver<Option<Landed<T>>>;

/// The loads under way, by key. As many as there are requests at most.
#[derive(Debug)]
pub(crate) struct Flights<T> {
    by_key: Arc<Mutex<HashMap<String, Waiting<T>>>>,
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self { by_key: self.by_key.clone() }
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { by_key: Arc::default() }
    }
}

/// What one request does about a key.
pub(crate) enum Role<T> {
    /// It loads.
    Lead(Lead<T>),
    /// Another loads already.
    Wait(Wait<T>),
}

/// The duty to load. Dropping it without a landing lets another request take over.
pub(crate) struct Lead<T> {
    flights: Flights<T>,
    key: String,
    landed: watch::Sender<Option<Landed<T>>>,
}

/// The right to what another request loads.
pub(crate) struct Wait<T>(Waiting<T>);

impl<T: Clone> Flights<T> {
    /// Joins the flight of a key or starts one.
    pub(crate) fn join(&self, key: &str) -> Role<T> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = by_key.get(key) {
            return Role::Wait(Wait(waiting.clone()));
        }
        let (landed, waiting) = watch::channel(None);
        by_key.insert(key.to_owned(), waiting);
        Role::Lead(Lead { flights: self.clone(), key: key.to_owned(), landed })
    }
}

impl<T> Lead<T> {
    /// The right to what it will load.
    pub(crate) fn wait(&self) -> Wait<T> {
        Wait(self.landed.subscribe())
    }

    /// Tells all who wait.
    pub(crate) fn land(self, outcome: Landed<T>) {
        self.landed.send_replace(Some(outcome));
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        let mut by_key = self.flights.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(&self.key);
    }
}

impl<T: Clone> Wait<T> {
    /// What was loaded; `None` when the request that loaded was given up.
    pub(crate) async fn landed(mut self) -> Option<Landed<T>> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(flights: &Flights<u32>) -> Lead<u32> {
        match flights.join("k") {
            Role::Lead(lead) => lead,
            Role::Wait(_) => panic!("another leads"),
        }
    }

    fn wait(flights: &Flights<u32>) -> Wait<u32> {
        match flights.join("k") {
            Role::Wait(wait) => wait,
            Role::Lead(_) => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn those_who_wait_get_what_the_leader_got() {
        let flights = Flights::default();
        for outcome in [Ok(7), Err("on fire".to_owned())] {
            let leader = lead(&flights);
            let waiting = [wait(&flights), wait(&flights)];
            leader.land(outcome.clone());
            for one in waiting {
                assert_eq!(one.landed().await, Some(outcome.clone()));
            }
        }
    }

    #[tokio::test]
    async fn a_leader_who_gives_up_leaves_the_place_to_another() {
        let flights = Flights::default();
        let leader = lead(&flights);
        let waiting = wait(&flights);
        drop(leader);
        assert_eq!(waiting.landed().await, None);
        lead(&flights).land(Ok(1));
        assert!(flights.by_key.lock().unwrap().is_empty(), "a flight is left behind");
    }
}
