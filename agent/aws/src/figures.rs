//! Figures in both directions, once a minute: what the agent knows of the sites goes to CloudWatch, where
//! alarms watch it, and what CloudWatch knows of the cloud goes to `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDatum, MetricStat, ScanBy, StandardUnit,
};
use spillway_model::api::Status;
use spillway_model::config::Aws;
use spillway_model::{Config, UnixMillis};
use spillway_part::client::Client;
use spillway_part::{Shutdown, clock};

use crate::call::{CallError, chain};
use crate::clients::Clients;

/// The alarms' own period.
const EVERY: Duration = Duration::from_secs(60);
/// The namespace that the agent's role may publish in.
const NAMESPACE: &str = "Spillway";
/// CloudWatch has a minute's figures some minutes later.
const WINDOW_SECS: u64 = 300;
/// The agent answers within.
const AGENT: Duration = Duration::from_secs(3);

/// The cloud's figures of the last whole minute, by name and subject.
#[derive(Debug, Default)]
pub(crate) struct Figures(Mutex<BTreeMap<(&'static str, String), f64>>);

impl Figures {
    /// In the Prometheus text exposition format.
    #[must_use]
    pub(crate) fn metrics(&self) -> String {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::new();
        let mut before = "";
        for ((name, of), value) in figures.iter() {
            if *name != before {
                let _ = writeln!(
                    page,
                    "# HELP spillway_aws_{name} What CloudWatch has of the last minute.\n# TYPE spillway_aws_{name} gauge"
                );
            }
            before = name;
            let _ = writeln!(page, "spillway_aws_{name}{{of=\"{of}\"}} {value}");
        }
        page
    }
}

/// Publishes and reads until `shutdown`.
pub(crate) async fn exchange(
    clients: &Clients,
    config: &Config,
    aws: &Aws,
    figures: &Figures,
    shutdown: &Shutdown,
) {
    let agent = Client::default();
    let mut heard = true;
    loop {
        match agent.get::<Status>(config.agent.listen, "/v1/status", AGENT).await {
            Ok(status) => {
                heard = true;
                // The call is noted where it is made.
                let _ = publish(clients, &status).await;
            }
            // Nothing is published then: an alarm tells people of the silence.
            Err(e) if std::mem::replace(&mut heard, false) => {
                tracing::warn!(
                    reason = chain(&e),
                    "the agent does not answer; its figures are not published"
                );
            }
            Err(_) => {}
        }
        if let Ok(mut read) = read(clients, aws).await {
            read.extend(quotas(clients, aws).await.unwrap_or_default());
            *figures.0.lock().unwrap_or_else(PoisonError::into_inner) = read;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// `UplinkUse` (part of the cap), `Share` and `Tier` of each site, as module alarms expects them.
fn data(status: &Status) -> Vec<MetricDatum> {
    let millis = i64::try_from(status.at.0).unwrap_or(i64::MAX);
    let tier = f64::from(u8::from(status.tier));
    let of_site = status.sites.iter().flat_map(|(id, site)| {
        let cap = site.uplink_cap_bits_per_sec;
        let uplink = if cap > 0.0 { site.uplink_bits_per_sec / cap } else { 0.0 };
        let values = [("UplinkUse", uplink), ("Share", site.share.get()), ("Tier", tier)];
        values.map(|(name, value)| {
            let dimension = Dimension::builder().name("Site").value(id.as_str()).build();
            MetricDatum::builder()
                .metric_name(name)
                .dimensions(dimension)
                .timestamp(DateTime::from_millis(millis))
                .value(value)
                .unit(StandardUnit::None)
                .build()
        })
    });
    of_site.collect()
}

async fn publish(clients: &Clients, status: &Status) -> Result<(), CallError> {
    // One call takes a thousand.
    for data in data(status).chunks(1000) {
        let call = clients.cloudwatch.put_metric_data().namespace(NAMESPACE);
        let call = call.set_metric_data(Some(data.to_vec()));
        clients.calls.make("cloudwatch:PutMetricData", call.send()).await?;
    }
    Ok(())
}

/// One figure to ask for: its name and subject here, and what CloudWatch calls it.
struct Wanted {
    name: &'static str,
    of: String,
    namespace: &'static str,
    metric: &'static str,
    dimension: (&'static str, String),
    statistic: &'static str,
}

/// The load balancer of a rule: `app/NAME/ID`, as CloudWatch calls it.
fn load_balancer(rule: &str) -> Option<String> {
    let (_, path) = rule.split_once(":listener-rule/")?;
    let parts: Vec<&str> = path.split('/').take(3).collect();
    (parts.len() == 3).then(|| parts.join("/"))
}

fn wanted(aws: &Aws) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    if let Some(balancer) = aws.rules.iter().find_map(|rule| load_balancer(&rule.arn)) {
        for (name, metric, statistic) in [
            ("balancer_requests", "RequestCount", "Sum"),
            ("balancer_5xx", "HTTPCode_ELB_5XX_Count", "Sum"),
            ("target_5xx", "HTTPCode_Target_5XX_Count", "Sum"),
            ("target_p95_seconds", "TargetResponseTime", "p95"),
        ] {
            wanted.push(Wanted {
                name,
                of: balancer.clone(),
                namespace: "AWS/ApplicationELB",
                metric,
                dimension: ("LoadBalancer", balancer.clone()),
                statistic,
            });
        }
    }
    for (function, there) in &aws.functions {
        for (name, metric, statistic) in [
            ("function_invocations", "Invocations", "Sum"),
            ("function_throttles", "Throttles", "Sum"),
            ("function_errors", "Errors", "Sum"),
            ("function_concurrency", "ConcurrentExecutions", "Maximum"),
            ("function_p95_milliseconds", "Duration", "p95"),
        ] {
            wanted.push(Wanted {
                name,
                of: function.clone(),
                namespace: "AWS/Lambda",
                metric,
                dimension: ("FunctionName", there.name.clone()),
                statistic,
            });
        }
    }
    wanted
}

async fn read(
    clients: &Clients,
    aws: &Aws,
) -> Result<BTreeMap<(&'static str, String), f64>, CallError> {
    let wanted = wanted(aws);
    let now = clock::now();
    let time =
        |at: UnixMillis| DateTime::from_secs(i64::try_from(at.0 / 60_000 * 60).unwrap_or(i64::MAX));
    let mut found = BTreeMap::new();
    // One call takes 500 queries.
    for wanted in wanted.chunks(500) {
        let queries = wanted.iter().enumerate().map(|(i, wanted)| {
            let (name, value) = &wanted.dimension;
            let metric = Metric::builder()
                .namespace(wanted.namespace)
                .metric_name(wanted.metric)
                .dimensions(Dimension::builder().name(*name).value(value).build());
            let stat =
                MetricStat::builder().metric(metric.build()).period(60).stat(wanted.statistic);
            MetricDataQuery::builder().id(format!("q{i}")).metric_stat(stat.build()).build()
        });
        let call = clients
            .cloudwatch
            .get_metric_data()
            .set_metric_data_queries(Some(queries.collect()))
            .start_time(time(UnixMillis(now.0.saturating_sub(WINDOW_SECS * 1000))))
            .end_time(time(now))
            .scan_by(ScanBy::TimestampDescending);
        let answer = clients.calls.make("cloudwatch:GetMetricData", call.send()).await?;
        for result in answer.metric_data_results() {
            let i = result.id().and_then(|id| id.strip_prefix('q')?.parse::<usize>().ok());
            let wanted = i.and_then(|i| wanted.get(i));
            if let (Some(wanted), Some(value)) = (wanted, result.values().first()) {
                found.insert((wanted.name, wanted.of.clone()), *value);
            }
        }
    }
    Ok(found)
}

/// How many environments the account may have at once, and how many of them no function has reserved.
async fn quotas(
    clients: &Clients,
    aws: &Aws,
) -> Result<BTreeMap<(&'static str, String), f64>, CallError> {
    let mut found = BTreeMap::new();
    if aws.functions.is_empty() {
        return Ok(found);
    }
    let call = clients.lambda.get_account_settings();
    let answer = clients.calls.make("lambda:GetAccountSettings", call.send()).await?;
    if let Some(limit) = answer.account_limit() {
        let mut put = |name, n: i32| found.insert((name, aws.region.clone()), f64::from(n));
        put("account_concurrency_limit", limit.concurrent_executions());
        if let Some(unreserved) = limit.unreserved_concurrent_executions() {
            put("account_concurrency_unreserved", unreserved);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_tells_its_load_balancer() {
        let rule = "arn:aws:elasticloadbalancing:eu-central-1:1:listener-rule/app/east/0a/1b/2c";
        assert_eq!(load_balancer(rule).as_deref(), Some("app/east/0a"));
        assert_eq!(load_balancer("arn:aws:elasticloadbalancing:eu-central-1:1:listener/app"), None);
    }

    #[test]
    fn figures_are_families() {
        let figures = Figures::default();
        figures.0.lock().unwrap().insert(("function_errors", "one-code".to_owned()), 2.0);
        let page = figures.metrics();
        assert!(page.contains("# TYPE spillway_aws_function_errors gauge\n"), "{page}");
        assert!(page.ends_with("spillway_aws_function_errors{of=\"one-code\"} 2\n"), "{page}");
    }
}
