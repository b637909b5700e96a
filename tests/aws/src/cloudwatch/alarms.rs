//! Alarms: judged at least once a minute, they change state and tell their topics and functions.
//!
//! A composite alarm is judged whenever an alarm changes that its rule names.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{DEPTH_MAX, Metric, Query, Stat, What, dimensions, malformed, rule};
use crate::aws::{Answer, Aws, Effect, Refusal, Timer, page};
use crate::input::Input;
use crate::time;

/// Changes that are remembered of an alarm.
const HISTORY_MAX: usize = 1_000;
/// Metrics that are not of high resolution are judged once a minute.
const MINUTE_MS: u64 = 60_000;
const TEN_SECONDS_MS: u64 = 10_000;

/// An alarm.
#[derive(Debug)]
pub(super) struct Alarm {
    arn: String,
    /// The request that made it: what descriptions show of its settings.
    settings: Value,
    kind: Kind,
    enabled: bool,
    state: State,
    reason: String,
    updated: u64,
    changed: u64,
    configured: u64,
    epoch: u64,
    history: VecDeque<(u64, State, State, String)>,
}

#[derive(Debug)]
enum Kind {
    Metric(Watch),
    Composite(rule::Rule),
}

/// What a metric alarm watches, and when it is an alarm.
#[derive(Debug, Clone)]
struct Watch {
    queries: Vec<Query>,
    id: String,
    period_ms: u64,
    periods: u32,
    needed: u32,
    threshold: f64,
    operator: Operator,
    missing: Missing,
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Over,
    AtLeast,
    Under,
    AtMost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Unknown,
    Ignore,
    Breaching,
    NotBreaching,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Alarm,
    Insufficient,
}

impl State {
    fn shown(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::Insufficient => "INSUFFICIENT_DATA",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Ok, Self::Alarm, Self::Insufficient].into_iter().find(|s| s.shown() == text)
    }

    /// The member of an alarm's settings that names the actions of the change to it.
    fn actions(self) -> &'static str {
        match self {
            Self::Ok => "OKActions",
            Self::Alarm => "AlarmActions",
            Self::Insufficient => "InsufficientDataActions",
        }
    }
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "GreaterThanThreshold" => Self::Over,
            "GreaterThanOrEqualToThreshold" => Self::AtLeast,
            "LessThanThreshold" => Self::Under,
            "LessThanOrEqualToThreshold" => Self::AtMost,
            _ => return None,
        })
    }

    fn crosses(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Over => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Under => value < threshold,
            Self::AtMost => value <= threshold,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Over => "greater than",
            Self::AtLeast => "greater than or equal to",
            Self::Under => "less than",
            Self::AtMost => "less than or equal to",
        }
    }
}

impl Watch {
    fn parse(input: Input<'_>) -> Result<Self, Refusal> {
        let text = input.required("ComparisonOperator")?;
        let operator = Operator::parse(&text)
            .ok_or_else(|| malformed(format!("ComparisonOperator {text} is not known here")))?;
        let missing = match input.text("TreatMissingData").as_deref() {
            None | Some("missing") => Missing::Unknown,
            Some("ignore") => Missing::Ignore,
            Some("breaching") => Missing::Breaching,
            Some("notBreaching") => Missing::NotBreaching,
            Some(other) => {
                return Err(malformed(format!("TreatMissingData must not be {other}")));
            }
        };
        let periods = input.count("EvaluationPeriods")?.filter(|n| *n > 0);
        let periods = periods.ok_or_else(|| malformed("EvaluationPeriods must be at least 1"))?;
        let needed = input.count("DatapointsToAlarm")?.unwrap_or(periods);
        if !(1..=periods).contains(&needed) {
            return Err(malformed("DatapointsToAlarm must be between 1 and EvaluationPeriods"));
        }
        let mut queries: Vec<Query> = Vec::new();
        for said in input.list("Metrics") {
            queries.push(Query::parse(said, queries.first().map(|query| query.period_ms))?);
        }
        if queries.is_empty() {
            let stat = input.text("ExtendedStatistic").or(input.text("Statistic"));
            let stat = stat.and_then(|text| Stat::parse(&text));
            let metric = Metric {
                namespace: input.required("Namespace")?,
                name: input.required("MetricName")?,
                dimensions: dimensions(input),
            };
            let seconds = input.count("Period")?.filter(|n| *n > 0);
            let seconds = seconds.ok_or_else(|| malformed("Period must be at least 1"))?;
            queries.push(Query {
                id: "value".to_owned(),
                label: None,
                what: What::Stat(metric, stat.ok_or_else(|| malformed("Statistic is not known"))?),
                returns: true,
                period_ms: u64::from(seconds) * 1_000,
            });
        }
        let mut returned = queries.iter().filter(|query| query.returns);
        let (Some(query), None) = (returned.next(), returned.next()) else {
            return Err(malformed("Exactly one element of the metrics list should return data."));
        };
        Ok(Self {
            id: query.id.clone(),
            period_ms: query.period_ms,
            periods,
            needed,
            threshold: input.real("Threshold")?.ok_or_else(|| malformed("Threshold is missing"))?,
            operator,
            missing,
            queries,
        })
    }

