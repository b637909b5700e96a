//! The service as processes: on-prem, and as a Lambda function on a Runtime API.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod aws;
mod cloud;
mod function;
mod mirror;
mod site;

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use http::Method;
use spillway_model::load::Load;
use spillway_one_code::onprem::{self, Environment};
use spillway_one_code::plan_on_use::PlanOnUse;
use spillway_part::client::Client;
use spillway_part::{Shutdown, clock};
use spillway_store::Database;
use spillway_test_support::Process;

use site::{Site, key};

const SOON: Duration = Duration::from_secs(20);

/// Waits until `holds`, which must not take long.
async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    spillway_test_support::until(what, SOON, holds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_serves_counts_follows_the_plan_and_drains() {
    let site = Site::new();
    site.agent.offer(3, &["qr-text"], &key());
    site.start_agent().await;
    let shutdown = Shutdown::new();
    let environment = Environment { seed: 50, ..Environment::default() };
    let (config, ending) = (site.config.clone(), shutdown.clone());
    let running =
        tokio::spawn(
            async move { onprem::run(config, "east-one-code", environment, ending).await },
        );
    let service = &site.config.sites[0].services[0];
    let client = Client::default();
    let get = async |to, path: &str| client.call(Method::GET, to, path, Bytes::new(), SOON).await;
    until("it is ready", async || get(service.admin, "/healthz").await.is_ok()).await;

    let code = get(service.listen, "/v1/users/u000050/code").await.unwrap();
    assert_eq!(code.status, 200);
    assert!(!code.headers.contains_key("x-spillway-served-by"));
    let path = "/v1/users/u000050/qr";
    until("the knob acts", async || {
        get(service.listen, path).await.unwrap().headers.contains_key("x-spillway-knob")
    })
    .await;
    assert_eq!(get(service.listen, "/v1/users/u999999/code").await.unwrap().status, 404);

    site.agent.offer(4, &["essential-only"], &key());
    until("the harsher knob acts", async || {
        get(service.listen, "/v1/notices").await.unwrap().status == 503
    })
    .await;
    let load: Load = client.get(service.admin, "/v1/load", SOON).await.unwrap();
    assert_eq!(load.generation, 4);
    let route = |id: &str| load.routes.iter().find(|(r, _)| r.as_str() == id).unwrap().1.clone();
    assert_eq!((route("code").arrivals, route("code").served, route("code").failed), (2, 2, 0));
    let served = load.routes.values().map(|route| route.served).sum::<u64>();
    assert_eq!(load.latency.iter().sum::<u64>(), served);
    assert!(route("code").response_bytes > 300, "{}", route("code").response_bytes);
    assert_eq!((route("notices").shed, route("notices").failed), (1, 0));

    shutdown.cancel();
    let ended = tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    assert!(get(service.listen, "/healthz").await.is_err(), "it still listens");
}

#[tokio::test]
async fn an_instance_that_cannot_start_says_why() {
    let site = Site::new();
    let run = |name: &'static str| {
        onprem::run(site.config.clone(), name, Environment::default(), Shutdown::new())
    };
    let error = run("west-one-code").await.unwrap_err().to_string();
    assert_eq!(error, "the configuration names no service `west-one-code`; it has east-one-code");
    let listen = site.config.sites[0].services[0].listen;
    let _taken = tokio::net::TcpListener::bind(listen).await.unwrap();
    let error = run("east-one-code").await.unwrap_err().to_string();
    assert!(error.contains("is taken by another process"), "{error}");
}

/// One look a second, beside the requests, and what it brings is fenced and verified.
#[tokio::test]
async fn a_plan_is_looked_at_on_use() {
    let site = Site::new();
    site.agent.offer(3, &[], &key());
    site.start_agent().await;
    let (plan, began) = (PlanOnUse::new(&site.config, None).unwrap(), clock::instant());
    let (plans, asked) = (plan.plans(), || site.agent.asked.load(SeqCst));
    let at = |millis| began + Duration::from_millis(millis);
    assert_eq!(plans.load().generation, 0);

    plan.before_request(at(0)).await;
    until("the first plan", async || plans.load().generation == 3).await;
    for millis in [1, 500, 999] {
        plan.before_request(at(millis)).await;
    }
    site.agent.offer(4, &["qr-text"], &key());
    plan.before_request(at(1000)).await;
    until("the second plan", async || plans.load().generation == 4).await;
    assert_eq!(asked(), 2);

    // Older, by a stranger, the same again: none takes force, and the next good one still does.
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let mut second = 1;
    for (generation, key) in [(3, key()), (9, stranger), (4, key()), (5, key())] {
        site.agent.offer(generation, &[], &key);
        let before = asked();
        until("the next look", async || {
            second += 1;
            plan.before_request(at(second * 1000)).await;
            asked() > before
        })
        .await;
    }
    until("the last plan", async || plans.load().generation == 5).await;
}

