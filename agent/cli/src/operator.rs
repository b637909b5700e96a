//! What operators ask and order: `status`, `explain`, `plan`, `tier`, `knob`, `share`, `gateways`,
//! `mode`, `event`.

mod absent;
mod text;

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use spillway_model::api::{
    Decision, EventOrder, EventStatus, Explain, GatewaysOrder, KnobOrder, KnobStatus, ModeOrder,
    ShareOrder, Status, TierOrder,
};
use spillway_model::{Config, EventId, Plan, SignedPlan, UnixMillis};
use spillway_part::client::{CallError, Client};
use spillway_part::clock;
use spillway_part::follow::trusted_key;
use spillway_part::start::load_config;

use crate::args::{
    Args, EventCommand, GatewaysOptions, KnobCommand, ModeOptions, ShareOptions, TierCommand,
};
use crate::{output, up};

const DEADLINE: Duration = Duration::from_secs(5);

/// A call to the agent of the configuration in use.
struct Agent {
    config: Arc<Config>,
    runtime: tokio::runtime::Runtime,
}

/// What came of a call: an answer, or nobody was there to give one.
enum Reply<T> {
    Answer(T),
    Absent(anyhow::Error),
}

impl Agent {
    fn of(args: &Args) -> anyhow::Result<Self> {
        Ok(Self { config: load_config(&args.config_path())?, runtime: up::current_thread()? })
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Reply<T>> {
        let to = self.config.agent.listen;
        reply(self.runtime.block_on(async { Client::default().get(to, path, DEADLINE).await }))
    }

    fn order<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> anyhow::Result<Reply<T>> {
        let file = self.config.state_path("operator.token");
        let token = std::fs::read_to_string(&file).with_context(|| {
            format!("cannot read the operator's token {}: orders need it", file.display())
        })?;
        let to = self.config.agent.listen;
        let call = async {
            let client = Client::default().with_token(token.trim().to_owned());
            client.exchange(method, to, path, body, DEADLINE).await
        };
        reply(self.runtime.block_on(call))
    }

    /// Gives an order, or with `None` clears what it is about.
    fn put_or_clear<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        order: Option<&B>,
    ) -> anyhow::Result<Reply<T>> {
        let method = if order.is_some() { Method::PUT } else { Method::DELETE };
        self.order(method, path, order)
    }
}

/// Tells nobody being there, about which something can be done, from what the agent itself refuses.
fn reply<T>(called: Result<T, CallError>) -> anyhow::Result<Reply<T>> {
    match called {
        Ok(answer) => Ok(Reply::Answer(answer)),
        Err(e @ (CallError::Unreachable(..) | CallError::Deadline(..))) => Ok(Reply::Absent(
            anyhow::Error::from(e).context("the agent does not answer (does `spillway up` run?)"),
        )),
        Err(e) => Err(e.into()),
    }
}

