//! Figures in both directions, once a minute: what the agent knows of the sites goes to CloudWatch, where
//! alarms watch it, and what CloudWatch knows of the cloud goes to `/metrics`. Now and then quotas are
//! compared with what may be wanted, and spend is read where that is asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDatum, MetricStat, ScanBy, StandardUnit,
};
use spillway_model::api::Status;
use spillway_model::config::Aws;
use spillway_model::load::{FleetLoad, Spend};
use spillway_model::{Config, UnixMillis};
use spillway_part::Shutdown;
use spillway_part::client::Client;

use crate::call::{CallError, chain};
use crate::clients::Clients;
use crate::{look, quotas};

/// The alarms' own period.
const EVERY: Duration = Duration::from_secs(60);
/// The namespace that the agent's role may publish in.
const NAMESPACE: &str = "Spillway";
/// CloudWatch has a minute's figures some minutes later.
const WINDOW_SECS: u64 = 300;
/// The agent answers within.
const AGENT: Duration = Duration::from_secs(3);

/// Quotas are read in every so many rounds,
const QUOTAS_EVERY: u32 = 10;
/// and spend, which AWS estimates some times a day, in every so many.
const SPEND_EVERY: u32 = 30;
/// Where AWS publishes what an account costs.
pub(crate) const BILLING_REGION: &str = "us-east-1";
/// An estimate of spend is looked for so far back.
const SPEND_WINDOW_SECS: u64 = 86_400;

