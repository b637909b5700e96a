//! Lambda, as far as a deployment sees it: what it documents, and nothing that takes time.

use std::collections::BTreeMap;

use spillway_model::UnixMillis;

use crate::deploy::act::{Act, Did};
use crate::deploy::next::{Progress, Step, Wanted, next};
use crate::deploy::package::Architecture;
use crate::deploy::seen::{Alias, Figures, Function, Readiness, Seen};

/// Seconds that pass while something is waited for.
const TICK: u64 = 10;

/// Functions on Lambda, and what became of them.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: UnixMillis,
    pub(super) functions: BTreeMap<String, Function>,
    /// Code of each version.
    pub(super) code: BTreeMap<(String, u32), String>,
    /// Code that fails its smoke invocation.
    pub(super) broken: Vec<String>,
    pub(super) alarms: Option<BTreeMap<String, UnixMillis>>,
    /// What CloudWatch has of every function, by the percentage that the new version has.
    pub(super) figures: Option<fn(u8) -> Figures>,
    /// The calls that were made.
    pub(super) acts: Vec<Act>,
    /// Whether code may be routed that fails its smoke invocation by now.
    pub(super) tolerant: bool,
    /// Whether uploads are taken and come to nothing.
    pub(super) deaf: bool,
    /// Whether nothing is remembered.
    pub(super) forgetful: bool,
    /// What each alias's percentages of new versions were, in their order.
    pub(super) given: BTreeMap<String, Vec<u8>>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Killed,
    Step(Step),
}

pub(super) fn wanted(names: &[&str], code: &str) -> Wanted {
    Wanted {
        functions: names.iter().map(|name| ((*name).to_owned(), code.to_owned())).collect(),
        steps: vec![5, 25, 100],
        hold_secs: 60,
        keep: 3,
    }
}

impl World {
    /// Functions whose alias points to version 1, which has code `a`.
    pub(super) fn new(names: &[&str]) -> Self {
        let function = Function {
            architecture: Architecture::Arm64,
            sha: "a".to_owned(),
            readiness: Readiness::Ready,
            revision: String::new(),
            alias: Alias { version: 1, weighed: None, revision: "0".to_owned() },
            before: None,
            moving: None,
            versions: [(1, UnixMillis(0))].into(),
            held: [1].into(),
            warm: 0,
        };
        Self {
            now: UnixMillis(10_000_000),
            functions: names.iter().map(|name| ((*name).to_owned(), function.clone())).collect(),
            code: names.iter().map(|name| (((*name).to_owned(), 1), "a".to_owned())).collect(),
            broken: Vec::new(),
            alarms: Some(BTreeMap::new()),
            figures: Some(|_| Figures::default()),
            acts: Vec::new(),
            tolerant: false,
            deaf: false,
            forgetful: false,
            given: BTreeMap::new(),
        }
    }

    fn look(&self, progress: &Progress) -> Seen {
        let percent = |name: &String, function: &Function| {
            progress.published.get(name).map_or(0, |version| function.alias.percent(*version))
        };
        let figures = self.figures.map(|figures| {
            let each = self.functions.iter();
            each.map(|(name, f)| (name.clone(), figures(percent(name, f)))).collect()
        });
        Seen {
            at: self.now,
            functions: self.functions.clone(),
            alarms: self.alarms.clone(),
            figures,
        }
    }

