//! A running site set for one act, and the storms played on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use spillway_decide::Policy;
use spillway_model::api::Decision;
use spillway_model::config::edited;
use spillway_model::{Config, SiteId, Tier};
use spillway_part::Shutdown;
use spillway_part::client::Client;
use spillway_part::start::load_config;
use spillway_storm::{Options, Profile, Progress, Report, render, svg};

use super::verdict::{Capacity, Check, Outage};
use super::{file, say, toml_path, verdict};
use crate::args::DemoOptions;
use crate::up;
use crate::up::supervisor::Supervisor;

/// Rate and length of the probe that measures what the site can carry.
const PROBE_RATE: f64 = 40.0;
const PROBE_SECS: f64 = 6.0;
/// How long the agent stays down after it was killed.
const OUTAGE: Duration = Duration::from_secs(4);

/// What came of an act.
pub(super) struct Played {
    pub(super) checks: Vec<Check>,
    /// Why they tell nothing, if they do not.
    pub(super) strain: Option<String>,
}

/// A site set that runs.
pub(super) struct Stage {
    config: Arc<Config>,
    folder: PathBuf,
    supervisor: Supervisor,
    site: SiteId,
    quiet: bool,
}

impl Stage {
    /// Starts a site set like that of `source`, with its state in `folder`, the uplink the options
    /// say, and optionally a cloud of so many environments.
    pub(super) async fn open(
        source: &Path,
        options: &DemoOptions,
        folder: &Path,
        environments: Option<i64>,
        quiet: bool,
    ) -> anyhow::Result<Self> {
        let original = load_config(source)?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let uplink = i64::try_from(options.uplink).context("--uplink is too large")?;
        let mut edits = vec![
            ("plan.state_dir".to_owned(), toml_path(&folder.join("state"))),
            ("site.0.uplink.bits_per_sec".to_owned(), toml::Value::from(uplink)),
            ("site.0.uplink.shape".to_owned(), toml::Value::from(true)),
        ];
        for (i, zone) in original.dns.zone_files.iter().enumerate() {
            let zone = std::path::absolute(original.path(zone))?;
            edits.push((format!("dns.zone_files.{i}"), toml_path(&zone)));
        }
        if let Some(environments) = environments {
            for key in ["environments_max", "burst_per_10s"] {
                edits.push((format!("cloud.local.{key}"), toml::Value::from(environments)));
            }
        }
        let edits: Vec<_> =
            edits.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
        let text = std::fs::read_to_string(source).with_context(|| source.display().to_string())?;
        let path = folder.join("spillway.toml");
        std::fs::write(&path, edited(&text, &edits)?)
            .with_context(|| path.display().to_string())?;
        let config = load_config(&path)?;
        let supervisor =
            up::start(&path, Duration::from_secs(1), |event| say(&event.to_string())).await?;
        if let Err(e) = supervisor.ready().await {
            supervisor.stop().await;
            return Err(e);
        }
        let site = config.sites.first().map(|site| site.id.clone()).context("a site")?;
        Ok(Self { config, folder: folder.to_owned(), supervisor, site, quiet })
    }

    /// Act one.
    pub(super) async fn spill(self, options: &DemoOptions, trace: &Path) -> anyhow::Result<Played> {
        let played = self.play_spill(options, trace).await;
        self.supervisor.stop().await;
        played
    }

    async fn play_spill(&self, options: &DemoOptions, trace: &Path) -> anyhow::Result<Played> {
        let capacity = self.probe(options).await?;
        let peak = options.peak * capacity.requests_per_sec;
        let profile = Profile::Trace {
            file: trace.to_owned(),
            column: "requests".to_owned(),
            step_secs: 60.0,
            peak,
            play_step_in: Some(options.compress),
        };
        let curve = profile.curve()?;
        say(&format!(
            "the flash crowd peaks at {peak:.0} requests/s, {:.1} times that; it takes {:.0} s",
            options.peak,
            curve.secs()
        ));
        // Just past the height, where losing the agent hurts most.
        let height = (0..100_000_u32)
            .map(f64::from)
            .take_while(|second| *second < curve.secs())
            .max_by(|a, b| curve.rate_at(*a).total_cmp(&curve.rate_at(*b)))
            .unwrap_or(0.0);
        let kill_at = Duration::from_secs_f64(height + options.compress);
        let storm = self.storm(options, profile, "storm");
        let outage = async {
            tokio::time::sleep(kill_at).await;
            let from = spillway_part::clock::now();
            self.supervisor.kill("agent", OUTAGE)?;
            anyhow::Ok(Outage { from, to: from.plus_millis(u64::try_from(OUTAGE.as_millis())?) })
        };
        let (report, outage) = tokio::join!(storm, outage);
        let (report, outage) = (report?, outage?);
        let decisions = self.decisions().await?;
        let checks = verdict::spill(&verdict::Evidence {
            config: &self.config,
            site: &self.site,
            capacity,
            report: &report,
            decisions: &decisions,
            outage,
        });
        Ok(Played { checks, strain: strain(&[&report], &decisions, Some(outage)) })
    }

