//! The plans that the parts keep on disk, which tell what the data plane does when nobody else can.

use std::path::Path;

use ed25519_dalek::VerifyingKey;
use spillway_model::{Config, Plan, SignedPlan};
use spillway_part::files;

/// Most kept plans that are looked at: one a part.
const PLANS_MAX: usize = 10_000;

/// The newest of the plans that the parts keep in the state folder, as far as they are signed by
/// `key`. `None` when there is none, or none can be read.
#[must_use]
pub fn newest_plan(config: &Config, key: &VerifyingKey) -> Option<(Plan, SignedPlan)> {
    let entries = std::fs::read_dir(config.state_path("plans")).ok()?;
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|ext| ext == "json"));
    files
        .take(PLANS_MAX)
        .filter_map(|path| read(&path, key))
        .max_by_key(|(plan, _)| plan.generation)
}

fn read(path: &Path, key: &VerifyingKey) -> Option<(Plan, SignedPlan)> {
    let signed: SignedPlan = serde_json::from_slice(&files::read(path).ok()?).ok()?;
    let plan = signed.verify(key).ok()?;
    Some((plan, signed))
}