    fn every_ms(&self) -> u64 {
        if self.period_ms < MINUTE_MS { TEN_SECONDS_MS } else { MINUTE_MS }
    }
}

impl Aws {
    /// The settings and kind of a new alarm; its state stays if there is one of its name.
    fn put_alarm(&mut self, input: Input<'_>, kind: Kind) -> Result<String, Refusal> {
        let name = input.required("AlarmName")?;
        let (now, epoch) = (self.now, self.number());
        let arn = self.arn("cloudwatch", &format!("alarm:{name}"));
        let alarm = self.watch.alarms.entry(name.clone()).or_insert_with(|| Alarm {
            arn,
            settings: Value::Null,
            kind: Kind::Composite(rule::Rule::Always(false)),
            enabled: true,
            state: State::Insufficient,
            reason: "Unchecked: Initial alarm creation".to_owned(),
            updated: now,
            changed: now,
            configured: now,
            epoch,
            history: VecDeque::new(),
        });
        alarm.settings = input.0.clone();
        alarm.enabled = input.flag("ActionsEnabled")?.unwrap_or(true);
        (alarm.kind, alarm.configured, alarm.epoch) = (kind, now, epoch);
        Ok(name)
    }

    pub(super) fn put_metric_alarm(&mut self, input: Input<'_>) -> Answer {
        let watch = Watch::parse(input)?;
        let every = watch.every_ms();
        let name = self.put_alarm(input, Kind::Metric(watch))?;
        let epoch = self.watch.alarms.get(&name).map_or(0, |alarm| alarm.epoch);
        // Judged on the minute, or on the ten seconds.
        let wait = every - self.now % every;
        self.after(wait, Timer::Evaluate { alarm: name, epoch });
        Ok(json!({}))
    }

    pub(super) fn put_composite_alarm(&mut self, input: Input<'_>) -> Answer {
        let text = input.required("AlarmRule")?;
        let name = input.required("AlarmName")?;
        let rule = rule::parse(&text)
            .ok_or_else(|| malformed(format!("AlarmRule is malformed: {text}")))?;
        let unknown = |alarm: &&str| *alarm == name || !self.watch.alarms.contains_key(*alarm);
        if let Some(alarm) = rule.alarms().into_iter().find(unknown) {
            let message =
                format!("The alarm rule names {alarm}, which does not exist or is itself");
            return Err(malformed(message));
        }
        let name = self.put_alarm(input, Kind::Composite(rule))?;
        self.judge_composite(&name, DEPTH_MAX);
        Ok(json!({}))
    }

    pub(crate) fn evaluate_alarm(&mut self, name: &str, epoch: u64) {
        let Some(alarm) = self.watch.alarms.get(name).filter(|alarm| alarm.epoch == epoch) else {
            return;
        };
        let Kind::Metric(watch) = &alarm.kind else { return };
        let every = watch.every_ms();
        let verdict = self.judge(watch, alarm.state);
        self.after(every, Timer::Evaluate { alarm: name.to_owned(), epoch });
        if let Some((state, reason)) = verdict {
            self.change_alarm(name, state, reason, DEPTH_MAX);
        }
    }

