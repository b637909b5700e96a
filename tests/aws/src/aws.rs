//! The state machine: who asks what, what falls due when, what follows from it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::autoscaling::AutoScaling;
use crate::cloudwatch::CloudWatch;
use crate::config::Config;
use crate::ec2::{Ec2, Machine};
use crate::elb::{Elb, Probe};
use crate::fault::{Fault, FaultKind};
use crate::functions::{Functions, Invocation};
use crate::input::Input;
use crate::replicas::Replicas;
use crate::sns::{Notice, Sns};
use crate::sqs::Sqs;

/// Calls that are remembered; the oldest is forgotten first.
const CALLS_MAX: usize = 100_000;
/// Answers to one description that are remembered while some are made old.
const TOLD_MAX: usize = 1_000;

/// An API of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Instances and launch templates.
    Ec2,
    /// Auto Scaling groups.
    AutoScaling,
    /// Load balancers of the second version.
    Elb,
    /// Functions.
    Lambda,
    /// Metrics and alarms.
    CloudWatch,
    /// Topics.
    Sns,
    /// Queues.
    Sqs,
    /// Identity.
    Sts,
    /// Caches.
    ElastiCache,
    /// Databases.
    Rds,
}

impl Service {
    /// The prefix of its actions in policies.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::AutoScaling => "autoscaling",
            Self::Elb => "elasticloadbalancing",
            Self::Lambda => "lambda",
            Self::CloudWatch => "cloudwatch",
            Self::Sns => "sns",
            Self::Sqs => "sqs",
            Self::Sts => "sts",
            Self::ElastiCache => "elasticache",
            Self::Rds => "rds",
        }
    }
}

/// A request: an action of a service, and its parameters as the API reference names them; lists are
/// lists, and leaves may be text.
#[derive(Debug, Clone, Deserialize)]
pub struct Request {
    /// The service.
    pub service: Service,
    /// The action.
    pub action: String,
    /// Its parameters.
    #[serde(default)]
    pub input: Value,
}

/// Why AWS refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Error code, as clients read it.
    pub code: String,
    /// What it says.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }
}

/// What a call gives: members as the API reference names them, or a refusal.
pub type Answer = Result<Value, Refusal>;

/// How an answer reaches the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As it should.
    Whole,
    /// Not at all: the connection is closed.
    Lost,
    /// After so many milliseconds.
    Late(u64),
}

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The answer.
    pub answer: Answer,
    /// What becomes of it on its way.
    pub delivery: Delivery,
}

/// A call that was made, for tests to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Of which service.
    pub service: Service,
    /// Which action.
    pub action: String,
    /// With what, without a package's bytes.
    pub input: Value,
    /// Error code of its refusal.
    pub refused: Option<String>,
    /// Whether the caller heard the answer at once.
    pub heard: bool,
}

/// What the world must do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// An instance has booted: start what it runs.
    Booted(Machine),
    /// An instance has ended: stop what it runs.
    Ended(Machine),
    /// Ask a target for its health, and tell [`Aws::probed`].
    Probe(Probe),
    /// Sign and deliver a notification.
    Notify(Notice),
    /// Invoke a function whose answer nobody awaits.
    Invoke(Invocation),
}

/// What falls due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Running(String),
    Booted(String),
    Terminated(String),
    Forgotten(String),
    Check { group: String, target: String, epoch: u64 },
    Drained { group: String, target: String, epoch: u64 },
    Step(String),
    Provisioned { function: String, qualifier: String, epoch: u64 },
    Capacity { balancer: String, epoch: u64 },
    Evaluate { alarm: String, epoch: u64 },
    Replica { id: String, epoch: u64 },
}

/// AWS, as one account sees one region.
#[derive(Debug)]
pub struct Aws {
    pub(crate) config: Config,
    pub(crate) now: u64,
    /// How old the description is that is being made.
    pub(crate) stale: u64,
    /// Whether a rule makes it so old.
    told_again: bool,
    /// Where the stand-in is reached, without a slash at the end.
    pub(crate) endpoint: String,
    pub(crate) ec2: Ec2,
    pub(crate) scaling: AutoScaling,
    pub(crate) elb: Elb,
    pub(crate) functions: Functions,
    pub(crate) watch: CloudWatch,
    pub(crate) sns: Sns,
    pub(crate) sqs: Sqs,
    pub(crate) replicas: Replicas,
    rng: Pcg64Mcg,
    serial: u64,
    timers: BinaryHeap<Reverse<(u64, u64, Timer)>>,
    effects: VecDeque<Effect>,
    faults: Vec<Fault>,
    /// What descriptions gave since a rule makes some of them old, by request, with the time.
    told: BTreeMap<String, VecDeque<(u64, Answer)>>,
    calls: VecDeque<Call>,
}

