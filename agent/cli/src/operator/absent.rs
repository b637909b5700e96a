//! What can be told while the agent does not answer: the newest plan that a part keeps on disk.

use std::net::IpAddr;
use std::process::ExitCode;

use spillway_daemon::{Policy, explain_client, newest_kept_plan};
use spillway_model::{Config, Plan, UnixMillis};
use spillway_part::clock;
use spillway_part::follow::trusted_key;

use super::text;
use crate::args::Args;
use crate::output;

/// `EX_UNAVAILABLE` of sysexits.h.
const UNAVAILABLE: u8 = 69;

/// Says that the agent does not answer.
pub(super) fn told(args: &Args, why: &anyhow::Error) -> ExitCode {
    if args.json {
        output::error_json(why);
    } else {
        output::error(why);
    }
    ExitCode::from(UNAVAILABLE)
}

/// Says so, and shows the newest kept plan, or what it means for `client`.
pub(super) fn last_plan(
    args: &Args,
    config: &Config,
    why: &anyhow::Error,
    client: Option<IpAddr>,
) -> anyhow::Result<ExitCode> {
    let key = match trusted_key(config) {
        Ok(key) => key,
        // Where no key was ever made, nothing can have been kept either.
        Err(_) => return Ok(told(args, why)),
    };
    let Some((plan, _)) = newest_kept_plan(config, &key) else { return Ok(told(args, why)) };
    let now = clock::now();
    let client = client.map(|ip| explain_client(&Policy::new(config), &plan, ip));
    if args.json {
        let mut told = json(&plan, why, now);
        if let Some(client) = client {
            told["client"] = serde_json::to_value(client)?;
        }
        output::people_json(&told)?;
    } else {
        output::error(why);
        output::line(&text::last_plan(&plan, client.as_ref(), now));
    }
    Ok(ExitCode::from(UNAVAILABLE))
}

fn json(plan: &Plan, why: &anyhow::Error, now: UnixMillis) -> serde_json::Value {
    serde_json::json!({
        "error": format!("{why:#}"),
        "last_plan": plan,
        "age_secs": now.millis_since(plan.issued_at) / 1000,
        "expired": plan.expires_at <= now,
        "verified": true,
    })
}