    /// What a metric alarm should be; none when it should stay.
    fn judge(&self, watch: &Watch, now_is: State) -> Option<(State, String)> {
        let last = self.now / watch.period_ms;
        let first = last.saturating_sub(u64::from(watch.periods));
        let values: Vec<Option<f64>> = (first..last)
            .map(|n| {
                let (from, until) = (n * watch.period_ms, (n + 1) * watch.period_ms);
                self.watch.value(&watch.queries, &watch.id, from, until, DEPTH_MAX)
            })
            .collect();
        let known: Vec<f64> = values.iter().filter_map(|value| *value).collect();
        let absent = values.len() - known.len();
        let crosses = |value: &&f64| watch.operator.crosses(**value, watch.threshold);
        let mut over = known.iter().filter(crosses).count();
        match watch.missing {
            Missing::Ignore if known.is_empty() => return None,
            Missing::Unknown if known.is_empty() => {
                let reason = format!("Insufficient Data: {absent} datapoints were unknown.");
                return Some((State::Insufficient, reason));
            }
            Missing::Breaching => over += absent,
            Missing::Ignore | Missing::Unknown | Missing::NotBreaching => {}
        }
        let alarm = over >= watch.needed as usize;
        // Of what is ignored, too little says nothing new.
        if watch.missing == Missing::Ignore
            && !alarm
            && known.len() < watch.needed as usize
            && now_is == State::Alarm
        {
            return None;
        }
        let reason = format!(
            "Threshold Crossed: {over} out of the last {} datapoints {known:?} {} {} the threshold ({:?}).",
            values.len(),
            if alarm { "was" } else { "was not" },
            watch.operator.shown(),
            watch.threshold,
        );
        Some((if alarm { State::Alarm } else { State::Ok }, reason))
    }

    /// Changes an alarm's state, tells whom it may concern, and judges the alarms of alarms.
    fn change_alarm(&mut self, name: &str, state: State, reason: String, depth: u32) {
        let now = self.now;
        let Some(alarm) = self.watch.alarms.get_mut(name).filter(|a| a.state != state) else {
            return;
        };
        let before = std::mem::replace(&mut alarm.state, state);
        (alarm.updated, alarm.changed) = (now, now);
        alarm.reason.clone_from(&reason);
        if alarm.history.len() == HISTORY_MAX {
            alarm.history.pop_front();
        }
        alarm.history.push_back((now, before, state, reason));
        let tells = alarm.enabled;
        if tells && self.suppressor(name).is_none() {
            self.tell(name, before);
        }
        let names = |kind: &Kind| match kind {
            Kind::Composite(rule) => rule.alarms().contains(&name),
            Kind::Metric(_) => false,
        };
        let parents: Vec<String> = self
            .watch
            .alarms
            .iter()
            .filter(|(_, alarm)| names(&alarm.kind))
            .map(|(name, _)| name.clone())
            .collect();
        for parent in parents {
            self.judge_composite(&parent, depth.saturating_sub(1));
        }
    }

    fn judge_composite(&mut self, name: &str, depth: u32) {
        let Some(alarm) = self.watch.alarms.get(name) else { return };
        let Kind::Composite(rule) = &alarm.kind else { return };
        if depth == 0 {
            return;
        }
        let is = |alarm: &str, state: &str| {
            self.watch.alarms.get(alarm).is_some_and(|alarm| alarm.state.shown() == state)
        };
        let state = if rule.holds(&is) { State::Alarm } else { State::Ok };
        let reason = format!("The rule evaluates to {}.", state == State::Alarm);
        self.change_alarm(name, state, reason, depth);
    }

    /// The alarm that suppresses the actions of another now; its wait and extension periods are none.
    fn suppressor(&self, name: &str) -> Option<String> {
        let alarm = self.watch.alarms.get(name)?;
        let by = Input(&alarm.settings).text("ActionsSuppressor")?;
        let by = by.rsplit_once(":alarm:").map_or(by.as_str(), |(_, name)| name);
        self.watch.alarms.get(by).filter(|by| by.state == State::Alarm).map(|_| by.to_owned())
    }

    /// Performs the actions of a change from `before`.
    fn tell(&mut self, name: &str, before: State) {
        let Some(alarm) = self.watch.alarms.get(name) else { return };
        let actions = Input(&alarm.settings).texts(alarm.state.actions());
        let message = self.message(name, alarm, before).to_string();
        let subject = format!("{}: \"{name}\" in {}", alarm.state.shown(), self.region_name());
        let event = json!({
            "source": "aws.cloudwatch",
            "alarmArn": alarm.arn,
            "accountId": self.config.account,
            "time": time::iso(self.now, "+0000"),
            "region": self.config.region,
            "alarmData": {
                "alarmName": name,
                "state": { "value": alarm.state.shown(), "reason": alarm.reason, "timestamp": time::iso(alarm.changed, "+0000") },
                "previousState": { "value": before.shown() },
                "configuration": { "description": Input(&alarm.settings).text("AlarmDescription") },
            },
        });
        for action in actions {
            if let Some(resource) = action.split_once(":function:").map(|(_, resource)| resource) {
                let (function, qualifier) = match resource.split_once(':') {
                    Some((function, qualifier)) => (function, Some(qualifier)),
                    None => (resource, None),
                };
                let payload = event.to_string().into_bytes();
                if let Ok(invocation) = self.invoke(function, qualifier, payload) {
                    self.effect(Effect::Invoke(invocation));
                }
            } else {
                self.publish(&action, Some(&subject), &message);
            }
        }
    }

