//! What the API tells: status, knobs, decisions, and why.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::value::RawValue;
use spillway_decide::explain_client;
use spillway_model::api::{Explain, KnobStatus, Status};
use spillway_part::clock;

use super::{Api, ApiError, query};

/// Decisions told when no limit is asked for.
const DECISIONS: u32 = 50;
/// Most decisions told at once.
const DECISIONS_MAX: u32 = 10_000;

pub(super) fn status_now(api: &Api) -> Status {
    let view = api.shared.view.load_full();
    Status {
        at: view.at,
        generation: view.plan.generation,
        tier: view.plan.tier,
        headline: view.headline.clone(),
        warnings: Vec::new(),
        orders: Vec::new(),
        replaced: None,
        sites: view.sites.clone(),
        cloud: view.cloud.clone(),
        parts: view.parts.clone(),
    }
}

pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    Json(status_now(&api))
}

pub(super) async fn knobs(State(api): State<Api>) -> Json<Vec<KnobStatus>> {
    let plan = api.shared.view.load().plan.clone();
    Json(api.shared.registry.status(&plan, clock::now()))
}

#[derive(Deserialize)]
pub(super) struct DecisionsQuery {
    after: Option<u64>,
    limit: Option<u32>,
}

pub(super) async fn decisions(
    State(api): State<Api>,
    asked: Result<Query<DecisionsQuery>, QueryRejection>,
) -> Result<Json<Vec<Box<RawValue>>>, ApiError> {
    let asked = query(asked)?;
    let limit = asked.limit.unwrap_or(DECISIONS);
    if !(1..=DECISIONS_MAX).contains(&limit) {
        let message = format!("`limit` is {limit}: write 1 to {DECISIONS_MAX}");
        return Err(ApiError::BadRequest(message));
    }
    Ok(Json(api.shared.journal.decisions(asked.after, limit).await?))
}

#[derive(Deserialize)]
pub(super) struct ExplainQuery {
    client: Option<String>,
}

pub(super) async fn explain(
    State(api): State<Api>,
    asked: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Json<Explain>, ApiError> {
    let client = match query(asked)?.client {
        None => None,
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| {
            let example =
                "write one address, for example `client=192.0.2.7` or `client=2001:db8::7`";
            ApiError::BadRequest(format!("`client` is not an IP address: {example}"))
        })?),
    };
    let view = api.shared.view.load_full();
    let client = client.map(|client| explain_client(&api.shared.policy, &view.plan, client));
    let plan = (*view.plan).clone();
    let published = view.made_by.clone();
    Ok(Json(Explain { plan, decision: published.clone(), published, orders: Vec::new(), client }))
}
