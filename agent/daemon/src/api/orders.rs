//! What is ordered: by operators to hold a tier, a share or the number of gateways, to turn a knob on or
//! keep it off, to act or only to tell, to be ready for an event; by alarms to hold a tier.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use spillway_model::api::{
    AlarmChange, EventOrder, GatewaysOrder, KnobOrder, KnobStatus, ModeOrder, OrderStatus,
    ShareOrder, Status, TierOrder,
};
use spillway_model::{EventId, KnobId, SiteId, UnixMillis};
use spillway_part::clock;

use super::{Api, ApiError, body, read};
use crate::agent::Shared;
use crate::journal::Audit;
use crate::orders::{Given, Order, tell_knob};
use crate::reader::chain;

/// How long the journal may take to keep an order before it is obeyed without.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);
/// An order is answered once it is in effect, or after this many ticks.
const TICKS_MAX: u32 = 2;

pub(super) async fn put_tier(
    State(api): State<Api>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    let order: TierOrder = read_order(sent).await?;
    given(&api, Order::Tier(Some(order))).await
}

pub(super) async fn delete_tier(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    given(&api, Order::Tier(None)).await
}

pub(super) async fn put_knob(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<KnobStatus>, ApiError> {
    authorize(&api, &headers)?;
    let id = knob(&api, id)?;
    let order: KnobOrder = read_order(sent).await?;
    let replaced = give(&api, Order::Knob(id.clone(), Some(order))).await?;
    knob_status(&api, &id, replaced)
}

pub(super) async fn delete_knob(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<KnobStatus>, ApiError> {
    authorize(&api, &headers)?;
    let id = knob(&api, id)?;
    let replaced = give(&api, Order::Knob(id.clone(), None)).await?;
    knob_status(&api, &id, replaced)
}

pub(super) async fn put_share(
    State(api): State<Api>,
    Path(site): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    let site = site_of(&api, &site)?;
    let order: ShareOrder = read_order(sent).await?;
    given(&api, Order::Share(site, Some(order))).await
}

pub(super) async fn delete_share(
    State(api): State<Api>,
    Path(site): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    given(&api, Order::Share(site_of(&api, &site)?, None)).await
}

pub(super) async fn put_gateways(
    State(api): State<Api>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    let order: GatewaysOrder = read_order(sent).await?;
    let aws = api.shared.config.cloud.aws.as_ref();
    let max = aws.and_then(|aws| aws.gateways.as_ref()).map(|gateways| gateways.max);
    match max {
        None => {
            let why =
                "there are no gateways in the cloud: the configuration has no [cloud.aws.gateways]";
            return Err(ApiError::BadRequest(why.to_owned()));
        }
        Some(max) if order.gateways > max => {
            let ordered = order.gateways;
            return Err(ApiError::BadRequest(format!(
                "`gateways` is {ordered}, but the configuration allows {max} at most"
            )));
        }
        Some(_) => {}
    }
    given(&api, Order::Gateways(Some(order))).await
}

pub(super) async fn delete_gateways(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    given(&api, Order::Gateways(None)).await
}

pub(super) async fn put_mode(
    State(api): State<Api>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    let order: ModeOrder = read_order(sent).await?;
    given(&api, Order::Mode(Some(order))).await
}

pub(super) async fn delete_mode(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    given(&api, Order::Mode(None)).await
}

pub(super) async fn put_event(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    let name = event(&name)?;
    let order: EventOrder = read_order(sent).await?;
    if let Some(site) = &order.site {
        site_of(&api, site.as_str())?;
    }
    given(&api, Order::Event(name, Some(order))).await
}

pub(super) async fn delete_event(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    given(&api, Order::Event(event(&name)?, None)).await
}

/// Takes a change of an alarm. One that is known already, or about a site that is not here, is answered
/// like any other: whoever tells of alarms tells every agent, and perhaps more than once.
pub(super) async fn post_alarm(
    State(api): State<Api>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Status>, ApiError> {
    authorize(&api, &headers)?;
    let change: AlarmChange = read_order(sent).await?;
    let here = |site: &SiteId| api.shared.config.sites.iter().any(|known| known.id == *site);
    let replaced = match &change.site {
        Some(site) if !here(site) => None,
        _ => give(&api, Order::Alarm(change)).await?,
    };
    Ok(Json(Status { replaced, ..read::status_now(&api) }))
}

fn authorize(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    const SCHEME: &[u8] = b"Bearer ";
    let offered = headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let offered = offered.and_then(|value| value.split_at_checked(SCHEME.len()));
    match offered {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case(SCHEME) && api.shared.state_dir.token.is(token) =>
        {
            Ok(())
        }
        _ => Err(ApiError::Unauthorized),
    }
}

async fn read_order<T: DeserializeOwned>(sent: Body) -> Result<T, ApiError> {
    let bytes = body(sent).await?;
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::BadRequest(format!("the body is not such an order: {e}")))
}

fn event(name: &str) -> Result<EventId, ApiError> {
    name.parse().map_err(|e: spillway_model::ids::BadName| ApiError::BadRequest(e.to_string()))
}

fn site_of(api: &Api, name: &str) -> Result<SiteId, ApiError> {
    let sites = &api.shared.config.sites;
    if let Some(site) = sites.iter().find(|site| site.id.as_str() == name) {
        return Ok(site.id.clone());
    }
    let known: Vec<_> = sites.iter().map(|site| site.id.as_str()).collect();
    Err(ApiError::NoSuchSite { site: name.to_owned(), known: known.join(", ") })
}

fn knob(api: &Api, id: String) -> Result<KnobId, ApiError> {
    let registry = &api.shared.registry;
    match registry.knob(&id) {
        Some(knob) => Ok(knob.id.clone()),
        None => {
            let known: Vec<_> = registry.knobs().iter().map(|knob| knob.id.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(ApiError::NoSuchKnob { id, known })
        }
    }
}

fn knob_status(
    api: &Api,
    id: &KnobId,
    replaced: Option<OrderStatus>,
) -> Result<Json<KnobStatus>, ApiError> {
    let (plan, now) = (api.shared.view.load().in_force.clone(), clock::now());
    let status = api.shared.registry.status_of(id, &plan, now);
    let mut status = status.ok_or(ApiError::NoSuchPath)?;
    tell_knob(&mut status, &api.shared.orders.live(now).0, now);
    Ok(Json(KnobStatus { replaced, ..status }))
}

/// The status once an order is in force.
async fn given(api: &Api, order: Order) -> Result<Json<Status>, ApiError> {
    let replaced = give(api, order).await?;
    Ok(Json(Status { replaced, ..read::status_now(api) }))
}

/// Keeps an order, puts it in force, and waits until it has taken effect, unless it says nothing new.
/// Returns the order that it replaced or cleared.
async fn give(api: &Api, order: Order) -> Result<Option<OrderStatus>, ApiError> {
    order.check().map_err(ApiError::BadRequest)?;
    let body = order.body()?;
    let shared = api.shared.clone();
    // A task of its own, so that a client that leaves does not leave an order half given.
    let giving = tokio::spawn(async move {
        let turn = shared.order_turn.lock().await;
        let now = clock::now();
        if !shared.orders.is_news(&order, now)? {
            return Ok(None);
        }
        keep(&shared, &order, body.as_deref(), now).await;
        let given = shared.orders.apply(order, now);
        drop(turn);
        if *shared.applied.borrow() < given.version {
            shared.wake.notify_one();
        }
        Ok::<_, ApiError>(Some(given))
    });
    let given = giving.await.map_err(|_| ApiError::Ending)??;
    let Some(Given { version, replaced }) = given else { return Ok(None) };
    let ticks = Duration::from_millis(api.shared.config.agent.tick_ms) * TICKS_MAX;
    let mut applied = api.shared.applied.subscribe();
    let effect = applied.wait_for(|applied| *applied >= version);
    // Whether or not it is in effect by then, the order is given; the answer shows which.
    let _in_effect = tokio::time::timeout(ticks, effect).await;
    Ok(replaced)
}

/// Writes an order to the journal. In an emergency an order counts for more than its journal entry,
/// so one that cannot be kept is obeyed all the same, and the log is its audit.
async fn keep(shared: &Shared, order: &Order, body: Option<&str>, now: UnixMillis) {
    let (who, what, subject) = (order.who(), order.what(), order.subject());
    tracing::info!(%who, what, "an order");
    let kept = order.kept_until(now).zip(body);
    let written = shared.journal.order(&subject, kept, Audit { at: now, who: &who, what: &what });
    let reason = match tokio::time::timeout(JOURNAL_TIMEOUT, written).await {
        Ok(Ok(())) => return,
        Ok(Err(e)) => chain(&e),
        Err(_) => format!("it took more than {JOURNAL_TIMEOUT:?}"),
    };
    tracing::warn!(
        subject,
        reason,
        "the journal cannot keep an order; it is obeyed, but would not survive a restart"
    );
}
