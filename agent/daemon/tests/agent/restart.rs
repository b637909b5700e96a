//! Starting: what is taken up, what is refused, and that generations never go backwards.

use spillway_daemon::Agent;
use spillway_model::plan::{Plan, signing_key};
use spillway_model::{SignedPlan, SiteId};

use crate::site::{Running, Site, write_keys, write_secret};

fn share(plan: &Plan) -> f64 {
    plan.share(&SiteId::new("east").unwrap()).get()
}

fn keep_plan(site: &Site, name: &str, generation: u64, seed: [u8; 32]) {
    let line = spillway_model::plan::encode_key(&seed);
    let key = signing_key(&line).unwrap();
    let mut plan = Plan::initial([SiteId::new("east").unwrap()], 5);
    plan.generation = generation;
    plan.sites.values_mut().for_each(|site| site.share = spillway_model::Share::clamped(0.25));
    let signed = serde_json::to_vec(&SignedPlan::sign(&plan, &key).unwrap()).unwrap();
    std::fs::create_dir_all(site.config.state_path("plans")).unwrap();
    std::fs::write(site.config.state_path("plans").join(name), signed).unwrap();
}

#[tokio::test]
async fn a_restart_goes_on_without_a_jump() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    for _ in 0..30 {
        site.second(&mut agent, 400).await;
    }
    let before = agent.plans().load();
    assert!(share(&before) > 0.2, "the crowd is spilled: {}", share(&before));
    // As by SIGKILL: nothing is closed or flushed on purpose.
    drop(agent);

    let mut agent = site.agent().await;
    assert_eq!(agent.plans().load(), before);
    for _ in 0..10 {
        site.second(&mut agent, 400).await;
        let plan = agent.plans().load();
        assert!(plan.generation >= before.generation);
        assert!((share(&plan) - share(&before)).abs() < 0.1, "{plan:?}");
    }
}

#[tokio::test]
async fn a_restart_with_another_configuration_goes_on_too() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    for _ in 0..30 {
        site.second(&mut agent, 400).await;
    }
    let before = agent.plans().load();
    drop(agent);
    // Under this one the replay would have spilled from the start.
    let edits = [("plan.lease_secs", 3.into()), ("agent.uplink_target", 0.1.into())];
    let mut agent = Agent::start(site.changed(&edits)).await.unwrap();
    assert_eq!(agent.plans().load(), before);
    for _ in 0..10 {
        site.second(&mut agent, 400).await;
    }
    let plan = agent.plans().load();
    assert!(plan.generation > before.generation);
    assert!(share(&plan) > share(&before), "{plan:?}");
}

#[tokio::test]
async fn without_a_journal_the_kept_plans_are_the_floor() {
    let site = Site::new(3000).await;
    keep_plan(&site, "east-gw-1.json", 40, [7; 32]);
    keep_plan(&site, "east-gw-2.json", 41, [7; 32]);
    keep_plan(&site, "forged.json", 900, [8; 32]);
    std::fs::write(site.config.state_path("plans").join("torn.json"), "{\"plan\":").unwrap();
    let mut agent = site.agent().await;
    let plan = agent.plans().load();
    assert_eq!((plan.generation, share(&plan)), (41, 0.25));
    for _ in 0..30 {
        site.second(&mut agent, 10).await;
    }
    let plan = agent.plans().load();
    assert!((42..900).contains(&plan.generation), "{}", plan.generation);
}

#[tokio::test]
async fn the_newer_of_journal_and_kept_plans_counts() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    site.second(&mut agent, 800).await;
    site.second(&mut agent, 800).await;
    let ours = agent.plans().load();
    drop(agent);
    keep_plan(&site, "old.json", ours.generation - 1, [7; 32]);
    let agent = site.agent().await;
    assert_eq!(agent.plans().load(), ours);
    drop(agent);
    keep_plan(&site, "new.json", 77, [7; 32]);
    assert_eq!(site.agent().await.plans().load().generation, 77);
}

#[tokio::test]
async fn parts_with_a_newer_plan_are_counted_on_from() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    site.second(&mut agent, 10).await;
    site.fakes[0].load.lock().unwrap().generation = 500;
    agent.tick(site.now().plus_secs(1)).await;
    for _ in 0..30 {
        site.second(&mut agent, 800).await;
    }
    assert!(agent.plans().load().generation > 500);
}

#[tokio::test]
async fn a_changed_key_signs_the_last_plan_anew() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    site.second(&mut agent, 10).await;
    let before = agent.plans().load();
    drop(agent);
    write_keys(&site.config, [9; 32]);
    let running = Running::start(&site).await;
    let signed: SignedPlan = running.json("/v1/plan").await;
    let key = spillway_part::follow::trusted_key(&site.config).unwrap();
    assert!(signed.verify(&key).unwrap().generation >= before.generation);
    running.stop().await;
}

#[tokio::test]
async fn a_second_agent_is_refused() {
    let site = Site::new(3000).await;
    let first = site.agent().await;
    let refusal = site.refusal().await;
    assert!(refusal.contains("agent.lock"), "{refusal}");
    assert!(refusal.contains(&format!("(process {})", std::process::id())), "{refusal}");
    drop(first);
    site.agent().await;
}

#[tokio::test]
async fn missing_or_wrong_keys_are_named_with_the_remedy() {
    let site = Site::new(3000).await;
    let path = |name| site.config.state_path(name);
    for name in ["plan.key", "plan.pub", "operator.token"] {
        let content = std::fs::read_to_string(path(name)).unwrap();
        std::fs::remove_file(path(name)).unwrap();
        let refusal = site.refusal().await;
        assert!(refusal.contains(name) && refusal.contains("spillway keygen"), "{refusal}");
        write_secret(&site.config, name, "nonsense\n");
        let refusal = site.refusal().await;
        assert!(refusal.contains(name) && refusal.contains("spillway keygen"), "{refusal}");
        write_secret(&site.config, name, &content);
    }
    let public = std::fs::read(path("plan.pub")).unwrap();
    write_keys(&site.config, [9; 32]);
    std::fs::write(path("plan.pub"), public).unwrap();
    let refusal = site.refusal().await;
    assert!(refusal.contains("is not the private half of plan.pub"), "{refusal}");
}

#[tokio::test]
async fn secrets_that_others_may_use_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new(3000).await;
    for name in ["plan.key", "operator.token"] {
        let path = site.config.state_path(name);
        let set = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for loose in [0o644, 0o640, 0o602] {
            set(loose);
            let refusal = site.refusal().await;
            assert!(refusal.contains(&format!("chmod 600 {}", path.display())), "{refusal}");
            assert!(refusal.contains(&format!("{loose:o}")), "{refusal}");
        }
        set(0o400);
        drop(site.agent().await);
        set(0o600);
    }
}
