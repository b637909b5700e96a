//! The same service at home and as functions: one contract, two ways.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use spillway_test_support::Spillway;

use crate::beside;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn call(to: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: code.example.test:8080\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let split = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap().to_lowercase();
    let status = head[9..12].parse().unwrap();
    Answer { status, head, body: bytes[split + 4..].to_vec() }
}

/// Every route answers alike, whichever way it is asked.
fn contract(to: SocketAddr) {
    // Home and cloud share a database, and a document is registered once.
    let number = to.ip().to_string().replace('.', "-");
    let user =
        call(to, "POST", "/v1/users", &format!(r#"{{"name":"Ada","id_number":"{number}"}}"#));
    assert_eq!(user.status, 201, "{}", String::from_utf8_lossy(&user.body));
    let id = user.json()["user"].as_str().unwrap().to_owned();
    let code = call(to, "GET", &format!("/v1/users/{id}/code"), "");
    assert_eq!((code.status, code.json()["user"].as_str()), (200, Some(id.as_str())));
    let qr = call(to, "GET", &format!("/v1/users/{id}/qr"), "");
    assert!(
        qr.head.contains("image/svg+xml") && qr.body.len() > 4000,
        "{}: {}",
        qr.head,
        qr.body.len()
    );
    let scan = call(to, "POST", "/v1/scans", &format!(r#"{{"user":"{id}","venue":"v042"}}"#));
    assert_eq!(scan.status, 201, "{}", String::from_utf8_lossy(&scan.body));
    let history = call(to, "GET", &format!("/v1/users/{id}/scans"), "");
    assert!(String::from_utf8_lossy(&history.body).contains("v042"));
    assert_eq!(call(to, "GET", "/v1/venues/v042/stats", "").status, 200);
    assert_eq!(call(to, "GET", "/v1/notices", "").status, 200);
    assert_eq!(call(to, "GET", "/v1/users/u999999/code", "").status, 404);
    assert_eq!(call(to, "GET", "/v1/users/nobody/code", "").status, 400);
    assert_eq!(call(to, "POST", "/v1/scans", "{").status, 400);
    assert_eq!(call(to, "GET", "/no/such/path", "").status, 404);
}

fn addresses(spillway: &Spillway) -> (SocketAddr, SocketAddr) {
    let ready: Value = serde_json::from_str(spillway.ready()).unwrap();
    let find = |field: &str| -> SocketAddr {
        let parts = ready["parts"].as_array().unwrap();
        let mut listens = parts.iter().flat_map(|part| part["listen"].as_array().unwrap());
        listens.find(|l| l["field"] == field).unwrap()["address"].as_str().unwrap().parse().unwrap()
    };
    (find("site.0.balancer.listen"), find("cloud.local.listen"))
}

#[test]
fn one_contract_at_home_and_in_the_cloud() {
    let _beside = beside();
    let spillway = Spillway::up(|config| config);
    let (vip, slb) = addresses(&spillway);
    contract(vip);
    contract(slb);
    let home = call(vip, "GET", "/v1/notices", "");
    assert!(home.head.contains("x-spillway-served-by: east"), "{}", home.head);
    let cloud = call(slb, "GET", "/v1/notices", "");
    assert!(cloud.head.contains("x-spillway-served-by: cloud"), "{}", cloud.head);
    assert!(cloud.head.contains("x-spillway-function: one-code/"), "{}", cloud.head);
}

#[test]
fn one_contract_as_microservices() {
    let _beside = beside();
    let spillway = Spillway::up(|config| {
        let all = r#"groups = ["codes", "scans", "venues", "notices"]"#;
        let service = "[[site.service]]\n";
        let start = config.find(service).unwrap();
        let listen = config[start..].lines().find(|l| l.starts_with("listen")).unwrap().to_owned();
        let admin = config[start..].lines().find(|l| l.starts_with("admin")).unwrap().to_owned();
        let second = format!(
            "{service}name = \"east-venues\"\n{}\n{}\ngroups = [\"venues\", \"notices\"]\n\n",
            listen.replace(":8080", ":8081"),
            admin.replace(":9321", ":9322")
        );
        let functions = "[[cloud.function]]\nname = \"codes\"\ngroups = [\"codes\", \"scans\"]\n\n\
                         [[cloud.function]]\nname = \"one-code\"\ngroups = [\"venues\", \"notices\"]\n";
        let function = config.find("[[cloud.function]]").unwrap();
        let end = function + config[function..].find(all).unwrap() + all.len();
        let mut text = config.clone();
        text.replace_range(function..end, functions);
        text = text.replacen(all, r#"groups = ["codes", "scans"]"#, 1);
        text.insert_str(start, &second);
        text
    });
    let (vip, slb) = addresses(&spillway);
    contract(vip);
    contract(slb);
    let cloud = call(slb, "GET", "/v1/users/u000001/code", "");
    assert!(cloud.head.contains("x-spillway-function: codes/"), "{}", cloud.head);
}
