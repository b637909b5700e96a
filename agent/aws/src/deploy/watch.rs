//! Watching a canary: what CloudWatch has of the old and the new version, and which alarms are on.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricStat, ScanBy, StateValue,
};
use spillway_model::UnixMillis;
use spillway_model::config::{Aws, AwsFunction, AwsRule};

use crate::alarms;
use crate::call::CallError;
use crate::clients::Clients;
use crate::figures::load_balancer;

use super::next::{BEFORE_MINS, Shift};
use super::seen::{Figures, Sums};

/// CloudWatch has figures by the minute.
const MINUTE: u64 = 60_000;
/// Most pages of figures.
const PAGES_MAX: usize = 20;
/// Most queries of one call.
const QUERIES_MAX: usize = 500;

/// Whose invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    /// All of the alias.
    Alias,
    /// Those that the old version answered.
    Old,
    /// Those that the new version answered.
    New,
}

/// What is asked of them.
const ASKED: [(Of, &str, &str); 10] = [
    (Of::Alias, "Invocations", "Sum"),
    (Of::Alias, "Errors", "Sum"),
    (Of::Alias, "Throttles", "Sum"),
    (Of::Alias, "Duration", "p95"),
    (Of::Old, "Invocations", "Sum"),
    (Of::Old, "Errors", "Sum"),
    (Of::Old, "Duration", "p95"),
    (Of::New, "Invocations", "Sum"),
    (Of::New, "Errors", "Sum"),
    (Of::New, "Duration", "p95"),
];

