//! What the API tells: status, knobs, decisions, and why.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::value::RawValue;
use spillway_decide::explain_client;
use spillway_model::UnixMillis;
use spillway_model::api::{Decision, EventStatus, Explain, KnobStatus, OrderStatus, Status};
use spillway_part::clock;

use super::{Api, ApiError, query};
use crate::agent::Shared;
use crate::orders;

/// Decisions told when no limit is asked for.
const DECISIONS: u32 = 50;
/// Most decisions told at once.
const DECISIONS_MAX: u32 = 10_000;

/// A view that is older than this many ticks tells that the loop hangs.
const LATE_TICKS: u64 = 5;

pub(super) fn status_now(api: &Api) -> Status {
    let (view, now) = (api.shared.view.load_full(), clock::now());
    let mut warnings = view.warnings.clone();
    let age_ms = now.millis_since(view.at);
    if age_ms > LATE_TICKS * api.shared.config.agent.tick_ms {
        warnings.insert(0, format!("the agent has decided nothing for {} s", age_ms / 1000));
    }
    let silent = view.parts.iter().filter_map(|part| Some((&part.name, part.error.as_ref()?)));
    warnings.extend(silent.map(|(name, why)| format!("{name} does not answer: {why}")));
    let decision = view.decision.as_ref();
    let plan = &view.in_force;
    Status {
        at: view.at,
        generation: plan.generation,
        tier: decision.map_or(plan.tier, |decision| decision.tier),
        headline: view.headline.clone(),
        warnings,
        mode: decision.map(|decision| decision.mode).unwrap_or_default(),
        advice: decision.map(|decision| decision.advice.clone()).unwrap_or_default(),
        orders: orders_now(api, now),
        knobs: plan.knobs.keys().filter(|id| plan.knob_on(id, now)).cloned().collect(),
        replaced: None,
        sites: view.sites.clone(),
        cloud: view.cloud.clone(),
        parts: view.parts.clone(),
    }
}

fn orders_now(api: &Api, now: UnixMillis) -> Vec<OrderStatus> {
    orders::told(&api.shared.orders.live(now).0)
}

pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    Json(status_now(&api))
}

pub(super) async fn knobs(State(api): State<Api>) -> Json<Vec<KnobStatus>> {
    Json(knobs_now(&api.shared, clock::now()))
}

pub(super) async fn events(State(api): State<Api>) -> Json<Vec<EventStatus>> {
    let events = api.shared.orders.live(clock::now()).0.events.into_iter();
    let mut events: Vec<_> = events
        .map(|(name, (order, until))| EventStatus {
            name,
            at: order.at,
            until,
            factor: order.factor,
            site: order.site,
            by: order.by,
        })
        .collect();
    events.sort_by_key(|event| event.at);
    Json(events)
}

/// Every knob, as the plan and the orders have it.
pub(super) fn knobs_now(shared: &Shared, now: UnixMillis) -> Vec<KnobStatus> {
    let plan = shared.view.load().in_force.clone();
    let mut knobs = shared.registry.status(&plan, now);
    let (orders, _) = shared.orders.live(now);
    knobs.iter_mut().for_each(|knob| orders::tell_knob(knob, &orders, now));
    knobs
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

/// The decision of the last tick, the last one until a time, or the one that published a generation.
pub(super) async fn decision(
    State(api): State<Api>,
    Path(which): Path<String>,
) -> Result<Json<Decision>, ApiError> {
    let journal = &api.shared.journal;
    let found = if which == "last" {
        api.shared.view.load().decision.clone()
    } else if let Ok(generation) = which.parse() {
        journal.decision_of(generation).await?
    } else if let Ok(at) = which.parse::<UnixMillis>() {
        journal.decision_at(at).await?
    } else {
        return Err(ApiError::BadRequest(format!(
            "`{which}` names no decision: write a time, a generation, or `last`"
        )));
    };
    found.map(Json).ok_or(ApiError::NoSuchDecision(which))
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
    let client = client.map(|client| explain_client(&api.shared.policy, &view.in_force, client));
    let plan = (*view.in_force).clone();
    let (decision, published) = (view.decision.clone(), view.published.clone());
    Ok(Json(Explain { plan, decision, published, orders: orders_now(&api, clock::now()), client }))
}