/// Figures by name and subject.
pub(crate) type Values = BTreeMap<(&'static str, String), f64>;

/// What is known of the cloud beside what there is.
#[derive(Debug, Default)]
pub(crate) struct Figures(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Of the last whole minute.
    minute: Values,
    /// What the account may have.
    quotas: Values,
    spend: Option<Spend>,
    warnings: Vec<String>,
}

impl Figures {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of spend and of quotas that bind.
    pub(crate) fn add_to(&self, load: &mut FleetLoad) {
        let known = self.lock();
        load.spend = known.spend;
        load.warnings.extend(known.warnings.iter().cloned());
    }

    /// In the Prometheus text exposition format.
    #[must_use]
    pub(crate) fn metrics(&self) -> String {
        let known = self.lock();
        let mut page = String::new();
        let mut before = "";
        for ((name, of), value) in known.minute.iter().chain(&known.quotas) {
            if *name != before {
                let _ = writeln!(
                    page,
                    "# HELP spillway_aws_{name} What AWS last said of it.\n# TYPE spillway_aws_{name} gauge"
                );
            }
            before = name;
            let _ = writeln!(page, "spillway_aws_{name}{{of=\"{of}\"}} {value}");
        }
        if let Some(Spend { usd, at }) = known.spend {
            let seconds = at.0 / 1000;
            let _ = writeln!(
                page,
                "# HELP spillway_aws_spend_usd What the account has cost this month, as estimated.\n\
                 # TYPE spillway_aws_spend_usd gauge\nspillway_aws_spend_usd {usd}\n\
                 # HELP spillway_aws_spend_timestamp_seconds When that was estimated.\n\
                 # TYPE spillway_aws_spend_timestamp_seconds gauge\nspillway_aws_spend_timestamp_seconds {seconds}"
            );
        }
        page
    }
}

/// Publishes and reads until `shutdown`. `seen` is what there is.
pub(crate) async fn exchange(
    clients: &Clients,
    config: &Config,
    aws: &Aws,
    figures: &Figures,
    seen: &Mutex<Option<FleetLoad>>,
    shutdown: &Shutdown,
) {
    let agent = Client::default();
    let mut heard = true;
    for round in 0_u32.. {
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
        let there = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        figures.update(clients, aws, there.as_ref(), round).await;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

impl Figures {
    /// Reads what is due in a round. What cannot be read stays as it was, and is among the faults of the
    /// calls.
    pub(crate) async fn update(
        &self,
        clients: &Clients,
        aws: &Aws,
        there: Option<&FleetLoad>,
        round: u32,
    ) {
        if let Ok(minute) = read(clients, aws).await {
            self.lock().minute = minute;
        }
        if aws.billing
            && round.is_multiple_of(SPEND_EVERY)
            && let Ok(spend) = spend(clients).await
        {
            self.lock().spend = spend;
        }
        if round.is_multiple_of(QUOTAS_EVERY) {
            let quotas = quotas::read(clients, aws).await;
            let mut known = self.lock();
            known.warnings = quotas::warnings(aws, &quotas, there, &known.minute);
            known.quotas = quotas.figures(&aws.region);
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
pub(crate) fn load_balancer(rule: &str) -> Option<String> {
    let (_, path) = rule.split_once(":listener-rule/")?;
    let parts: Vec<&str> = path.split('/').take(3).collect();
    (parts.len() == 3).then(|| parts.join("/"))
}

const BALANCER: [(&str, &str, &str); 5] = [
    ("balancer_requests", "RequestCount", "Sum"),
    ("balancer_new_connections", "NewConnectionCount", "Sum"),
    ("balancer_5xx", "HTTPCode_ELB_5XX_Count", "Sum"),
    ("target_5xx", "HTTPCode_Target_5XX_Count", "Sum"),
    ("target_p95_seconds", "TargetResponseTime", "p95"),
];
const FUNCTION: [(&str, &str, &str); 5] = [
    ("function_invocations", "Invocations", "Sum"),
    ("function_throttles", "Throttles", "Sum"),
    ("function_errors", "Errors", "Sum"),
    (FUNCTION_CONCURRENCY, "ConcurrentExecutions", "Maximum"),
    ("function_p95_milliseconds", "Duration", "p95"),
];
/// Most environments of a function at once.
pub(crate) const FUNCTION_CONCURRENCY: &str = "function_concurrency";
const CACHE: [(&str, &str, &str); 3] = [
    ("cache_cpu_percent", "EngineCPUUtilization", "Maximum"),
    ("cache_connections", "CurrConnections", "Maximum"),
    ("cache_replication_lag_seconds", "ReplicationLag", "Maximum"),
];
const DATABASE: [(&str, &str, &str); 3] = [
    ("database_cpu_percent", "CPUUtilization", "Maximum"),
    ("database_connections", "DatabaseConnections", "Maximum"),
    ("database_replica_lag_milliseconds", "AuroraReplicaLag", "Maximum"),
];

/// What to ask for. Nodes of the cache and instances of the database come and go.
fn wanted(aws: &Aws, nodes: &[String], instances: &[String]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut add = |metrics: &[(&'static str, &'static str, &'static str)],
                   namespace: &'static str,
                   of: &str,
                   dimension: (&'static str, &str)| {
        wanted.extend(metrics.iter().map(|&(name, metric, statistic)| Wanted {
            name,
            of: of.to_owned(),
            namespace,
            metric,
            dimension: (dimension.0, dimension.1.to_owned()),
            statistic,
        }));
    };
    if let Some(balancer) = aws.rules.iter().find_map(|rule| load_balancer(&rule.arn)) {
        add(&BALANCER, "AWS/ApplicationELB", &balancer, ("LoadBalancer", &balancer));
    }
    for (function, there) in &aws.functions {
        add(&FUNCTION, "AWS/Lambda", function, ("FunctionName", &there.name));
    }
    for node in nodes {
        add(&CACHE, "AWS/ElastiCache", node, ("CacheClusterId", node));
    }
    for instance in instances {
        add(&DATABASE, "AWS/RDS", instance, ("DBInstanceIdentifier", instance));
    }
    wanted
}

async fn read(clients: &Clients, aws: &Aws) -> Result<Values, CallError> {
    let nodes = look::cache_nodes(clients, aws).await.unwrap_or_default();
    let instances = look::database_instances(clients, aws).await.unwrap_or_default();
    let wanted = wanted(aws, &nodes, &instances);
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
        let now = (clients.now)();
        let answer = ask(clients, &clients.cloudwatch, queries.collect(), now, WINDOW_SECS).await?;
        for (id, (_, value)) in answer {
            let wanted = id.strip_prefix('q').and_then(|id| wanted.get(id.parse::<usize>().ok()?));
            if let Some(wanted) = wanted {
                found.insert((wanted.name, wanted.of.clone()), value);
            }
        }
    }
    Ok(found)
}

/// The newest value of each query in the time before `now`, and of when it is.
pub(crate) async fn ask(
    clients: &Clients,
    cloudwatch: &aws_sdk_cloudwatch::Client,
    queries: Vec<MetricDataQuery>,
    now: UnixMillis,
    window_secs: u64,
) -> Result<BTreeMap<String, (UnixMillis, f64)>, CallError> {
    let time =
        |at: UnixMillis| DateTime::from_secs(i64::try_from(at.0 / 60_000 * 60).unwrap_or(i64::MAX));
    let call = cloudwatch
        .get_metric_data()
        .set_metric_data_queries(Some(queries))
        .start_time(time(UnixMillis(now.0.saturating_sub(window_secs * 1000))))
        .end_time(time(now))
        .scan_by(ScanBy::TimestampDescending);
    let answer = clients.calls.make("cloudwatch:GetMetricData", call.send()).await?;
    let newest = answer.metric_data_results().iter().filter_map(|result| {
        let (at, value) = result.timestamps().first().zip(result.values().first())?;
        let at = at.to_millis().ok().and_then(|millis| u64::try_from(millis).ok())?;
        Some((result.id()?.to_owned(), (UnixMillis(at), *value)))
    });
    Ok(newest.collect())
}

/// What the account has cost since the month began; none before the first estimate.
async fn spend(clients: &Clients) -> Result<Option<Spend>, CallError> {
    let metric = Metric::builder()
        .namespace("AWS/Billing")
        .metric_name("EstimatedCharges")
        .dimensions(Dimension::builder().name("Currency").value("USD").build());
    let stat = MetricStat::builder().metric(metric.build()).period(3600).stat("Maximum");
    let query = MetricDataQuery::builder().id("spend").metric_stat(stat.build()).build();
    let now = (clients.now)();
    let answer = ask(clients, &clients.billing, vec![query], now, SPEND_WINDOW_SECS).await?;
    Ok(answer.get("spend").map(|&(at, usd)| Spend { usd, at }))
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
        figures.lock().minute.insert(("function_errors", "one-code".to_owned()), 2.0);
        let page = figures.metrics();
        assert!(page.contains("# TYPE spillway_aws_function_errors gauge\n"), "{page}");
        assert!(page.ends_with("spillway_aws_function_errors{of=\"one-code\"} 2\n"), "{page}");
        figures.lock().spend = Some(Spend { usd: 12.5, at: UnixMillis(7_000) });
        let page = figures.metrics();
        assert!(page.contains("\nspillway_aws_spend_usd 12.5\n"), "{page}");
        assert!(page.ends_with("\nspillway_aws_spend_timestamp_seconds 7\n"), "{page}");
    }
}
