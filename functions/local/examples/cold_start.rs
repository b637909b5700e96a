//! How long a function's new environment takes: `cold_start BOOTSTRAP ECHO [N]` starts programs N times
//! (200), by turns, on a Runtime API of their own with an event that waits already:
//!
//! - BOOTSTRAP, with its data in SQLite and nothing to ask;
//! - BOOTSTRAP as it is put up on AWS: two secrets to fetch, PostgreSQL and Redis by TLS, a hundred and
//!   some roots to trust, all on this machine, so that hardly anything of a network is in it;
//! - ECHO, which does nothing: what the machine and the runtime library take of that.
//!
//! The time that a program is at work itself is our own code's; the rest is waiting: for the machine,
//! for PostgreSQL to begin a connection. It ends with 1 where BOOTSTRAP is at work for 50 ms or more in
//! one start of a hundred.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use spillway_local::event::{self, Incoming};
use spillway_local::runtime_api::{Invocation, RuntimeApi};
use spillway_part::clock;
use spillway_test_support::{Block, Postgres, Redis, SecretsManager, example_config};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

type Error = Box<dyn std::error::Error>;

/// What our own code may take of the first answer.
const CLAIM: Duration = Duration::from_millis(50);
/// A start that takes longer than this fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// The function that the example's configuration has.
const FUNCTION: &str = "one-code";
/// Of the reference service: there is no such user, which the plan and the database have to be asked
/// for, and no cache tells.
const PATH: &str = "/v1/users/u1/code";
/// Where Debian keeps the roots that a machine trusts.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The median, and what one of a hundred exceeds.
type Quantiles = (Duration, Duration);

/// A program and what it is given.
struct Shape {
    what: &'static str,
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    starts: Vec<Start>,
}

/// One start.
struct Start {
    /// From before the process until it asks for work.
    asked: Duration,
    /// From there to the first answer.
    answered: Duration,
    /// What its threads have computed until then.
    computed: Duration,
    /// What it holds of memory then, in KiB.
    resident_kib: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(program), Some(echo)) = (arguments.next(), arguments.next()) else {
        return Err("usage: cold_start BOOTSTRAP ECHO [N]".into());
    };
    let count: usize = match arguments.next() {
        Some(count) => count.to_string_lossy().parse()?,
        None => 200,
    };
    let (folder, block) = (tempfile::tempdir()?, Block::claim());
    let (config, on_aws) = (folder.path().join("spillway.toml"), folder.path().join("on-aws.toml"));
    let text = example_config(&block, folder.path());
    std::fs::write(&config, &text)?;
    std::fs::create_dir(folder.path().join("state"))?;
    // The point of RFC 8032 §7.1 test 1: any public key will do.
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n";
    std::fs::write(folder.path().join("plan.pub"), key)?;
    let (postgres, redis, manager) =
        (Postgres::start_tls().await, Redis::start_tls().await, SecretsManager::start().await);
    let shard = format!("{}?sslmode=require", postgres.url());
    std::fs::write(&on_aws, text.replace("sqlite:one-code.db", &shard))?;
    let mut roots = std::fs::read_to_string(ROOTS).unwrap_or_default();
    roots.push_str(&std::fs::read_to_string(redis.certificate().ok_or("Redis without TLS")?)?);
    std::fs::write(folder.path().join("roots.pem"), roots)?;

    let variable = |path: &Path| ("SPILLWAY_CONFIG", path.display().to_string());
    let mut deployed = vec![
        variable(&on_aws),
        ("SPILLWAY_CACHE", redis.url()),
        ("SSL_CERT_FILE", folder.path().join("roots.pem").display().to_string()),
        ("ONE_CODE_SECRET_ARN", manager.keep("ONE_CODE_SECRET", key.trim())),
        ("PGPASSWORD_ARN", manager.keep("PGPASSWORD", "password")),
    ];
    deployed.extend(manager.variables());
    let shape = |what, program, variables| Shape { what, program, variables, starts: Vec::new() };
    let mut shapes = [
        shape("one-code, SQLite", program.clone(), vec![variable(&config)]),
        shape("one-code, as on AWS", program, deployed),
        shape("echo", echo, vec![variable(&config)]),
    ];
    // The first start of all makes the data and reads the programs from disk.
    for shape in &shapes {
        shape.start().await?;
    }
    for _ in 0..count.max(1) {
        for shape in &mut shapes {
            shape.starts.push(shape.start().await?);
        }
    }
    println!("{count} cold starts each, GET {PATH}");
    println!("{:<40}{:>8} {:>8} {:>11}", "", "p50 ms", "p99 ms", "memory MB");
    let [sqlite, on_aws, echo] = shapes.each_ref().map(Shape::report);
    let times = |of: Quantiles| of.0.as_secs_f64() / echo.0.as_secs_f64();
    println!(
        "at work itself {:.1} and {:.1} times as long as the echo",
        times(sqlite),
        times(on_aws)
    );
    let held = sqlite.1 < CLAIM && on_aws.1 < CLAIM;
    println!("{}: less than {CLAIM:?} of our own", if held { "held" } else { "NOT HELD" });
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Shape {
    /// Prints the quantiles of its starts; returns those of its own work.
    fn report(&self) -> Quantiles {
        println!("{}", self.what);
        let line = |what: &str, of: &dyn Fn(&Start) -> Duration| {
            let mut all: Vec<_> = self.starts.iter().map(of).collect();
            all.sort_unstable();
            let (p50, p99) = (all[all.len() / 2], all[(all.len() * 99 / 100).min(all.len() - 1)]);
            let ms = |time: Duration| time.as_secs_f64() * 1000.0;
            print!("    {what:<36}{:>8.2} {:>8.2}", ms(p50), ms(p99));
            (p50, p99)
        };
        line("start to asking for work", &|start| start.asked);
        println!();
        line("asking for work to first answer", &|start| start.answered);
        println!();
        line("start to first answer", &|start| start.asked + start.answered);
        println!();
        let own = line("at work itself", &|start| start.computed);
        let resident = self.starts.iter().map(|start| start.resident_kib).max();
        println!(" {:>11.1}", resident.unwrap_or_default() as f64 / 1024.0);
        own
    }

    async fn start(&self) -> Result<Start, Error> {
        start(&self.program, &self.variables).await
    }
}