    /// The region as a message names it.
    fn region_name(&self) -> String {
        match self.config.region.as_str() {
            "eu-central-1" => "EU (Frankfurt)".to_owned(),
            "eu-west-1" => "EU (Ireland)".to_owned(),
            "us-east-1" => "US East (N. Virginia)".to_owned(),
            other => other.to_owned(),
        }
    }

    /// What a topic hears of a change.
    fn message(&self, name: &str, alarm: &Alarm, before: State) -> Value {
        let settings = Input(&alarm.settings);
        let mut message = json!({
            "AlarmName": name,
            "AlarmDescription": settings.text("AlarmDescription"),
            "AWSAccountId": self.config.account,
            "AlarmConfigurationUpdatedTimestamp": time::iso(alarm.configured, "+0000"),
            "NewStateValue": alarm.state.shown(),
            "NewStateReason": alarm.reason,
            "StateChangeTime": time::iso(alarm.changed, "+0000"),
            "Region": self.region_name(),
            "AlarmArn": alarm.arn,
            "OldStateValue": before.shown(),
            "OKActions": settings.texts("OKActions"),
            "AlarmActions": settings.texts("AlarmActions"),
            "InsufficientDataActions": settings.texts("InsufficientDataActions"),
        });
        match &alarm.kind {
            Kind::Composite(rule) => {
                let in_alarm = rule.alarms().into_iter().filter_map(|child| {
                    let child = self.watch.alarms.get(child)?;
                    let state = json!({ "Value": child.state.shown(), "Timestamp": time::iso(child.changed, "+0000") });
                    (child.state == State::Alarm).then(|| json!({ "Arn": child.arn, "State": state }))
                });
                message["TriggeringChildren"] = in_alarm.collect();
                message["AlarmRule"] = json!(settings.text("AlarmRule"));
            }
            Kind::Metric(watch) => message["Trigger"] = trigger(settings, watch),
        }
        message
    }

    pub(super) fn describe_alarms(&self, input: Input<'_>) -> Answer {
        let names = input.texts("AlarmNames");
        let (prefix, state) = (input.text("AlarmNamePrefix"), input.text("StateValue"));
        let kinds = input.texts("AlarmTypes");
        let composites = kinds.iter().any(|kind| kind == "CompositeAlarm");
        // "If you omit this parameter, only metric alarms are returned."
        let metrics = kinds.is_empty() || kinds.iter().any(|kind| kind == "MetricAlarm");
        let wanted = |(name, alarm): &(&String, &Alarm)| {
            (names.is_empty() || names.contains(name))
                && prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
                && state.as_ref().is_none_or(|state| alarm.state.shown() == state)
                && match alarm.kind {
                    // Asked for by its name it is found either way.
                    Kind::Composite(_) => composites || (kinds.is_empty() && !names.is_empty()),
                    Kind::Metric(_) => metrics,
                }
        };
        let all: Vec<(&String, &Alarm)> = self.watch.alarms.iter().filter(wanted).collect();
        let most = Some(input.count("MaxRecords")?.unwrap_or(50).min(100));
        let (found, next) = page(all, most, input.text("NextToken").as_deref())?;
        let of = |composite: bool| -> Vec<Value> {
            let meant =
                |(_, a): &&(&String, &Alarm)| matches!(a.kind, Kind::Composite(_)) == composite;
            let value = |(name, alarm): &(&String, &Alarm)| {
                let mut value = alarm.value();
                if self.suppressor(name).is_some() {
                    value["ActionsSuppressedBy"] = json!("Alarm");
                }
                value
            };
            found.iter().filter(meant).map(value).collect()
        };
        Ok(json!({ "MetricAlarms": of(false), "CompositeAlarms": of(true), "NextToken": next }))
    }