impl Aws {
    /// An account in which nothing is yet, at the time `now` in milliseconds since the epoch.
    /// `endpoint` is where it will be reached.
    #[must_use]
    pub fn new(config: Config, now: u64, endpoint: &str) -> Self {
        Self {
            rng: Pcg64Mcg::seed_from_u64(config.seed),
            config,
            now,
            stale: 0,
            told_again: false,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            ec2: Ec2::default(),
            scaling: AutoScaling::default(),
            elb: Elb::default(),
            functions: Functions::default(),
            watch: CloudWatch::default(),
            sns: Sns::default(),
            sqs: Sqs::default(),
            replicas: Replicas::default(),
            serial: 0,
            timers: BinaryHeap::new(),
            effects: VecDeque::new(),
            faults: Vec::new(),
            told: BTreeMap::new(),
            calls: VecDeque::new(),
        }
    }

    /// The time, in milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// When something falls due next.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// Lets time pass until `now`; what falls due on the way happens at its time. Time never goes
    /// back.
    pub fn advance(&mut self, now: u64) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse((at, _, timer))) = self.timers.pop() else { break };
            self.now = self.now.max(at);
            match timer {
                Timer::Running(id) => self.instance_running(&id),
                Timer::Booted(id) => self.instance_booted(&id),
                Timer::Terminated(id) => self.instance_terminated(&id),
                Timer::Forgotten(id) => self.instance_forgotten(&id),
                Timer::Check { group, target, epoch } => self.check_target(&group, &target, epoch),
                Timer::Drained { group, target, epoch } => {
                    self.target_drained(&group, &target, epoch);
                }
                Timer::Step(group) => self.group_step(&group),
                Timer::Provisioned { function, qualifier, epoch } => {
                    self.provisioned_ready(&function, &qualifier, epoch);
                }
                Timer::Capacity { balancer, epoch } => self.capacity_ready(&balancer, epoch),
                Timer::Evaluate { alarm, epoch } => self.evaluate_alarm(&alarm, epoch),
                Timer::Replica { id, epoch } => self.replica_ready(&id, epoch),
            }
        }
        self.now = self.now.max(now);
    }

    /// Answers a request, at the time of the last [`Aws::advance`].
    pub fn call(&mut self, request: &Request) -> Outcome {
        let (answer, delivery) = self.exposed(request, |aws| {
            let answer = aws.act(request);
            aws.as_told(request, answer)
        });
        Outcome { answer, delivery }
    }

    /// Answers a request past faults and stale descriptions, without writing the call down: for a test
    /// that looks at what there is.
    ///
    /// # Errors
    /// When the request is refused.
    pub fn look(&mut self, service: Service, action: &str, input: Value) -> Answer {
        self.stale = 0;
        self.act(&Request { service, action: action.to_owned(), input })
    }

    /// Does what a request asks for, unless a rule says otherwise, and writes the call down.
    pub(crate) fn exposed<T>(
        &mut self,
        request: &Request,
        act: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> (Result<T, Refusal>, Delivery) {
        let kind = self.meet_fault(request.service, &request.action);
        let refusal = kind
            .as_ref()
            .and_then(|kind| kind.refusal(request.service, &request.action, &self.config.identity));
        self.told_again = false;
        self.stale = match kind {
            Some(FaultKind::Stale { millis }) => {
                self.told_again = true;
                millis
            }
            _ => self.draw(self.config.stale_ms),
        };
        let result = match (refusal, &kind) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(FaultKind::Unreachable)) => {
                Err(Refusal::new(503, "ServiceUnavailable", "The service is unavailable."))
            }
            (None, _) => act(self),
        };
        let delivery = match kind {
            Some(FaultKind::LostAnswer | FaultKind::Unreachable) => Delivery::Lost,
            Some(FaultKind::Hang { millis }) => Delivery::Late(millis),
            _ => Delivery::Whole,
        };
        self.record(request, result.as_ref().err(), delivery == Delivery::Whole);
        (result, delivery)
    }

    /// What a description gives when a rule makes it old: EC2 remembers what was, of other services it
    /// is what was given so long ago or, when nothing was asked then, first.
    fn as_told(&mut self, request: &Request, answer: Answer) -> Answer {
        let describes = ["Describe", "Get"].iter().any(|verb| request.action.starts_with(verb));
        let ages = self.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Stale { .. }));
        if !describes || request.service == Service::Ec2 || !(ages || self.told_again) {
            return answer;
        }
        let key = format!("{:?} {} {}", request.service, request.action, request.input);
        let told = self.told.entry(key).or_default();
        if told.len() == TOLD_MAX {
            told.pop_front();
        }
        told.push_back((self.now, answer.clone()));
        if !self.told_again {
            return answer;
        }
        let then = self.now.saturating_sub(self.stale);
        let old = told.iter().rev().find(|(at, _)| *at <= then).or(told.front());
        old.map_or(answer, |(_, told)| told.clone())
    }

    fn meet_fault(&mut self, service: Service, action: &str) -> Option<FaultKind> {
        let kind = self.faults.iter_mut().find_map(|fault| fault.meets(service, action));
        self.faults.retain(|fault| !fault.is_spent());
        kind
    }

    fn record(&mut self, request: &Request, refused: Option<&Refusal>, heard: bool) {
        let mut input = request.input.clone();
        if let Value::Object(members) = &mut input {
            members.remove("ZipFile");
            members.remove("Code");
        }
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(Call {
            at_ms: self.now,
            service: request.service,
            action: request.action.clone(),
            input,
            refused: refused.map(|r| r.code.clone()),
            heard,
        });
    }

    pub(crate) fn act(&mut self, request: &Request) -> Answer {
        let (action, input) = (request.action.as_str(), Input(&request.input));
        match request.service {
            Service::Ec2 => self.ec2_call(action, input),
            Service::AutoScaling => self.scaling_call(action, input),
            Service::Elb => self.elb_call(action, input),
            Service::Lambda => self.functions_call(action, input),
            Service::CloudWatch => self.watch_call(action, input),
            Service::Sns => self.sns_call(action, input),
            Service::Sqs => self.sqs_call(action, input),
            Service::ElastiCache | Service::Rds => {
                self.replicas_call(request.service, action, input)
            }
            Service::Sts => match action {
                "GetCallerIdentity" => Ok(json!({
                    "Account": self.config.account,
                    "Arn": self.config.identity,
                    "UserId": "AROATEST:test",
                })),
                _ => Err(unknown(action)),
            },
        }
    }

    /// Adds rules of what goes wrong.
    pub fn add_faults(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.extend(faults);
    }

    /// Lets all go well again.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
        self.told.clear();
    }

    /// Sets the quota of vCPUs of running instances.
    pub fn set_vcpus(&mut self, vcpus: u32) {
        self.config.vcpus = vcpus;
    }

    /// The calls that were made, oldest first.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    /// What the world must do now.
    pub fn take_effects(&mut self) -> VecDeque<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Remembers what falls due in so many milliseconds.
    pub(crate) fn after(&mut self, ms: u64, timer: Timer) {
        self.serial += 1;
        self.timers.push(Reverse((self.now + ms, self.serial, timer)));
    }

    /// A number that was not given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Draws from a span.
    pub(crate) fn draw(&mut self, [least, most]: [u64; 2]) -> u64 {
        self.rng.random_range(least..=most.max(least))
    }

    /// Draws from [0, 1).
    pub(crate) fn chance(&mut self) -> f64 {
        self.rng.random()
    }

    /// So many hexadecimal digits.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        let pair = format!("{:016x}{:016x}", self.rng.random::<u64>(), self.rng.random::<u64>());
        pair.chars().take(digits).collect()
    }

    /// A UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let h = self.hex(32);
        format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..32])
    }

    /// An ARN in this account and region.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.config.region, self.config.account)
    }
}

/// What AWS says to an action that it does not know.
pub(crate) fn unknown(action: &str) -> Refusal {
    let message = format!("The action {action} is not valid for this web service.");
    Refusal::new(400, "InvalidAction", message)
}

/// One page of a list, and the token of the next.
///
/// # Errors
/// When the token is none that was given.
pub(crate) fn page<T>(
    all: Vec<T>,
    most: Option<u32>,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), Refusal> {
    let from: usize = match token {
        Some(token) => token.parse().map_err(|_| {
            Refusal::new(400, "InvalidNextToken", "The specified token is not valid.")
        })?,
        None => 0,
    };
    let most = most.map_or(all.len().max(1), |most| most.max(1) as usize);
    let end = from.saturating_add(most);
    let next = (end < all.len()).then(|| end.to_string());
    Ok((all.into_iter().skip(from).take(most).collect(), next))
}