async fn start(program: &Path, variables: &[(&str, String)]) -> Result<Start, Error> {
    let api = Arc::new(RuntimeApi::new(format!("arn:aws:lambda:local:0:function:{FUNCTION}")));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(api.clone().serve(listener));
    let (reply, answered) = oneshot::channel();
    api.offer(Invocation {
        id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
        event: event()?,
        deadline_ms: clock::now().plus_secs(PATIENCE.as_secs()).0,
        trace_id: "Root=1-5bdb40ca-556d8b0c50dc66f0511bf520".to_owned(),
        reply,
    });
    let mut command = tokio::process::Command::new(program);
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", FUNCTION)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
        .env("AWS_REGION", "eu-central-1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("SPILLWAY_LOG", "error")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let began = clock::instant();
    let mut process = command.spawn()?;
    let first = async {
        api.ready().await;
        let asked = clock::instant();
        (asked, answered.await, clock::instant())
    };
    let (asked, outcome, ended) = tokio::select! {
        first = tokio::time::timeout(PATIENCE, first) => first?,
        status = process.wait() => return Err(format!("{} ended: {}", program.display(), status?).into()),
    };
    let answer = event::answer(&outcome?.result?, true)?;
    if answer.status().is_server_error() {
        return Err(format!("{} answered {answer:?}", program.display()).into());
    }
    let of_process = PathBuf::from(format!("/proc/{}", process.id().unwrap_or_default()));
    let mut computed = Duration::ZERO;
    for thread in std::fs::read_dir(of_process.join("task"))? {
        // The first number is nanoseconds on a processor.
        let times = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        computed += Duration::from_nanos(times.split(' ').next().unwrap_or_default().parse()?);
    }
    let status = std::fs::read_to_string(of_process.join("status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let resident = resident.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    process.kill().await?;
    serving.abort();
    Ok(Start {
        asked: asked - began,
        answered: ended - asked,
        computed,
        resident_kib: resident.unwrap_or_default(),
    })
}

fn event() -> Result<Bytes, Error> {
    let mut headers = HeaderMap::new();
    headers.insert("host", "cloud.example.test".parse()?);
    Ok(event::event(&Incoming {
        target_group_arn: "arn:aws:elasticloadbalancing:local:0:targetgroup/one-code/0",
        multi_value: true,
        method: &Method::GET,
        uri: &Uri::from_static(PATH),
        headers: &headers,
        body: &Bytes::new(),
        client: "192.0.2.7".parse()?,
        port: 443,
        trace_id: "Root=1-5bdb40ca-556d8b0c50dc66f0511bf520",
    })?)
}