    /// Act two.
    pub(super) async fn tiers(self, options: &DemoOptions) -> anyhow::Result<Played> {
        let played = self.play_tiers(options).await;
        self.supervisor.stop().await;
        played
    }

    async fn play_tiers(&self, options: &DemoOptions) -> anyhow::Result<Played> {
        let capacity = self.probe(options).await?;
        let calm = 0.5 * capacity.requests_per_sec;
        let back = {
            // All knobs to come back from, one a dwell, and some seconds to be sure.
            #[expect(clippy::cast_precision_loss, reason = "seconds")]
            let secs = (Policy::new(&self.config).restore_secs() + 12) as f64;
            secs
        };
        let mut steps = Vec::new();
        for (name, needed, factor, secs) in
            [("moderate", Tier::Visible, 1.3, 25.0), ("severe", Tier::Severe, 6.0, 30.0)]
        {
            say(&format!(
                "{name}: {factor} times what the site can carry for {secs} s, then calm for {back} s"
            ));
            let high = factor * capacity.requests_per_sec;
            let (rise, fall) = (5.0, 5.0 + secs);
            let profile = Profile::Points(vec![
                (0.0, calm),
                (rise, calm),
                (rise, high),
                (fall, high),
                (fall, calm),
                (fall + back, calm),
            ]);
            let report = self.storm(options, profile, name).await?;
            steps.push((name, needed, report));
        }
        let decisions = self.decisions().await?;
        let reports: Vec<&Report> = steps.iter().map(|(_, _, report)| report).collect();
        let strain = strain(&reports, &decisions, None);
        Ok(Played { checks: verdict::tiers(&steps, &decisions), strain })
    }

    /// What the site can carry: its uplink over the bytes that a request of the usual mix costs it.
    async fn probe(&self, options: &DemoOptions) -> anyhow::Result<Capacity> {
        let report = self
            .storm(options, Profile::Constant { rate: PROBE_RATE, secs: PROBE_SECS }, "probe")
            .await?;
        let capacity = Capacity::measured(&report, self.config.sites[0].uplink.bits_per_sec)
            .context("the probe got no answers; see the logs")?;
        say(&format!(
            "the site can carry {:.0} requests/s: {} over {:.0} bytes a request",
            capacity.requests_per_sec,
            crate::output::bits(capacity.bits_per_sec),
            capacity.bytes_per_request,
        ));
        Ok(capacity)
    }

    async fn storm(
        &self,
        options: &DemoOptions,
        profile: Profile,
        name: &str,
    ) -> anyhow::Result<Report> {
        let storm =
            Options { clients: options.clients, seed: options.seed, ..Options::new(profile) };
        let progress = if self.quiet { Progress::Silent } else { Progress::auto() };
        let report =
            spillway_storm::run(self.config.clone(), storm, progress, Shutdown::new()).await?;
        self.write(name, "svg", &svg(&report))?;
        self.write(
            name,
            "txt",
            &format!("{}\n{}", render::table(&report), render::summary(&report)),
        )?;
        self.write(name, "json", &serde_json::to_string(&report)?)?;
        if !self.quiet && name != "probe" {
            crate::output::note(&render::summary(&report));
        }
        Ok(report)
    }

    fn write(&self, name: &str, kind: &str, text: &str) -> anyhow::Result<()> {
        let path = file(&self.folder, &format!("{name}.{kind}"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// All decisions of this stage, oldest first.
    async fn decisions(&self) -> anyhow::Result<Vec<Decision>> {
        let client = Client::default();
        let path = "/v1/decisions?after=0&limit=10000";
        Ok(client.get(self.config.agent.listen, path, Duration::from_secs(10)).await?)
    }
}

/// Whether the machine kept up with the storms and the agent.
fn strain(reports: &[&Report], decisions: &[Decision], outage: Option<Outage>) -> Option<String> {
    let late_ms = reports.iter().map(|report| report.totals.late_ms_max).fold(0.0, f64::max);
    let ticks: Vec<_> = decisions.iter().map(|decision| decision.at).collect();
    verdict::strain(late_ms, &ticks, outage)
}
