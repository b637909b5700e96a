//! Metrics: what was put, and statistics of it by period.

mod alarms;
mod math;
mod reader;
mod rule;

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use crate::aws::{Answer, Aws, Refusal, unknown};
use crate::input::Input;
use crate::time;

/// Points that one metric keeps; the oldest go first.
const POINTS_MAX: usize = 100_000;
/// Points that one `GetMetricData` gives of a query.
const DATA_MAX: u64 = 100_800;
/// How deep expressions may refer to expressions.
const DEPTH_MAX: u32 = 8;

/// State of CloudWatch.
#[derive(Debug, Default)]
pub(crate) struct CloudWatch {
    metrics: BTreeMap<Metric, VecDeque<Point>>,
    alarms: BTreeMap<String, alarms::Alarm>,
    /// Quotas of what metrics in `AWS/Usage` measure.
    quotas: BTreeMap<Metric, f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    namespace: String,
    name: String,
    dimensions: BTreeMap<String, String>,
}

/// What was put at one time: a value so many times, or a set of statistics.
#[derive(Debug, Clone, Copy)]
struct Point {
    at: u64,
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

/// One of the queries of a request or an alarm.
#[derive(Debug, Clone)]
struct Query {
    id: String,
    label: Option<String>,
    what: What,
    returns: bool,
    period_ms: u64,
}

#[derive(Debug, Clone)]
enum What {
    Stat(Metric, Stat),
    Expression(math::Expression),
}

#[derive(Debug, Clone, Copy)]
enum Stat {
    Average,
    Sum,
    Minimum,
    Maximum,
    SampleCount,
    Percentile(f64),
}

impl Metric {
    fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        let dimensions = dimensions.iter().map(pair).collect();
        Self { namespace: namespace.to_owned(), name: name.to_owned(), dimensions }
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Average" => Self::Average,
            "Sum" => Self::Sum,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            "SampleCount" => Self::SampleCount,
            _ => {
                let rank: f64 = text.strip_prefix('p')?.parse().ok()?;
                return (0.0..=100.0).contains(&rank).then_some(Self::Percentile(rank));
            }
        })
    }

    /// The statistic of some points; none of none.
    fn of(self, points: &mut [Point]) -> Option<f64> {
        if points.is_empty() {
            return None;
        }
        let count: f64 = points.iter().map(|p| p.count).sum();
        let sum: f64 = points.iter().map(|p| p.sum).sum();
        Some(match self {
            Self::Average => sum / count,
            Self::Sum => sum,
            Self::Minimum => points.iter().map(|p| p.min).fold(f64::INFINITY, f64::min),
            Self::Maximum => points.iter().map(|p| p.max).fold(f64::NEG_INFINITY, f64::max),
            Self::SampleCount => count,
            // The nearest rank; a set of statistics counts at its mean.
            Self::Percentile(rank) => {
                points.sort_by(|a, b| (a.sum / a.count).total_cmp(&(b.sum / b.count)));
                let wanted = rank / 100.0 * count;
                let mut seen = 0.0;
                let reaches = |p: &&Point| {
                    seen += p.count;
                    seen >= wanted
                };
                let found = points.iter().find(reaches).or(points.last())?;
                found.sum / found.count
            }
        })
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidParameterValue", message)
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

fn dimensions(input: Input<'_>) -> BTreeMap<String, String> {
    let pair = |d: Input<'_>| Some((d.text("Name")?, d.text("Value")?));
    input.list("Dimensions").into_iter().filter_map(pair).collect()
}

impl Query {
    fn parse(input: Input<'_>, period_ms: Option<u64>) -> Result<Self, Refusal> {
        let id = input.required("Id")?;
        let stat = input.get("MetricStat");
        let holder = if stat.is_there() { stat } else { input };
        let said = holder.count("Period")?.map(|seconds| u64::from(seconds) * 1_000);
        let what = if stat.is_there() {
            let metric = stat.get("Metric");
            let metric = Metric {
                namespace: metric.required("Namespace")?,
                name: metric.required("MetricName")?,
                dimensions: dimensions(metric),
            };
            let text = stat.required("Stat")?;
            let stat = Stat::parse(&text);
            What::Stat(metric, stat.ok_or_else(|| malformed(format!("Invalid statistic {text}")))?)
        } else {
            let text = input.required("Expression")?;
            let parsed = math::parse(&text);
            What::Expression(
                parsed.ok_or_else(|| malformed(format!("Error in expression '{id}': {text}")))?,
            )
        };
        let period_ms = said.or(period_ms).unwrap_or(60_000);
        if period_ms == 0 {
            return Err(malformed("The parameter Period must be greater than 0"));
        }
        let label = input.text("Label");
        Ok(Self { id, label, what, returns: input.flag("ReturnData")?.unwrap_or(true), period_ms })
    }
}

impl CloudWatch {
    /// A query's value in one period.
    fn value(&self, queries: &[Query], id: &str, from: u64, until: u64, depth: u32) -> Option<f64> {
        let query = queries.iter().find(|query| query.id == id)?;
        match &query.what {
            What::Stat(metric, stat) => {
                let within = |p: &&Point| (from..until).contains(&p.at);
                let mut points: Vec<Point> =
                    self.metrics.get(metric)?.iter().filter(within).copied().collect();
                stat.of(&mut points)
            }
            What::Expression(_) if depth == 0 => None,
            What::Expression(expression) => {
                let quota = |id: &str| match &queries.iter().find(|query| query.id == id)?.what {
                    What::Stat(metric, _) => self.quotas.get(metric).copied(),
                    What::Expression(_) => None,
                };
                expression.value(&|id| self.value(queries, id, from, until, depth - 1), &quota)
            }
        }
    }
}

impl Aws {
    pub(crate) fn watch_call(&mut self, action: &str, input: Input<'_>) -> Answer {
        match action {
            "PutMetricData" => self.put_metric_data(input),
            "GetMetricData" => self.get_metric_data(input),
            "ListMetrics" => self.list_metrics(input),
            "PutMetricAlarm" => self.put_metric_alarm(input),
            "PutCompositeAlarm" => self.put_composite_alarm(input),
            "DescribeAlarms" => self.describe_alarms(input),
            "DescribeAlarmHistory" => self.describe_alarm_history(input),
            "DeleteAlarms" => self.delete_alarms(input),
            "SetAlarmState" => self.set_alarm_state(input),
            "EnableAlarmActions" => self.enable_actions(input, true),
            "DisableAlarmActions" => self.enable_actions(input, false),
            _ => Err(unknown(action)),
        }
    }

    /// Puts one value of a metric, now. This is how AWS's own metrics come to be.
    pub fn put_metric(
        &mut self,
        namespace: &str,
        name: &str,
        dimensions: &[(&str, &str)],
        value: f64,
    ) {
        let metric = Metric::new(namespace, name, dimensions);
        let point = Point { at: self.now, count: 1.0, sum: value, min: value, max: value };
        self.put_point(metric, point);
    }

    /// Puts how many vCPUs of standard instances are in use, now, and says their quota.
    pub fn put_vcpus(&mut self, used: f64) {
        let dimensions = [
            ("Service", "EC2"),
            ("Type", "Resource"),
            ("Resource", "vCPU"),
            ("Class", "Standard/OnDemand"),
        ];
        let metric = Metric::new("AWS/Usage", "ResourceCount", &dimensions);
        self.watch.quotas.insert(metric, f64::from(self.config.vcpus));
        self.put_metric("AWS/Usage", "ResourceCount", &dimensions, used);
    }

    fn put_point(&mut self, metric: Metric, point: Point) {
        let points = self.watch.metrics.entry(metric).or_default();
        if points.len() == POINTS_MAX {
            points.pop_front();
        }
        points.push_back(point);
    }

    fn put_metric_data(&mut self, input: Input<'_>) -> Answer {
        let namespace = input.required("Namespace")?;
        if namespace.starts_with("AWS/") {
            return Err(invalid("The value AWS/ for parameter Namespace is invalid."));
        }
        let mut all = Vec::new();
        for datum in input.list("MetricData") {
            let metric = Metric {
                namespace: namespace.clone(),
                name: datum.required("MetricName")?,
                dimensions: dimensions(datum),
            };
            let at = datum.time("Timestamp")?.unwrap_or(self.now);
            let set = datum.get("StatisticValues");
            let one = |value: f64, count: f64| Point {
                at,
                count,
                sum: value * count,
                min: value,
                max: value,
            };
            if set.is_there() {
                let part = |key: &str| set.real(key).map(Option::unwrap_or_default);
                let (count, sum) = (part("SampleCount")?, part("Sum")?);
                let point = Point { at, count, sum, min: part("Minimum")?, max: part("Maximum")? };
                all.push((metric, point));
            } else if let Some(value) = datum.real("Value")? {
                all.push((metric, one(value, 1.0)));
            } else {
                let values = datum.texts("Values");
                let counts = datum.texts("Counts");
                for (place, value) in values.iter().enumerate() {
                    let value = value.parse().map_err(|_| invalid("Values must be numbers"))?;
                    let count = counts.get(place).and_then(|count| count.parse().ok());
                    all.push((metric.clone(), one(value, count.unwrap_or(1.0))));
                }
            }
        }
        // All or nothing, as the whole request is refused for one wrong datum.
        if all.iter().any(|(_, p)| !(p.sum.is_finite() && p.count.is_finite() && p.count > 0.0)) {
            return Err(invalid(
                "The value NaN or infinity for parameter MetricData.Value is invalid.",
            ));
        }
        for (metric, point) in all {
            self.put_point(metric, point);
        }
        Ok(json!({}))
    }

    fn get_metric_data(&self, input: Input<'_>) -> Answer {
        let from = input.time("StartTime")?.ok_or_else(|| malformed("StartTime is missing"))?;
        let until = input.time("EndTime")?.ok_or_else(|| malformed("EndTime is missing"))?;
        if from >= until {
            return Err(malformed(
                "The parameter StartTime must be less than the parameter EndTime.",
            ));
        }
        let ascending = input.text("ScanBy").as_deref() == Some("TimestampAscending");
        let asked = input.list("MetricDataQueries");
        let queries: Vec<Query> =
            asked.into_iter().map(|q| Query::parse(q, None)).collect::<Result<_, _>>()?;
        let mut results = Vec::new();
        for query in queries.iter().filter(|query| query.returns) {
            let period = query.period_ms;
            let first = from / period;
            let last = until.div_ceil(period);
            if last - first > DATA_MAX {
                return Err(malformed("The request asks for more than 100,800 data points"));
            }
            let mut found: Vec<(u64, f64)> = (first..last)
                .filter_map(|n| {
                    let (start, end) = (n * period, (n + 1) * period);
                    let value = self.watch.value(&queries, &query.id, start, end, DEPTH_MAX);
                    Some((start, value?))
                })
                .collect();
            if !ascending {
                found.reverse();
            }
            let other = match &query.what {
                What::Stat(metric, _) => metric.name.clone(),
                What::Expression(_) => query.id.clone(),
            };
            results.push(json!({
                "Id": query.id,
                "Label": query.label.clone().unwrap_or(other),
                "Timestamps": found.iter().map(|(at, _)| time::value(*at)).collect::<Vec<_>>(),
                "Values": found.iter().map(|(_, value)| value).collect::<Vec<_>>(),
                "StatusCode": "Complete",
            }));
        }
        Ok(json!({ "MetricDataResults": results, "Messages": [] }))
    }

    fn list_metrics(&self, input: Input<'_>) -> Answer {
        let (namespace, name) = (input.text("Namespace"), input.text("MetricName"));
        let wanted = |metric: &&Metric| {
            namespace.as_ref().is_none_or(|n| *n == metric.namespace)
                && name.as_ref().is_none_or(|n| *n == metric.name)
        };
        let all = self.watch.metrics.keys().filter(wanted).map(|metric| {
            let pair = |(name, value)| json!({ "Name": name, "Value": value });
            json!({
                "Namespace": metric.namespace,
                "MetricName": metric.name,
                "Dimensions": metric.dimensions.iter().map(pair).collect::<Vec<_>>(),
            })
        });
        Ok(json!({ "Metrics": all.collect::<Vec<_>>() }))
    }
}
