//! The knobs this service has: what it leaves out, and when.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use spillway_model::{Plan, UnixMillis};

use crate::api::error_body;
use crate::app::AppState;

/// Names the knob that shaped an answer.
pub const KNOB_HEADER: HeaderName = HeaderName::from_static("x-spillway-knob");
/// The tier a refusal belongs to.
pub const TIER_HEADER: HeaderName = HeaderName::from_static("x-spillway-tier");

/// One knob. Its id is the one in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knob {
    /// Notices may be ten minutes old.
    NoticesCached,
    /// Venue statistics may be ten minutes old.
    StatsFrozen,
    /// The scan history is not shown.
    HistoryHidden,
    /// The picture of the code is replaced by its text.
    QrText,
    /// Only the code, as text, and scanning work.
    EssentialOnly,
}

impl Knob {
    /// All of them, mildest first.
    pub const ALL: [Self; 5] = [
        Self::NoticesCached,
        Self::StatsFrozen,
        Self::HistoryHidden,
        Self::QrText,
        Self::EssentialOnly,
    ];

    /// Its id in the configuration and in plans.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::NoticesCached => "notices-cached",
            Self::StatsFrozen => "stats-frozen",
            Self::HistoryHidden => "history-hidden",
            Self::QrText => "qr-text",
            Self::EssentialOnly => "essential-only",
        }
    }

    /// Marks an answer as shaped by this knob.
    pub(crate) fn mark(self, answer: impl IntoResponse) -> Response {
        let mut answer = answer.into_response();
        answer.headers_mut().insert(KNOB_HEADER, HeaderValue::from_static(self.id()));
        answer
    }
}

/// The knobs that are on at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Knobs([bool; Knob::ALL.len()]);

impl Knobs {
    /// Reads them off a plan. Knobs of other services are passed over.
    #[must_use]
    pub fn on(plan: &Plan, now: UnixMillis) -> Self {
        let mut on = [false; Knob::ALL.len()];
        for id in plan.knobs.keys().filter(|id| plan.knob_on(id, now)) {
            if let Some(index) = Knob::ALL.iter().position(|knob| knob.id() == id.as_str()) {
                on[index] = true;
            }
        }
        Self(on)
    }

    /// Whether one is on.
    #[must_use]
    pub fn has(self, knob: Knob) -> bool {
        self.0[knob as usize]
    }

    /// The harshest of `knobs` that is on.
    pub(crate) fn harshest<const N: usize>(self, knobs: [Knob; N]) -> Option<Knob> {
        knobs.into_iter().filter(|knob| self.has(*knob)).max_by_key(|knob| *knob as usize)
    }
}

/// Refuses requests of the routes it is laid over while only the essential is served.
pub(crate) async fn not_essential(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if !app.knobs().has(Knob::EssentialOnly) {
        return next.run(request).await;
    }
    let later = "Very many people use the service now. Showing your code and scanning work; please \
                 come back for everything else in a little while.";
    let headers = [
        (header::RETRY_AFTER, HeaderValue::from_static("30")),
        (TIER_HEADER, HeaderValue::from_static("3")),
    ];
    Knob::EssentialOnly.mark((StatusCode::SERVICE_UNAVAILABLE, headers, error_body(later)))
}

#[cfg(test)]
mod tests {
    use spillway_model::KnobId;
    use spillway_model::config::Config;
    use spillway_model::plan::KnobLease;

    use super::*;

    #[test]
    fn the_example_configuration_knows_every_knob() {
        let text = include_str!("../../../examples/spillway.toml");
        let config = Config::parse(text, std::path::Path::new(".")).unwrap();
        let configured: Vec<&str> = config.knobs.iter().map(|knob| knob.id.as_str()).collect();
        assert_eq!(configured, Knob::ALL.map(Knob::id));
    }

    #[test]
    fn leases_run_out_and_strangers_do_not_count() {
        let mut plan = Plan::initial([], 5);
        for (id, until) in
            [("qr-text", 1000), ("history-hidden", 2000), ("of-another-service", 9000)]
        {
            let lease = KnobLease { until: UnixMillis(until), by: "tier 2".to_owned() };
            plan.knobs.insert(KnobId::new(id).unwrap(), lease);
        }
        let on = |now| {
            let knobs = Knobs::on(&plan, UnixMillis(now));
            Knob::ALL.into_iter().filter(|knob| knobs.has(*knob)).collect::<Vec<_>>()
        };
        assert_eq!(on(999), [Knob::HistoryHidden, Knob::QrText]);
        assert_eq!(on(1000), [Knob::HistoryHidden]);
        assert_eq!(on(2000), []);
    }
}
