//! The real program as Terraform and `spillway deploy` put it up: secrets by ARN, PostgreSQL and Redis
//! over TLS, the plan in the Redis, its key beside the configuration, and nothing else.

use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use spillway_store::{Database, Mirror, Options, with_password};
use spillway_test_support::{Postgres, Process, Redis, RuntimeApi, SecretsManager};
use tokio::time::Instant;

use crate::function::{command, invoke};
use crate::site::{Site, key, signed};
use crate::{SOON, until};

const ADA: &str = r#"{"name": "Ada", "id_number": "X1234567"}"#;
/// 32 bytes in base64.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

struct Cloud {
    site: Site,
    postgres: Postgres,
    redis: Redis,
    manager: SecretsManager,
    mirror: Mirror,
}

impl Cloud {
    async fn new() -> Self {
        let (postgres, redis) = tokio::join!(Postgres::start_tls(), Redis::start());
        let site = Site::new();
        let url = format!("{}?sslmode=require", postgres.url());
        let text = std::fs::read_to_string(&site.config_file).unwrap();
        std::fs::write(&site.config_file, text.replace("sqlite:one-code.db", &url)).unwrap();
        let beside = site.config_file.parent().unwrap().join("plan.pub");
        std::fs::rename(site.config.state_path("plan.pub"), beside).unwrap();
        std::fs::remove_dir(site.config.state_path("")).unwrap();
        let mirror = Mirror::open(&redis.url(), &site.config.service.host).unwrap();
        Self { site, postgres, redis, manager: SecretsManager::start().await, mirror }
    }

    fn function(&self, api: &RuntimeApi, cache: &str) -> Command {
        let mut function = command(&self.site, api);
        self.manager.environment(&mut function);
        function.env("SPILLWAY_CACHE", cache);
        for (variable, value) in [("ONE_CODE_SECRET", KEY), ("PGPASSWORD", "password")] {
            let arn = self.manager.keep(variable, value);
            function.env(format!("{variable}_ARN"), arn);
        }
        function
    }

    async fn publish(&self, generation: u64, knobs: &[&str]) {
        self.mirror.put(signed(generation, knobs, &key()).as_bytes(), SOON).await.unwrap();
    }

    /// What the database's server answers to a question about its processes.
    async fn processes(&self, question: &'static str) -> Vec<i32> {
        let url = with_password(&format!("{}?sslmode=require", self.postgres.url()), "password");
        let database = Database::open(&[url], "/".as_ref(), Options::default()).unwrap();
        let asked = sqlx::query_scalar(question).fetch_all(database.shards()[0].pool());
        let answer = asked.await.unwrap();
        database.close().await;
        answer
    }

    /// Those of connections other than the one that asks.
    async fn backends(&self) -> Vec<i32> {
        let question = "SELECT pid FROM pg_stat_activity \
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.processes(question).await
    }
}

fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_has_all_from_its_cloud() {
    let mut cloud = Cloud::new().await;
    cloud.publish(3, &[]).await;
    let mut api = RuntimeApi::start().await;
    let _process = Process::start(&cloud.function(&api, &cloud.redis.url()));

    let answer = invoke(&mut api, "POST", "/v1/users", ADA).await;
    assert_eq!(answer["statusCode"], 201, "{answer}");
    let user = body(&answer)["user"].as_str().unwrap().to_owned();
    let qr = format!("/v1/users/{user}/qr");
    let first = cloud.backends().await;
    assert_eq!(first.len(), 1, "one connection an environment");
    for _ in 0..5 {
        assert_eq!(invoke(&mut api, "GET", &qr, "").await["statusCode"], 200);
    }
    assert_eq!(cloud.backends().await, first, "and it is used again");
    assert_eq!(cloud.manager.calls(), 2, "secrets are fetched once");

    // The server closes the connection while the environment sleeps.
    let end = "SELECT CASE WHEN pg_terminate_backend(pid, 20000) THEN pid END FROM \
        (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
        AND pid <> pg_backend_pid() OFFSET 0) AS others";
    assert_eq!(cloud.processes(end).await, first);
    let answer = invoke(&mut api, "GET", &qr, "").await;
    assert_eq!(answer["statusCode"], 200, "{answer}");

    // Knobs come with the plan, and stay without Redis; so do answers.
    cloud.publish(4, &["qr-text"]).await;
    let knob = async |api: &mut RuntimeApi| {
        let answer = invoke(api, "GET", &qr, "").await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
        answer["headers"]["x-spillway-knob"].as_str().map(str::to_owned)
    };
    until("the knob acts", async || knob(&mut api).await.is_some()).await;
    cloud.redis.stop();
    for _ in 0..5 {
        assert_eq!(knob(&mut api).await.as_deref(), Some("qr-text"));
        assert_eq!(invoke(&mut api, "GET", "/v1/notices", "").await["statusCode"], 200);
    }
    cloud.redis.start_again();
    cloud.publish(5, &[]).await;
    until("the next plan", async || knob(&mut api).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_a_redis_that_is_vouched_for() {
    let (cloud, redis) = (Cloud::new().await, Redis::start_tls().await);
    let mut api = RuntimeApi::start().await;
    let mut function = cloud.function(&api, &redis.url());
    let roots = redis.certificate().unwrap();
    let _process = Process::start(function.env("SSL_CERT_FILE", roots));
    assert_eq!(invoke(&mut api, "POST", "/v1/users", ADA).await["statusCode"], 201);
    assert_eq!(invoke(&mut api, "GET", "/v1/notices", "").await["statusCode"], 200);
    let client = || {
        let mut cli = Command::new("redis-cli");
        let url = redis.url();
        let (host, port) = url.strip_prefix("rediss://").unwrap().rsplit_once(':').unwrap();
        cli.args(["-h", host, "-p", port, "--tls", "--cacert"]).arg(roots);
        cli
    };
    until("the cache is used", async || {
        invoke(&mut api, "GET", "/v1/notices", "").await;
        let keys = client().arg("KEYS").arg("*").output().unwrap();
        String::from_utf8_lossy(&keys.stdout).contains("one-code:notices")
    })
    .await;
    let plan = format!("spillway:plan:{}", cloud.site.config.service.host);
    let set = client().args(["SET", &plan, &signed(3, &["essential-only"], &key())]).output();
    assert!(set.unwrap().status.success());
    until("the plan is followed", async || {
        invoke(&mut api, "GET", "/v1/notices", "").await["statusCode"] == 503
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_without_its_secrets_tells_who_called() {
    let cloud = Cloud::new().await;
    let mut api = RuntimeApi::start().await;
    let mut function = cloud.function(&api, "redis://127.0.0.1:1");
    let denied = json!({ "__type": "AccessDeniedException", "Message": "not authorized" });
    let arn = cloud.manager.answers("PGPASSWORD", StatusCode::BAD_REQUEST, denied);
    let process = Process::start(&function);
    let told = api.invoke(json!({})).await.unwrap_err();
    assert_eq!(told["errorType"], "OneCodeNotBegun", "{told}");
    let why = told["errorMessage"].as_str().unwrap();
    assert!(why.contains(&arn) && why.contains("secretsmanager:GetSecretValue"), "{why}");
    drop(process);

    let mut api = RuntimeApi::start().await;
    api.environment("one-code", &mut function);
    function.env_remove("PGPASSWORD_ARN");
    let _process = Process::start(&function);
    // Without its password the database is away, and that is an answer.
    assert_eq!(invoke(&mut api, "POST", "/v1/users", ADA).await["statusCode"], 503);
}

/// The reader endpoint as Terraform names it: the shard's own user, database and password go there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_reads_at_its_shards_replica() {
    let primary = Postgres::start().await;
    let mut replica = primary.replica().await;
    let (site, manager) = (Site::new(), SecretsManager::start().await);
    site.agent.offer(3, &[], &key());
    site.start_agent().await;
    let text = std::fs::read_to_string(&site.config_file).unwrap();
    std::fs::write(&site.config_file, text.replace("sqlite:one-code.db", &primary.url())).unwrap();
    let pair = format!("{}={}", primary.address().ip(), replica.address().ip());
    let mut api = RuntimeApi::start().await;
    let mut function = command(&site, &api);
    manager.environment(&mut function);
    let arn = manager.keep("SPILLWAY_REPLICAS", &pair);
    let _process = Process::start(function.env("SPILLWAY_REPLICAS_ARN", arn));

    assert_eq!(invoke(&mut api, "POST", "/v1/users", ADA).await["statusCode"], 201);
    let at_replica = Database::open(&[replica.url()], "/".as_ref(), Options::default()).unwrap();
    until("the replica has the tables", async || {
        let users = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM users");
        users.fetch_one(at_replica.shards()[0].pool()).await.is_ok_and(|users| users == 1)
    })
    .await;
    at_replica.close().await;
    let mut venue = 0;
    let mut stats = async |api: &mut RuntimeApi| {
        venue += 1;
        let answer = invoke(api, "GET", &format!("/v1/venues/v{venue}/stats"), "").await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
    };
    until("the replica is read", async || {
        stats(&mut api).await;
        functions_of(&replica).await == 1
    })
    .await;
    for _ in 0..20 {
        stats(&mut api).await;
    }
    let connections = (functions_of(&primary).await, functions_of(&replica).await);
    assert_eq!(connections, (1, 1), "one an environment and server");

    replica.stop();
    let began = Instant::now();
    for _ in 0..100 {
        stats(&mut api).await;
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    replica.start_again();
    until("it is read again", async || {
        stats(&mut api).await;
        functions_of(&replica).await == 1
    })
    .await;
}

/// Connections of others than who asks.
async fn functions_of(server: &Postgres) -> i64 {
    let database = Database::open(&[server.url()], "/".as_ref(), Options::default()).unwrap();
    let question = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let asked = sqlx::query_scalar(question).fetch_one(database.shards()[0].pool());
    let answer = asked.await.unwrap();
    database.close().await;
    answer
}