/// Values by whose they are, the metric, and the minute's beginning.
type Series = BTreeMap<(Of, &'static str), BTreeMap<u64, f64>>;

/// The alarms of the site set that are on, and since when.
///
/// # Errors
/// When CloudWatch does not tell.
pub(crate) async fn alarms(
    clients: &Clients,
    name: &str,
) -> Result<BTreeMap<String, UnixMillis>, CallError> {
    let (metric, composite) = alarms::all(clients, name, Some(StateValue::Alarm)).await?;
    let metric = metric.iter().map(|a| (a.alarm_name(), a.state_updated_timestamp()));
    let composite = composite.iter().map(|a| (a.alarm_name(), a.state_updated_timestamp()));
    let on = metric.chain(composite).filter_map(|(alarm, at)| {
        let millis = at.and_then(|at| u64::try_from(at.to_millis().ok()?).ok());
        Some((alarm?.to_owned(), UnixMillis(millis.unwrap_or(0))))
    });
    Ok(on.collect())
}

/// How the versions of a shift do.
///
/// # Errors
/// When CloudWatch does not tell.
pub(crate) async fn figures(
    clients: &Clients,
    aws: &Aws,
    shift: &Shift,
    new: &BTreeMap<String, u32>,
) -> Result<BTreeMap<String, Figures>, CallError> {
    let of =
        |name: &String| Some((aws.functions.get(name)?, *shift.old.get(name)?, *new.get(name)?));
    let names: Vec<&String> = shift.old.keys().filter(|name| of(name).is_some()).collect();
    let queries: Vec<MetricDataQuery> = names
        .iter()
        .enumerate()
        .filter_map(|(i, name)| Some((i, of(name)?)))
        .flat_map(|(i, (there, old, new))| {
            let asked = ASKED.iter().enumerate();
            asked.map(move |(k, asked)| query(&format!("f{i}_{k}"), there, *asked, old, new))
        })
        .chain(aws.rules.iter().enumerate().flat_map(answers))
        .collect();
    let now = (clients.now)();
    let from = (shift.begun.0 / MINUTE).saturating_sub(BEFORE_MINS) * MINUTE;
    let time = |millis: u64| DateTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
    let mut series: Vec<Series> = vec![Series::new(); names.len()];
    let (mut answers_before, mut answers_since) = ((0.0, 0.0), (0.0, 0.0));
    for queries in queries.chunks(QUERIES_MAX) {
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let call = clients
                .cloudwatch
                .get_metric_data()
                .set_metric_data_queries(Some(queries.to_vec()))
                .start_time(time(from))
                .end_time(time((now.0 / MINUTE + 1) * MINUTE))
                .scan_by(ScanBy::TimestampAscending)
                .set_next_token(token);
            let answer = clients.calls.make("cloudwatch:GetMetricData", call.send()).await?;
            for result in answer.metric_data_results() {
                let minutes = result.timestamps().iter().zip(result.values());
                let minutes = minutes.filter_map(|(at, value)| {
                    Some((u64::try_from(at.to_millis().ok()?).ok()?, *value))
                });
                if let Some(failed) = result.id().and_then(of_answers) {
                    for (minute, n) in minutes {
                        let before = minute < shift.begun.0 / MINUTE * MINUTE;
                        let sum = if before { &mut answers_before } else { &mut answers_since };
                        *(if failed { &mut sum.1 } else { &mut sum.0 }) += n;
                    }
                    continue;
                }
                let Some((i, k)) = result.id().and_then(place) else { continue };
                let (Some(series), Some((of, metric, _))) = (series.get_mut(i), ASKED.get(k))
                else {
                    continue;
                };
                series.entry((*of, *metric)).or_default().extend(minutes);
            }
            token = answer.next_token().map(str::to_owned).filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
    }
    let read = names.into_iter().zip(series).map(|(name, series)| {
        let figures = sum(&series, shift.begun, shift.moved.get(name).copied());
        (name.clone(), Figures { answers_before, answers_since, ..figures })
    });
    Ok(read.collect())
}

/// What is asked of a rule's functions: requests, and those that they answered 5xx.
fn answers((i, rule): (usize, &AwsRule)) -> Vec<MetricDataQuery> {
    let group = rule.target_group.split_once(":targetgroup/").map(|(_, rest)| rest);
    let (Some(balancer), Some(group)) = (load_balancer(&rule.arn), group) else {
        return Vec::new();
    };
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let asked = [("r", "RequestCount"), ("e", "HTTPCode_Target_5XX_Count")];
    let query = |(id, metric): (&str, &str)| {
        let metric = Metric::builder()
            .namespace("AWS/ApplicationELB")
            .metric_name(metric)
            .dimensions(dimension("LoadBalancer", &balancer))
            .dimensions(dimension("TargetGroup", &format!("targetgroup/{group}")));
        let stat = MetricStat::builder().metric(metric.build()).period(60).stat("Sum");
        MetricDataQuery::builder().id(format!("{id}{i}")).metric_stat(stat.build()).build()
    };
    asked.map(query).into()
}

/// Whether an id is of requests that were answered 5xx; `None` when it is not of a rule.
fn of_answers(id: &str) -> Option<bool> {
    let failed = match id.as_bytes().first()? {
        b'e' => true,
        b'r' => false,
        _ => return None,
    };
    Some(failed)
}

/// `fI_K`: the function's and the question's place.
fn place(id: &str) -> Option<(usize, usize)> {
    let (i, k) = id.strip_prefix('f')?.split_once('_')?;
    Some((i.parse().ok()?, k.parse().ok()?))
}

fn query(
    id: &str,
    there: &AwsFunction,
    (of, metric, statistic): (Of, &str, &str),
    old: u32,
    new: u32,
) -> MetricDataQuery {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let version = match of {
        Of::Alias => None,
        Of::Old => Some(old),
        Of::New => Some(new),
    };
    let metric = Metric::builder()
        .namespace("AWS/Lambda")
        .metric_name(metric)
        .dimensions(dimension("FunctionName", &there.name))
        .dimensions(dimension("Resource", &format!("{}:{}", there.name, there.alias)));
    let metric = match version {
        Some(version) => metric.dimensions(dimension("ExecutedVersion", &version.to_string())),
        None => metric,
    };
    let stat = MetricStat::builder().metric(metric.build()).period(60).stat(statistic);
    MetricDataQuery::builder().id(id).metric_stat(stat.build()).build()
}

/// Sums up the minutes. Lambda tells by version only while an alias has weights: before, and once a
/// version has everything, what the alias has is that version's.
fn sum(series: &Series, begun: UnixMillis, moved: Option<UnixMillis>) -> Figures {
    let begun = begun.0 / MINUTE * MINUTE;
    let moved = moved.map_or(u64::MAX, |at| (at.0 / MINUTE + 1) * MINUTE);
    let value = |of: Of, metric: &'static str, minute: u64| {
        series.get(&(of, metric)).and_then(|values| values.get(&minute)).copied()
    };
    let mut figures = Figures::default();
    let minutes: std::collections::BTreeSet<u64> =
        series.values().flat_map(|values| values.keys().copied()).collect();
    let mut durations = [(0.0, 0.0); 2];
    for minute in minutes {
        let add = |sums: &mut Sums, of: Of, durations: &mut (f64, f64)| {
            let invocations = value(of, "Invocations", minute).unwrap_or(0.0);
            sums.invocations += invocations;
            sums.errors += value(of, "Errors", minute).unwrap_or(0.0);
            if let Some(p95) = value(of, "Duration", minute) {
                durations.0 += p95 * invocations;
                durations.1 += invocations;
            }
            invocations
        };
        let invocations = value(Of::Alias, "Invocations", minute).unwrap_or(0.0);
        let tries = (invocations, value(Of::Alias, "Throttles", minute).unwrap_or(0.0));
        let Figures { old, new, before, since, shown_until, .. } = &mut figures;
        let sum = if minute < begun { before } else { since };
        *sum = (sum.0 + tries.0, sum.1 + tries.1);
        let [old_durations, new_durations] = &mut durations;
        if minute < begun {
            add(old, Of::Alias, old_durations);
            continue;
        }
        let shown = if minute < moved {
            add(old, Of::Old, old_durations);
            add(new, Of::New, new_durations)
        } else {
            add(new, Of::Alias, new_durations)
        };
        if shown > 0.0 {
            *shown_until = Some(UnixMillis(minute + MINUTE));
        }
    }
    let mean = |(sum, n): (f64, f64)| (n > 0.0).then(|| sum / n);
    figures.old.p95_ms = mean(durations[0]);
    figures.new.p95_ms = mean(durations[1]);
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_belong_to_the_version_that_had_them() {
        let minutes = |values: &[(u64, f64)]| {
            values.iter().map(|(minute, value)| (minute * MINUTE, *value)).collect()
        };
        let series = Series::from([
            // Before minute 10 the alias is the old version, after minute 12 the new one.
            (
                (Of::Alias, "Invocations"),
                minutes(&[(9, 100.0), (10, 100.0), (12, 100.0), (13, 50.0)]),
            ),
            ((Of::Alias, "Throttles"), minutes(&[(9, 1.0), (13, 2.0)])),
            ((Of::Alias, "Duration"), minutes(&[(9, 10.0), (13, 40.0)])),
            ((Of::Old, "Invocations"), minutes(&[(10, 95.0), (12, 20.0)])),
            ((Of::Old, "Duration"), minutes(&[(10, 20.0)])),
            ((Of::New, "Invocations"), minutes(&[(10, 5.0), (12, 80.0), (13, 50.0)])),
            ((Of::New, "Errors"), minutes(&[(10, 1.0)])),
            ((Of::New, "Duration"), minutes(&[(10, 30.0), (13, 40.0)])),
        ]);
        let at = |minute: u64| UnixMillis(minute * MINUTE + 30_000);
        let figures = sum(&series, at(10), Some(at(12)));
        assert_eq!((figures.old.invocations, figures.new.invocations), (215.0, 135.0));
        assert_eq!(figures.new.errors, 1.0);
        assert_eq!(figures.old.p95_ms, Some((100.0 * 10.0 + 95.0 * 20.0) / 195.0));
        assert_eq!(figures.new.p95_ms, Some((5.0 * 30.0 + 50.0 * 40.0) / 55.0));
        assert_eq!((figures.before, figures.since), ((100.0, 1.0), (250.0, 2.0)));
        assert_eq!(figures.shown_until, Some(UnixMillis(14 * MINUTE)));
    }
}
