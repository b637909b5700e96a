//! What operators ask and order: `status`, `explain`, `plan`, `tier`, `knob`.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spillway_model::api::{Explain, KnobOrder, KnobStatus, Status, TierOrder};
use spillway_model::{Config, SignedPlan, UnixMillis};
use spillway_part::client::{CallError, Client};
use spillway_part::start::load_config;

use crate::args::{Args, KnobCommand, TierCommand};
use crate::{output, up};

const DEADLINE: Duration = Duration::from_secs(5);

/// A call to the agent of the configuration in use.
struct Agent {
    config: Arc<Config>,
    runtime: tokio::runtime::Runtime,
}

impl Agent {
    fn of(args: &Args) -> anyhow::Result<Self> {
        Ok(Self { config: load_config(&args.config_path())?, runtime: up::current_thread()? })
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let to = self.config.agent.listen;
        self.runtime
            .block_on(async { Client::default().get(to, path, DEADLINE).await })
            .map_err(Self::hint)
    }

    fn order<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> anyhow::Result<T> {
        let file = self.config.state_path("operator.token");
        let token = std::fs::read_to_string(&file).with_context(|| {
            format!("cannot read the operator's token {}: orders need it", file.display())
        })?;
        let to = self.config.agent.listen;
        let call = async {
            let client = Client::default().with_token(token.trim().to_owned());
            client.exchange(method, to, path, body, DEADLINE).await
        };
        self.runtime.block_on(call).map_err(Self::hint)
    }

    /// Says what to do when nobody is there; what the agent itself refuses needs no more words.
    fn hint(error: CallError) -> anyhow::Error {
        let absent = matches!(error, CallError::Unreachable(..) | CallError::Deadline(..));
        let error = anyhow::Error::from(error);
        if absent {
            error.context("the agent is not there (does `spillway up` run?)")
        } else {
            error
        }
    }
}

pub(crate) fn status(args: &Args) -> anyhow::Result<ExitCode> {
    let status: Status = Agent::of(args)?.get("/v1/status")?;
    if args.json {
        output::json(&status)?;
    } else {
        output::line(&screen(&status));
    }
    Ok(ExitCode::SUCCESS)
}

fn screen(status: &Status) -> String {
    let sites = status.sites.iter().map(|(id, site)| {
        let of = |part: f64, whole: f64| if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
        vec![
            id.to_string(),
            format!("{} by {}", site.share, format!("{:?}", site.mode).to_lowercase()),
            format!(
                "{} of {} ({:.0} %)",
                output::bits(site.uplink_bits_per_sec),
                output::bits(site.uplink_cap_bits_per_sec),
                of(site.uplink_bits_per_sec, site.uplink_cap_bits_per_sec)
            ),
            format!(
                "{}, soon {}",
                output::bits(site.demand_bits_per_sec),
                output::bits(site.forecast_bits_per_sec)
            ),
            format!(
                "{:.0} of {:.0} ({:.0} %)",
                site.weighted_qps,
                site.weighted_qps_max,
                of(site.weighted_qps, site.weighted_qps_max)
            ),
            site.p95_ms.map_or_else(
                || "-".to_owned(),
                |p95| format!("{p95:.1} ms (limit {:.0})", site.p95_limit_ms),
            ),
            format!("{:.0}/s, {:.1}/s fail", site.requests_per_sec, site.failed_per_sec),
        ]
    });
    let head = ["site", "spilled", "uplink", "demand", "weighted QPS", "p95", "requests"];
    let cloud = &status.cloud;
    let parts = status.parts.iter().map(|part| {
        let generation = part.generation.map_or_else(|| "-".to_owned(), |g| g.to_string());
        vec![
            part.name.clone(),
            format!("{:?}", part.part).to_lowercase(),
            generation,
            part.error.clone().unwrap_or_else(|| "ok".to_owned()),
        ]
    });
    format!(
        "{}\n{}, generation {}, tier {}\n\n{}\n\ncloud: {:.0} requests/s, {} of {} environments, {:.1}/s refused\n\n{}",
        status.headline,
        status.at,
        status.generation,
        status.tier,
        output::table(&head, sites),
        cloud.requests_per_sec,
        cloud.environments,
        cloud.environments_max,
        cloud.throttled_per_sec,
        output::table(&["part", "kind", "generation", "state"], parts),
    )
}