    pub(super) fn describe_alarm_history(&self, input: Input<'_>) -> Answer {
        let wanted = input.text("AlarmName");
        let mut items = Vec::new();
        for (name, alarm) in &self.watch.alarms {
            if wanted.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            for (at, before, after, reason) in alarm.history.iter().rev() {
                items.push(json!({
                    "AlarmName": name,
                    "Timestamp": time::value(*at),
                    "HistoryItemType": "StateUpdate",
                    "HistorySummary": format!("Alarm updated from {} to {}", before.shown(), after.shown()),
                    "HistoryData": json!({ "newState": { "stateValue": after.shown(), "stateReason": reason } }).to_string(),
                }));
            }
        }
        let (found, next) =
            page(items, input.count("MaxRecords")?, input.text("NextToken").as_deref())?;
        Ok(json!({ "AlarmHistoryItems": found, "NextToken": next }))
    }

    pub(super) fn delete_alarms(&mut self, input: Input<'_>) -> Answer {
        let names = input.texts("AlarmNames");
        if let Some(name) = names.iter().find(|name| !self.watch.alarms.contains_key(*name)) {
            return Err(Refusal::new(404, "ResourceNotFound", format!("Unknown alarm {name}")));
        }
        names.iter().for_each(|name| drop(self.watch.alarms.remove(name)));
        Ok(json!({}))
    }

    pub(super) fn set_alarm_state(&mut self, input: Input<'_>) -> Answer {
        let (name, text) = (input.required("AlarmName")?, input.required("StateValue")?);
        let state = State::parse(&text).ok_or_else(|| malformed(format!("StateValue {text}")))?;
        if !self.watch.alarms.contains_key(&name) {
            return Err(Refusal::new(404, "ResourceNotFound", format!("Unknown alarm {name}")));
        }
        self.change_alarm(&name, state, input.required("StateReason")?, DEPTH_MAX);
        Ok(json!({}))
    }

    pub(super) fn enable_actions(&mut self, input: Input<'_>, enabled: bool) -> Answer {
        for name in input.texts("AlarmNames") {
            if let Some(alarm) = self.watch.alarms.get_mut(&name) {
                alarm.enabled = enabled;
            }
        }
        Ok(json!({}))
    }
}

impl Alarm {
    fn value(&self) -> Value {
        let mut value = self.settings.clone();
        let state = json!({
            "AlarmArn": self.arn,
            "ActionsEnabled": self.enabled,
            "StateValue": self.state.shown(),
            "StateReason": self.reason,
            "StateReasonData": "{}",
            "StateUpdatedTimestamp": time::value(self.updated),
            "StateTransitionedTimestamp": time::value(self.changed),
            "AlarmConfigurationUpdatedTimestamp": time::value(self.configured),
        });
        if let (Value::Object(value), Value::Object(state)) = (&mut value, state) {
            value.remove("Tags");
            value.extend(state);
        }
        value
    }
}

/// What a message says of the metric that was watched.
fn trigger(settings: Input<'_>, watch: &Watch) -> Value {
    let mut trigger = json!({
        "Period": watch.period_ms / 1_000,
        "EvaluationPeriods": watch.periods,
        "DatapointsToAlarm": watch.needed,
        "ComparisonOperator": settings.text("ComparisonOperator"),
        "Threshold": watch.threshold,
        "TreatMissingData": settings.text("TreatMissingData").unwrap_or_else(|| "missing".to_owned()),
        "EvaluateLowSampleCountPercentile": "",
    });
    if settings.list("Metrics").is_empty() {
        let dimension = |(name, value)| json!({ "value": value, "name": name });
        let dimensions = dimensions(settings);
        trigger["MetricName"] = json!(settings.text("MetricName"));
        trigger["Namespace"] = json!(settings.text("Namespace"));
        trigger["Unit"] = json!(settings.text("Unit"));
        trigger["Dimensions"] = dimensions.iter().map(dimension).collect();
        if let Some(statistic) = settings.text("ExtendedStatistic") {
            trigger["StatisticType"] = json!("ExtendedStatistic");
            trigger["ExtendedStatistic"] = json!(statistic);
        } else {
            trigger["StatisticType"] = json!("Statistic");
            trigger["Statistic"] = json!(settings.text("Statistic").map(|s| s.to_uppercase()));
        }
    } else {
        trigger["Metrics"] = settings.get("Metrics").0.clone();
    }
    trigger
}
