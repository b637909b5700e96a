//! The plan read in a mirror, a real Redis that comes and goes, under the same rules as at the agent.

use std::task::Poll;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use spillway_one_code::plan_on_use::PlanOnUse;
use spillway_part::clock;
use spillway_store::Mirror;
use spillway_test_support::{Line, Redis};

use crate::site::{Site, key, signed};
use crate::{SOON, until};

fn mirror(site: &Site, url: &str) -> Mirror {
    Mirror::open(url, &site.config.service.host).unwrap()
}

async fn put(mirror: &Mirror, generation: u64, knobs: &[&str], key: &SigningKey) {
    mirror.put(signed(generation, knobs, key).as_bytes(), SOON).await.unwrap();
}

/// Looks until `holds`, a second after the other.
async fn look_until(plan: &PlanOnUse, second: &mut u64, holds: impl Fn(u64) -> bool) {
    let began = clock::instant();
    until("the plan", async || {
        *second += 1;
        plan.look(began + Duration::from_secs(*second));
        // The look goes on while `until` pauses.
        holds(plan.plans().load().generation)
    })
    .await;
}

#[tokio::test]
async fn what_lies_in_a_mirror_is_verified_and_fenced() {
    let (site, mut redis) = (Site::new(), Redis::start().await);
    let offered = mirror(&site, &redis.url());
    // No agent is there to ask.
    let plan = PlanOnUse::new(&site.config, Some(mirror(&site, &redis.url()))).unwrap();
    let plan = plan.waiting(SOON);
    let (plans, began, mut second) = (plan.plans(), clock::instant(), 0);
    plan.before_request(began).await;
    assert_eq!(plans.load().generation, 0, "it holds none yet");

    put(&offered, 3, &[], &key()).await;
    look_until(&plan, &mut second, |generation| generation == 3).await;
    // Older, by a stranger, no plan at all: none takes force, and the next good one still does.
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let bad = [signed(2, &[], &key()), signed(9, &[], &stranger), "junk".to_owned()];
    for bad in bad {
        offered.put(bad.as_bytes(), SOON).await.unwrap();
        // Each request waits for its look: more than five seconds lie between them.
        second += 100;
        plan.before_request(began + Duration::from_secs(second)).await;
        assert_eq!(plans.load().generation, 3, "{bad}");
    }
    put(&offered, 4, &["qr-text"], &key()).await;
    second += 100;
    plan.before_request(began + Duration::from_secs(second)).await;
    assert_eq!(plans.load().generation, 4, "it asks before it answers");

    // Away, back with nothing, back with an older one: the plan at hand serves on.
    redis.stop();
    for fill in [None, Some(3)] {
        second += 100;
        plan.before_request(began + Duration::from_secs(second)).await;
        redis.start_again();
        if let Some(generation) = fill {
            put(&offered, generation, &[], &key()).await;
        }
        second += 100;
        plan.before_request(began + Duration::from_secs(second)).await;
        assert_eq!(plans.load().generation, 4);
        redis.stop();
    }
    redis.start_again();
    put(&offered, 5, &[], &key()).await;
    look_until(&plan, &mut second, |generation| generation == 5).await;
}

/// A mirror whose connection went dead, or that never answers, holds a request up rarely, and briefly.
#[tokio::test]
async fn a_mirror_that_does_not_answer_is_waited_for_once_in_five_seconds() {
    let (site, redis) = (Site::new(), Redis::start().await);
    put(&mirror(&site, &redis.url()), 3, &[], &key()).await;
    let line = Line::to(&redis.url()).await;
    let reads = Some(mirror(&site, &line.url(&redis.url())));
    let plan = PlanOnUse::new(&site.config, reads).unwrap().waiting(SOON);
    let began = clock::instant();
    plan.before_request(began).await;
    assert_eq!(plan.plans().load().generation, 3);

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reads = Some(mirror(&site, &format!("rediss://{}", silent.local_addr().unwrap())));
    let never = PlanOnUse::new(&site.config, reads).unwrap().waiting(Duration::from_millis(1));
    let mut waits = 0;
    for second in 0..100 {
        let mut request = std::pin::pin!(never.before_request(began + Duration::from_secs(second)));
        let at_once = std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_ready()));
        if !at_once.await {
            waits += 1;
            request.await;
        }
    }
    assert_eq!(waits, 17, "every sixth of the hundred requests waits");

    put(&mirror(&site, &redis.url()), 4, &[], &key()).await;
    line.cut();
    look_until(&plan, &mut 100, |generation| generation == 4).await;
}