pub(crate) fn explain(args: &Args, client: Option<IpAddr>) -> anyhow::Result<ExitCode> {
    let query = client.map_or_else(String::new, |ip| format!("?client={ip}"));
    let explain: Explain = Agent::of(args)?.get(&format!("/v1/explain{query}"))?;
    if args.json {
        output::json(&explain)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(client) = &explain.client {
        output::line(&format!("client {} has rank {:.4}", client.prefix, client.rank));
        for (site, told) in &client.sites {
            let to = if told.spilled { "the cloud" } else { "home" };
            output::line(&format!("  site {site}: {to}: {}", told.why));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let plan = &explain.plan;
    output::line(&format!(
        "generation {} of {}, tier {}",
        plan.generation, plan.issued_at, plan.tier
    ));
    for (site, site_plan) in &plan.sites {
        output::line(&format!(
            "  site {site}: {} spilled by {}, DNS TTL {} s",
            site_plan.share,
            format!("{:?}", site_plan.mode).to_lowercase(),
            site_plan.dns_ttl_secs
        ));
    }
    output::line("because");
    let reasons = explain.decision.as_ref().map_or(&plan.reasons, |decision| &decision.reasons);
    for reason in reasons {
        output::line(&format!("  - {reason}"));
    }
    if let Some(decision) = &explain.decision {
        output::line(&format!("bound by {}, decided {}", decision.binding, decision.at));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn plan_show(args: &Args) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let signed: SignedPlan = agent.get("/v1/plan")?;
    if args.json {
        output::json(&signed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = signed.verify(&spillway_part::follow::trusted_key(&agent.config)?)?;
    output::line(&serde_json::to_string_pretty(&plan)?);
    output::line("signature: good");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn tier(args: &Args, command: &TierCommand) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let status: Status = match command {
        TierCommand::Set { tier, for_secs, reason } => {
            let order = TierOrder { tier: *tier, for_secs: *for_secs, by: by(reason) };
            agent.order(Method::PUT, "/v1/tier", Some(&order))?
        }
        TierCommand::Clear => agent.order(Method::DELETE, "/v1/tier", None::<&()>)?,
    };
    if args.json {
        output::json(&status)?;
    } else {
        let told = match command {
            TierCommand::Set { tier, for_secs, .. } => {
                format!("at least tier {tier} for {for_secs} s")
            }
            TierCommand::Clear => "no tier is held; the agent decides alone".to_owned(),
        };
        output::line(&format!("{told}; now tier {}", status.tier));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn knob(args: &Args, command: &KnobCommand) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let knobs: Vec<KnobStatus> = match command {
        KnobCommand::List => agent.get("/v1/knobs")?,
        KnobCommand::Set { id, state, for_secs, reason } => {
            let order = KnobOrder { on: *state, for_secs: *for_secs, by: by(reason) };
            vec![agent.order(Method::PUT, &format!("/v1/knobs/{id}"), Some(&order))?]
        }
        KnobCommand::Clear { id } => {
            vec![agent.order(Method::DELETE, &format!("/v1/knobs/{id}"), None::<&()>)?]
        }
    };
    if args.json {
        output::json(&knobs)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = knobs.iter().map(|knob| {
        vec![
            knob.id.to_string(),
            knob.tier.to_string(),
            knob.releases.to_string(),
            if knob.on { "on" } else { "off" }.to_owned(),
            knob.until.as_ref().map(UnixMillis::to_string).unwrap_or_default(),
            knob.by.clone().unwrap_or_default(),
            knob.users_see.clone(),
            knob.owner.clone(),
        ]
    });
    let head = ["knob", "tier", "releases", "now", "until", "by", "users see", "owner"];
    output::line(&output::table(&head, rows));
    Ok(ExitCode::SUCCESS)
}

/// Who orders, as the audit shall have it: the login name, and the reason given.
fn by(reason: &str) -> String {
    let who = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    format!("{}: {reason}", who.unwrap_or_else(|_| "operator".to_owned()))
}
