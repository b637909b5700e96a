//! Requests that no usual client sends: each has its answer, the same by every way.

use axum::body::Bytes;
use http::Request;

use crate::way::Way;
use crate::world::{Answer, World};

pub(crate) async fn battery(world: &World) {
    assert_eq!(world.get("/healthz").await.status, 200, "health");
    world.get("/v1/nothing").await.refused(404, "nothing here");
    let user = world.register("Stranger", "STRANGE-1").await;
    methods(world, &user).await;
    parameters(world, &user).await;
    paths(world).await;
    bodies(world, &user).await;
    headers(world).await;
}

async fn methods(world: &World, user: &str) {
    for (path, allowed) in [
        ("/v1/users", "POST"),
        (&format!("/v1/users/{user}/code"), "GET,HEAD"),
        (&format!("/v1/users/{user}/qr"), "GET,HEAD"),
        (&format!("/v1/users/{user}/scans"), "GET,HEAD"),
        ("/v1/scans", "POST"),
        ("/v1/venues/v001/stats", "GET,HEAD"),
        ("/v1/notices", "GET,HEAD"),
    ] {
        for method in ["DELETE", "OPTIONS", "BREW"] {
            let wrong = world.call(method, path, "").await;
            wrong.refused(405, "another method");
            assert_eq!(wrong.header("allow"), Some(allowed));
        }
        let head = world.call("HEAD", path, "").await;
        assert_eq!(head.text, "");
        if allowed == "POST" {
            assert_eq!((head.status.as_u16(), head.header("allow")), (405, Some(allowed)));
        } else {
            let got = world.get(path).await;
            assert_eq!(
                (head.status, head.header("content-type")),
                (got.status, got.header("content-type"))
            );
        }
    }
}

async fn parameters(world: &World, user: &str) {
    for minute in 0..3 {
        world.at(minute * 60_000);
        world.scan(user, "v-strange").await;
    }
    world.at(0);
    let path = format!("/v1/users/{user}/scans");
    let found = async |query: &str| {
        let answer = world.get(&format!("{path}?{query}")).await;
        (answer.status == 200).then(|| answer.json()["scans"].as_array().unwrap().len())
    };
    for (query, scans) in [
        ("", Some(3)),
        ("limit=%32", Some(2)),
        ("l%69mit=2", Some(2)),
        ("&&limit=2&", Some(2)),
        ("limit=2&other=%26limit%3D1", Some(2)),
        ("LIMIT=2", Some(3)),
        // Decoded once: `%32`, ` 2`, `2&limit=1`.
        ("limit=%2532", None),
        ("limit=+2", None),
        ("limit=2%26limit%3D1", None),
        ("limit=%ff", None),
        ("limit", None),
    ] {
        assert_eq!(found(query).await, scans, "{query}");
    }
    // Of several values the load balancer may leave the last alone.
    if world.way != (Way::Alb { multi_value: false }) {
        assert_eq!(found("limit=1&limit=2").await, None);
    }
}

async fn paths(world: &World) {
    for (path, status) in [
        ("/", 404),
        ("//", 404),
        ("/v1/users/", 404),
        ("/v1//notices", 404),
        ("/v1/notices/", 404),
        ("/V1/notices", 404),
        // Nobody resolves dots: what a rule of the load balancer saw is what is served.
        ("/v1/../healthz", 404),
        ("/v1/users/../code", 400),
        ("/v1/users/%2e%2e/code", 400),
        ("/v1/users/u1%2Fqr/code", 400),
        ("/v1/users/u%20%22%3C/code", 400),
        ("/v1/users/u;x=1/code", 400),
        ("/v1/users/%F0%9F%92%A9/code", 400),
    ] {
        assert_eq!(world.get(path).await.status, status, "{path}");
    }
}

async fn bodies(world: &World, user: &str) {
    let scan = format!(r#"{{"user": "{user}", "venue": "v-body"}}"#);
    let post = async |body: &[u8], headers: &[(&str, &str)]| -> Answer {
        let mut request = Request::post("/v1/scans");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        world.send(request.body(Bytes::copy_from_slice(body)).unwrap()).await
    };
    // A load balancer sends some as text and some in Base64.
    for media_type in ["application/json", "text/plain; charset=latin1", "image/png", "", "?"] {
        let answer = post(scan.as_bytes(), &[("content-type", media_type)]).await;
        assert_eq!(answer.status, 201, "{media_type}: {}", answer.text);
    }
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(post(scan.as_bytes(), &packed).await.status, 201, "what it says is not looked at");
    for (body, says) in [
        (&b""[..], "EOF while parsing"),
        (b"\xff\x00\xfe", "expected value"),
        (b"{\"user\": \"\xff\", \"venue\": \"v1\"}", "invalid unicode"),
        ("{\"user\": \"\u{1f4a9}\u{0}\", \"venue\": \"v1\"}".as_bytes(), "control character"),
        (b"[", "EOF while parsing"),
        (&[b'['; 300], "invalid type: sequence"),
    ] {
        for media_type in ["application/json", "application/octet-stream"] {
            post(body, &[("content-type", media_type)]).await.refused(400, says);
        }
    }
    let most = 16 * 1024;
    let blank = |bytes: usize| [scan.as_bytes(), &vec![b' '; bytes - scan.len()]].concat();
    assert_eq!(post(&blank(most), &[]).await.status, 201);
    post(&blank(most + 1), &[]).await.refused(413, "larger than 16384 bytes");
}

async fn headers(world: &World) {
    let get = |path: &str| Request::get(path.to_owned());
    for request in [
        get("/healthz").header("user-agent", "ELB-HealthChecker/2.0"),
        get("/v1/notices").header("cookie", "a=1").header("cookie", "b=2"),
        get("/v1/notices").header("host", "[").header("x-forwarded-proto", "gopher:"),
        get("/v1/notices").header("X-ODD", "caf\u{e9}").header("x-empty", ""),
        get("/v1/notices").header("accept-encoding", "gzip").header("range", "bytes=0-1"),
        get("/v1/notices").header("if-none-match", "*").header("expect", "nothing"),
    ] {
        let request = request.body(Bytes::new()).unwrap();
        let shown = format!("{:?}", request.headers());
        assert_eq!(world.send(request).await.status, 200, "{shown}");
    }
}
