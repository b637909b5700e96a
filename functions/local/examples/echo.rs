//! A Lambda function for tests of the local cloud: answers with what it was sent, and does what the
//! query asks for: `hold=PORT` waits until a connection it makes there is closed, `crash` exits,
//! `error` fails, `bytes=N` answers N bytes, `raw` answers the body as it came.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use lambda_http::{Body, Error, Request, RequestExt as _, Response, run, service_fn};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

static AT_WORK: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(answer)).await
}

async fn answer(request: Request) -> Result<Response<Body>, Error> {
    let at_work = AT_WORK.fetch_add(1, SeqCst) + 1;
    let query = request.query_string_parameters();
    if let Some(port) = query.first("hold") {
        let mut hold = TcpStream::connect(("127.0.0.1", port.parse::<u16>()?)).await?;
        hold.read_to_end(&mut Vec::new()).await?;
    }
    if query.first("crash").is_some() {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"falling over\n");
        std::process::exit(3);
    }
    AT_WORK.fetch_sub(1, SeqCst);
    if query.first("error").is_some() {
        return Err("asked to fail".into());
    }
    if let Some(bytes) = query.first("bytes") {
        return Ok(Response::new(Body::Text("x".repeat(bytes.parse()?))));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: BTreeMap<_, _> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), text(value.as_bytes())))
        .collect();
    if query.first("raw").is_some() {
        let response = Response::builder().header("content-type", &headers["content-type"]);
        return Ok(response
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body(request.into_body())?);
    }
    let cookie = request.headers().get("cookie").map(|value| text(value.as_bytes()));
    let first = serde_json::json!({"cookie": cookie, "k": query.first("k")});
    let query: BTreeMap<_, _> = query.iter().collect();
    let environment: BTreeMap<_, _> = std::env::vars().collect();
    let kind = match request.body() {
        Body::Empty => "empty",
        Body::Text(_) => "text",
        _ => "binary",
    };
    let seen = serde_json::json!({
        "pid": std::process::id(),
        "at_work": at_work,
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": query,
        "first": first,
        "headers": headers,
        "kind": kind,
        "body": text(request.body()),
        "environment": environment,
    });
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Body::Text(seen.to_string()))?)
}
