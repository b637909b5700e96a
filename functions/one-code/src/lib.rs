//! The reference service: a health-code system. A user registers and shows a code; venues scan it.
//!
//! The same [`router`] runs three ways: one process with every route group (a monolith), one process
//! a group (microservices), and as a Lambda function ([`lambda`]) that serves the groups the
//! configuration gives it. It degrades by the knobs of the plan ([`knobs`]).
//!
//! | route | group | answer |
//! | --- | --- | --- |
//! | `POST /v1/users` `{name, id_number}` | codes | 201 `{user, code}`; 200 when known already |
//! | `GET /v1/users/{user}/code` | codes | `{user, color, token, issued_at, expires_at}` |
//! | `GET /v1/users/{user}/qr` | codes | the token as an SVG picture |
//! | `POST /v1/scans` `{user or token, venue}` | scans | 201 `{user, venue, at}` |
//! | `GET /v1/users/{user}/scans?limit=N` | scans | `{user, scans}`, newest first |
//! | `GET /v1/venues/{venue}/stats` | venues | `{venue, last_hour, last_day, total, as_of}` |
//! | `GET /v1/notices` | notices | `{notices}` |
//! | `GET /healthz` | all | 200, or 503 while draining |
//!
//! Errors are `{"error": …}` with a 4xx or 5xx status.
//!
//! Where shards have replicas, histories, statistics and notices are asked of those and may be a moment
//! old; but whoever has scanned within the last ten seconds has a history of the shard's own, as far as the
//! cache is shared. Users are never looked up at a replica: a colour must be the present one.

pub mod alb;
mod api;
mod app;
mod codes;
pub mod knobs;
pub mod lambda;
mod meter;
mod notices;
pub mod onprem;
pub mod plan_on_use;
mod qr;
mod scans;
mod schema;
mod secret;
mod set_up;
mod venues;

pub use api::{GROUPS, UnknownGroup, router};
pub use app::{AppState, Clock, Parts};
pub use schema::{SEED_MAX, seed};
pub use secret::{Secret, SecretError};
pub use set_up::SetUpError;