pub(crate) fn status(args: &Args) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let status: Status = match agent.get("/v1/status")? {
        Reply::Answer(status) => status,
        Reply::Absent(why) => return absent::last_plan(args, &agent.config, &why, None),
    };
    if args.json {
        output::people_json(&status)?;
    } else {
        output::line(&text::status(&status, clock::now(), output::width()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn explain(args: &Args, client: Option<IpAddr>) -> anyhow::Result<ExitCode> {
    let query = client.map_or_else(String::new, |ip| format!("?client={ip}"));
    let agent = Agent::of(args)?;
    let explain: Explain = match agent.get(&format!("/v1/explain{query}"))? {
        Reply::Answer(explain) => explain,
        Reply::Absent(why) => return absent::last_plan(args, &agent.config, &why, client),
    };
    if args.json {
        output::people_json(&explain)?;
    } else if let Some(client) = &explain.client {
        output::line(&text::client(client));
    } else {
        output::line(&text::explain(&explain, clock::now(), output::width()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn explain_decision(args: &Args, which: &str) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let reply: Reply<Decision> = agent.get(&format!("/v1/decisions/{which}"))?;
    tell(args, reply, text::decision)
}

/// The plan in force in the exact bytes that were signed, and whether the signature is good.
#[derive(Serialize)]
struct Shown<'a> {
    plan: &'a RawValue,
    signature: &'a str,
    verified: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The plan's times, as RFC 3339: those in the plan are under its signature.
    issued_at: Option<String>,
    expires_at: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(signed: &'a SignedPlan, verified: &anyhow::Result<Plan>) -> Self {
        let plan = verified.as_ref().ok();
        Self {
            plan: &signed.plan,
            signature: &signed.signature,
            verified: plan.is_some(),
            error: verified.as_ref().err().map(|e| format!("{e:#}")),
            issued_at: plan.map(|plan| plan.issued_at.to_string()),
            expires_at: plan
                .filter(|plan| plan.expires_at <= output::TIME_MAX)
                .map(|plan| plan.expires_at.to_string()),
        }
    }
}

pub(crate) fn plan_show(args: &Args) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let signed: SignedPlan = match agent.get("/v1/plan")? {
        Reply::Answer(signed) => signed,
        Reply::Absent(why) => return absent::last_plan(args, &agent.config, &why, None),
    };
    let plan = trusted_key(&agent.config)
        .map_err(anyhow::Error::from)
        .and_then(|key| Ok(signed.verify(&key)?));
    if args.json {
        output::json(&Shown::of(&signed, &plan))?;
        return Ok(ExitCode::from(u8::from(plan.is_err())));
    }
    output::line(&text::plan(&plan?, clock::now()));
    output::line("signature: good");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn tier(args: &Args, command: &TierCommand) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let reply = match command {
        TierCommand::Set { tier, for_secs, reason } => {
            let order = TierOrder { tier: *tier, for_secs: *for_secs, by: by(reason) };
            agent.order(Method::PUT, "/v1/tier", Some(&order))?
        }
        TierCommand::Clear => agent.order(Method::DELETE, "/v1/tier", None::<&()>)?,
    };
    tell(args, reply, text::tier_order)
}

/// Tells the answer to an order.
fn tell<T: Serialize>(
    args: &Args,
    reply: Reply<T>,
    text: impl Fn(&T, UnixMillis) -> String,
) -> anyhow::Result<ExitCode> {
    let answer = match reply {
        Reply::Answer(answer) => answer,
        Reply::Absent(why) => return Ok(absent::told(args, &why)),
    };
    if args.json {
        output::people_json(&answer)?;
    } else {
        output::line(&text(&answer, clock::now()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn share(args: &Args, options: &ShareOptions) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let ShareOptions { site, share, hold } = options;
    let order = share.zip(hold.for_secs).map(|(share, for_secs)| ShareOrder {
        share,
        bound: hold.bound(),
        for_secs,
        by: by(&hold.reason),
    });
    let reply = agent.put_or_clear(&format!("/v1/shares/{site}"), order.as_ref())?;
    tell(args, reply, |status: &Status, now| {
        let given = text::order_on(status, &format!("share {site}"), now);
        let share = status.sites.get(site).map(|site| site.share).unwrap_or_default();
        format!("{given}\nnow {share} of {site} spilled")
    })
}

pub(crate) fn gateways(args: &Args, options: &GatewaysOptions) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let GatewaysOptions { gateways, hold } = options;
    let order = gateways.zip(hold.for_secs).map(|(gateways, for_secs)| GatewaysOrder {
        gateways,
        bound: hold.bound(),
        for_secs,
        by: by(&hold.reason),
    });
    let reply = agent.put_or_clear("/v1/gateways", order.as_ref())?;
    tell(args, reply, |status: &Status, now| {
        let wanted = status.cloud.fleet.as_ref().map_or(0, |fleet| fleet.wanted.gateways);
        format!("{}\nnow {wanted} wanted", text::order_on(status, "gateways", now))
    })
}

pub(crate) fn mode(args: &Args, options: &ModeOptions) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let ModeOptions { mode, for_secs, reason, .. } = options;
    let order = mode.zip(*for_secs);
    let order = order.map(|(mode, for_secs)| ModeOrder { mode, for_secs, by: by(reason) });
    let reply = agent.put_or_clear("/v1/mode", order.as_ref())?;
    tell(args, reply, |status: &Status, now| {
        format!("{}\nnow mode {}", text::order_on(status, "mode", now), status.mode)
    })
}

pub(crate) fn event(args: &Args, command: &EventCommand) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let order = |name: &EventId, order: Option<&EventOrder>| -> anyhow::Result<Reply<Status>> {
        agent.put_or_clear(&format!("/v1/events/{name}"), order)
    };
    let tell_order = |name: &EventId, reply| {
        let about = format!("event {name}");
        tell(args, reply, |status: &Status, now| text::order_on(status, &about, now))
    };
    match command {
        EventCommand::List => {
            let events: Reply<Vec<EventStatus>> = agent.get("/v1/events")?;
            tell(args, events, |events, now| text::events(events, now, output::width()))
        }
        EventCommand::Add { name, at, for_secs, factor, site, reason } => {
            let event = EventOrder {
                at: at.after(clock::now()),
                for_secs: *for_secs,
                factor: *factor,
                site: site.clone(),
                by: by(reason),
            };
            tell_order(name, order(name, Some(&event))?)
        }
        EventCommand::Remove { name } => {
            let reply = order(name, None)?;
            if matches!(&reply, Reply::Answer(status) if status.replaced.is_none()) {
                anyhow::bail!("no event `{name}` is announced: `event list` tells those that are");
            }
            tell_order(name, reply)
        }
    }
}

pub(crate) fn knob(args: &Args, command: &KnobCommand) -> anyhow::Result<ExitCode> {
    let agent = Agent::of(args)?;
    let one = |reply| match reply {
        Reply::Answer(knob) => Reply::Answer(vec![knob]),
        Reply::Absent(why) => Reply::Absent(why),
    };
    let reply = match command {
        KnobCommand::List => agent.get("/v1/knobs")?,
        KnobCommand::Set { id, state, for_secs, reason } => {
            let order = KnobOrder { on: *state, for_secs: *for_secs, by: by(reason) };
            one(agent.order(Method::PUT, &format!("/v1/knobs/{id}"), Some(&order))?)
        }
        KnobCommand::Clear { id } => {
            one(agent.order(Method::DELETE, &format!("/v1/knobs/{id}"), None::<&()>)?)
        }
    };
    let knobs: Vec<KnobStatus> = match reply {
        Reply::Answer(knobs) => knobs,
        Reply::Absent(why) => return Ok(absent::told(args, &why)),
    };
    if args.json {
        output::people_json(&knobs)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = clock::now();
    output::line(&match (command, knobs.as_slice()) {
        (KnobCommand::Set { .. } | KnobCommand::Clear { .. }, [knob]) => {
            text::knob_order(knob, now)
        }
        _ => text::knobs(&knobs, now, output::width()),
    });
    Ok(ExitCode::SUCCESS)
}

/// Who orders, as the audit shall have it: the login name, and the reason given.
fn by(reason: &str) -> String {
    let who = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    let who = who.ok().filter(|who| !who.is_empty());
    let who = who.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()));
    format!("{who}: {reason}")
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn a_plan_in_json_says_whether_its_signature_is_good() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let plan = Plan::initial([spillway_model::SiteId::new("east").unwrap()], 5);
        let signed = SignedPlan::sign(&plan, &key).unwrap();
        let told = |key: &SigningKey| {
            let verified = signed.verify(&key.verifying_key()).map_err(anyhow::Error::from);
            serde_json::to_string(&Shown::of(&signed, &verified)).unwrap()
        };
        let good = told(&key);
        assert!(good.contains(signed.plan.get()), "the bytes that were signed: {good}");
        let good: serde_json::Value = serde_json::from_str(&good).unwrap();
        assert_eq!((good["verified"].as_bool(), good.get("error")), (Some(true), None));
        assert_eq!(good["issued_at"], "1970-01-01T00:00:00.000Z");
        let bad: serde_json::Value =
            serde_json::from_str(&told(&SigningKey::from_bytes(&[8; 32]))).unwrap();
        assert_eq!(bad["verified"], false);
        assert!(bad["error"].as_str().unwrap().contains("signature"), "{bad}");
    }
}