    /// Does it as Lambda does.
    fn done(&mut self, act: &Act, wanted: &Wanted) -> Did {
        let name = act.function().to_owned();
        let sha = wanted.functions[&name].clone();
        let code = |version: u32| self.code[&(name.clone(), version)].clone();
        let function = self.functions.get_mut(&name).unwrap();
        self.now = self.now.plus_millis(200);
        let changed = self.acts.len().to_string() + "x";
        self.acts.push(act.clone());
        let did = match act {
            Act::Upload { .. } if self.deaf => Did::Done,
            Act::Upload { .. } => {
                function.sha = sha;
                function.readiness = Readiness::Busy;
                Did::Done
            }
            Act::Publish { .. } => {
                assert_eq!(function.readiness, Readiness::Ready);
                assert_eq!(function.sha, sha, "CodeSha256 guards it");
                let last = *function.versions.keys().next_back().unwrap();
                if self.code.get(&(name.clone(), last)) == Some(&sha) {
                    return Did::Published(last);
                }
                function.versions.insert(last + 1, self.now);
                self.code.insert((name.clone(), last + 1), sha);
                Did::Published(last + 1)
            }
            Act::Smoke { version, .. } => {
                let broken = self.broken.contains(&code(*version));
                return Did::Smoked(if broken { Err("503".to_owned()) } else { Ok(()) });
            }
            Act::Weigh { version, percent, .. } => {
                assert!((1..100).contains(percent) && *version != function.alias.version);
                function.alias.weighed = Some((*version, *percent));
                function.alias.revision = changed;
                Did::Done
            }
            Act::Move { version, .. } => {
                function.alias = Alias { version: *version, weighed: None, revision: changed };
                Did::Done
            }
            Act::Withdraw { .. } => {
                function.alias.weighed = None;
                function.alias.revision = changed;
                Did::Done
            }
            Act::Remember { .. } if self.forgetful => Did::Done,
            Act::Remember { version, moving, .. } => {
                (function.before, function.moving) = (Some(*version), *moving);
                Did::Done
            }
            Act::Delete { version, .. } => {
                let led = [Some(function.alias.version), function.before];
                assert!(!led.contains(&Some(*version)) && !function.held.contains(version));
                assert_ne!(function.alias.weighed.map(|(weighed, _)| weighed), Some(*version));
                function.versions.remove(version);
                Did::Done
            }
        };
        let alias = &function.alias;
        let led = [Some(alias.version), alias.weighed.map(|(version, _)| version), function.before];
        function.held = led.into_iter().flatten().collect();
        for version in [Some(alias.version), alias.weighed.map(|(version, _)| version)] {
            let Some(version) = version.filter(|version| *version > 1) else { continue };
            let code = &self.code[&(name.clone(), version)];
            let fails = self.broken.contains(code) && !self.tolerant;
            assert!(!fails, "version {version} is given requests: {act:?}");
        }
        let newest = *function.versions.keys().next_back().unwrap();
        if newest > 1 {
            self.given.entry(name).or_default().push(function.alias.percent(newest));
        }
        did
    }

    /// Lets time pass: Lambda is done with what it was at.
    fn wait(&mut self) {
        self.now = self.now.plus_secs(TICK);
        for function in self.functions.values_mut() {
            if function.readiness == Readiness::Busy {
                function.readiness = Readiness::Ready;
            }
        }
    }

    /// One decision and what follows from it; gives the end once there is one.
    pub(super) fn step(&mut self, wanted: &Wanted, progress: &mut Progress) -> Option<Step> {
        match next(wanted, &self.look(progress), progress) {
            Step::Do(act) => {
                let did = self.done(&act, wanted);
                let seen = self.look(progress);
                progress.did(&act, did, &seen);
            }
            Step::Wait(_) => self.wait(),
            end => return Some(end),
        }
        None
    }

    /// A process from its start to its end, or until it is killed after so many calls. `lost` says of
    /// which of its calls the answers are lost; what then is done is seen by looking.
    pub(super) fn run(&mut self, wanted: &Wanted, calls: usize, lost: &[usize]) -> End {
        let mut progress = Progress::default();
        let mut made = 0;
        for _ in 0..2_000 {
            match next(wanted, &self.look(&progress), &mut progress) {
                Step::Do(act) => {
                    if made == calls {
                        return End::Killed;
                    }
                    let did = self.done(&act, wanted);
                    made += 1;
                    let seen = self.look(&progress);
                    let function = &seen.functions[act.function()];
                    let sha = wanted.functions.get(act.function());
                    if !lost.contains(&made) {
                        progress.did(&act, did, &seen);
                    } else if act.is_done(function, sha) {
                        progress.did(&act, Did::Done, &seen);
                    }
                }
                Step::Wait(_) => self.wait(),
                end => return End::Step(end),
            }
        }
        panic!("it does not end: {:#?}", self.acts);
    }
}
