//! The gateway as a process runs it: from the configuration alone.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use spillway_gateway::{GatewayError, run};
use spillway_model::config::Config;
use spillway_model::plan;
use spillway_part::client::Client as Caller;
use spillway_part::{Shutdown, StartError};
use spillway_test_support::{Block, until};

use crate::client::{Client, PATIENCE};
use crate::upstream::Upstream;

/// The public key of RFC 8032 §7.1, test 1.
const KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

fn config(block: &Block, folder: &Path) -> Config {
    let text = include_str!("../../../../examples/spillway.toml");
    let mut config = Config::parse(text, folder).unwrap();
    config.plan.state_dir = folder.to_owned();
    let at = |host, port| SocketAddr::from((block.address(host), port));
    config.agent.listen = at(1, 9100);
    config.sites[0].gateways[0].listen = at(11, 8080);
    config.sites[0].gateways[0].admin = at(1, 9311);
    config
}

#[tokio::test]
async fn it_runs_from_the_configuration_without_an_agent() {
    let service = Upstream::start("one").await;
    let (block, folder) = (Block::claim(), tempfile::tempdir().unwrap());
    let mut config = config(&block, folder.path());
    config.sites[0].services[0].listen = service.address;
    std::fs::write(config.state_path("plan.pub"), plan::encode_key(&KEY)).unwrap();
    let (config, shutdown) = (Arc::new(config), Shutdown::new());
    let running = tokio::spawn(run(config.clone(), "east-gw-1", shutdown.clone()));

    let gateway = &config.sites[0].gateways[0];
    let caller = Caller::default();
    let healthy = async || {
        let healthz = caller.call(Method::GET, gateway.admin, "/healthz", Bytes::new(), PATIENCE);
        healthz.await.is_ok_and(|answer| answer.status == StatusCode::OK)
    };
    until("the gateway is ready", PATIENCE, healthy).await;
    let mut client = Client::connect(gateway.listen).await;
    assert_eq!(client.get("/v1/notices").await.status, 200);
    let metrics = caller.call(Method::GET, gateway.admin, "/metrics", Bytes::new(), PATIENCE).await;
    let metrics = String::from_utf8(metrics.unwrap().body.to_vec()).unwrap();
    assert!(metrics.contains("route=\"notices\",outcome=\"served\"} 1"), "{metrics}");

    // The address is taken while it runs.
    let second = run(config.clone(), "east-gw-1", Shutdown::new()).await;
    assert!(matches!(second, Err(GatewayError::Start(StartError::Taken { .. }))), "{second:?}");

    shutdown.cancel();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    let log = std::fs::read_to_string(config.state_path("log/east-gw-1.access.log")).unwrap();
    assert_eq!(log.lines().count(), 1);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_an_error_that_names_those_that_are() {
    let (block, folder) = (Block::claim(), tempfile::tempdir().unwrap());
    let config = Arc::new(config(&block, folder.path()));
    let error = run(config, "east-gw-9", Shutdown::new()).await.unwrap_err().to_string();
    assert!(error.contains("east-gw-9") && error.contains("east-gw-1, east-gw-2"), "{error}");
}