/// A process that was frozen asks before it answers, and so does a new one.
#[tokio::test]
async fn after_a_freeze_the_first_answer_follows_the_new_plan() {
    let site = Site::new();
    site.agent.offer(3, &[], &key());
    site.start_agent().await;
    let plan = PlanOnUse::new(&site.config, None).unwrap().waiting(SOON);
    let (plans, began) = (plan.plans(), clock::instant());
    let at = |millis| began + Duration::from_millis(millis);
    plan.before_request(at(0)).await;
    assert_eq!(plans.load().generation, 3);

    site.agent.offer(4, &["qr-text"], &key());
    plan.before_request(at(5001)).await;
    assert_eq!(plans.load().generation, 4);
    // What was asked before a freeze and came after it says nothing about now.
    site.agent.offer(5, &[], &key());
    plan.look(at(10_000));
    until("the look is back", async || plans.load().generation == 5).await;
    site.agent.offer(6, &[], &key());
    plan.before_request(at(60_000)).await;
    assert_eq!(plans.load().generation, 6);
}

/// An agent that is away, or takes connections and never answers, holds a request up rarely, and
/// briefly.
#[tokio::test]
async fn an_agent_that_does_not_answer_is_waited_for_once_in_five_seconds() {
    let site = Site::new();
    let _silent = tokio::net::TcpListener::bind(site.config.agent.listen).await.unwrap();
    let plan = PlanOnUse::new(&site.config, None).unwrap().waiting(Duration::from_millis(1));
    let (began, mut waits) = (clock::instant(), 0);
    for second in 0..100 {
        let mut request = std::pin::pin!(plan.before_request(began + Duration::from_secs(second)));
        let at_once = std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_ready()));
        if !at_once.await {
            waits += 1;
            request.await;
        }
    }
    assert_eq!(waits, 17, "every sixth of the hundred requests waits");
    assert_eq!(plan.plans().load().generation, 0);
}

/// The real program, on-prem.
fn program(site: &Site) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_one-code"));
    command.arg("--config").arg(&site.config_file).args(["--name", "east-one-code"]);
    command
}

/// Starts the program, waits until its log holds `says`, and stops it.
async fn run_until(site: &Site, log: &Path, says: &str) {
    let mut command = program(site);
    command.stderr(File::create(log).unwrap());
    let mut process = Process::adopt(command);
    let read = || std::fs::read_to_string(log).unwrap();
    until(says, async || {
        read().contains("service ready") || process.wait(Duration::ZERO).is_some()
    })
    .await;
    assert!(read().contains(says), "the log does not say `{says}`:\n{}", read());
    let stopped = tokio::task::spawn_blocking(move || process.stop());
    assert!(stopped.await.unwrap().is_some_and(|status| status.success()));
}

#[tokio::test]
async fn a_lost_key_is_told_and_what_it_means() {
    const LOST: &str = "codes shown until now are invalid";
    let site = Site::new();
    let state = site.config.state_path("");
    let (key, log) = (state.join("one-code.key"), state.join("log"));
    run_until(&site, &log, "service ready").await;
    assert!(!std::fs::read_to_string(&log).unwrap().contains(LOST), "a first start loses nothing");
    let database =
        Database::open(&site.config.store.shards, &state, spillway_store::Options::default())
            .unwrap();
    spillway_one_code::seed(&database, 1, clock::now()).await.unwrap();
    database.close().await;

    std::fs::remove_file(&key).unwrap();
    run_until(&site, &log, LOST).await;
    run_until(&site, &log, "service ready").await;
    assert!(!std::fs::read_to_string(&log).unwrap().contains(LOST), "it is lost once");

    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let output = program(&site).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("run `chmod 600 {}`", key.display())), "{said}");
}

#[tokio::test]
async fn a_damaged_database_is_told_at_once_and_by_name() {
    let site = Site::new();
    let state = site.config.state_path("");
    std::fs::write(state.join("one-code.db"), "no database at all ".repeat(500)).unwrap();
    let file = state.join("one-code.db").display().to_string();
    run_until(&site, &state.join("log"), &format!("{file} is damaged")).await;
}

/// However standard error fails, the program ends and serves as it would otherwise.
#[tokio::test]
async fn a_standard_error_that_takes_nothing_changes_nothing() {
    let site = Site::new();
    let (reader, unread) = std::io::pipe().unwrap();
    drop(reader);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut wrong = Command::new(env!("CARGO_BIN_EXE_one-code"));
    for stderr in [Stdio::from(unread.try_clone().unwrap()), full().into()] {
        assert_eq!(wrong.arg("--nmae").stderr(stderr).status().unwrap().code(), Some(64));
    }
    let mut closed = Command::new("sh");
    let closed = closed.args(["-c", "exec \"$0\" --nmae 2>&-", env!("CARGO_BIN_EXE_one-code")]);
    assert_eq!(closed.status().unwrap().code(), Some(64));

    let (client, admin) = (Client::default(), site.config.sites[0].services[0].admin);
    for stderr in [Stdio::from(unread), full().into()] {
        let mut command = program(&site);
        command.stderr(stderr);
        let mut process = Process::adopt(command);
        until("it serves", async || {
            client.call(Method::GET, admin, "/healthz", Bytes::new(), SOON).await.is_ok()
        })
        .await;
        let stopped = tokio::task::spawn_blocking(move || process.stop());
        assert!(stopped.await.unwrap().is_some_and(|status| status.success()));
    }
}
