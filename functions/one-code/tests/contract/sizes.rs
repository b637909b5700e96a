//! What of a request and its answer depends on the way and on no route of ours: routes that show it, by
//! every way.

use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::routing::get;
use axum::{Json, Router};
use http::{Request, Response};

use crate::way::{Door, Way, answered};

/// What an ALB takes of the JSON of an answer.
const MOST: usize = 1024 * 1024;

fn asking(path: &str) -> Request<Bytes> {
    Request::get(path).header("host", "cloud.example.test").body(Bytes::new()).unwrap()
}

/// Bytes that are no text, with a header that is so long.
async fn binary(
    Path((bytes, header)): Path<(usize, usize)>,
) -> ([(&'static str, String); 1], Vec<u8>) {
    ([("x-long", "x".repeat(header))], vec![0xff; bytes])
}

fn sized() -> Router {
    Router::new()
        .route("/binary/{bytes}/{header}", get(binary))
        .route("/quotes/{quotes}", get(async |Path(quotes): Path<usize>| "\"".repeat(quotes)))
}

#[track_caller]
fn check(way: Way, path: &str, answer: &Response<Bytes>, fits: bool) {
    if fits || matches!(way, Way::Straight | Way::Http) {
        assert_eq!(answer.status(), 200, "{path} by {way:?}");
        return;
    }
    assert_eq!(answer.status(), 500, "{path} by {way:?}");
    let told: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert!(told["error"].as_str().unwrap().contains("ask for less"), "{told}");
}

/// It is the JSON that must not be too large: a binary body is a third longer there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_fits_a_load_balancer_or_says_that_it_does_not() {
    for way in Way::ALL {
        let door = Door::open(way, sized());
        let multi_value = way == Way::Alb { multi_value: true };
        let json = async |path: &str| answered(sized(), multi_value, &asking(path)).await.len();
        // What is not the body, with a length of as many digits.
        let room = MOST - (json("/binary/300000/0").await - 400_000);
        let (bytes, rest) = (room / 4 * 3, room % 4);
        assert!((780_000..786_432).contains(&bytes), "{bytes}");
        assert_eq!(json(&format!("/binary/{bytes}/{rest}")).await, MOST);
        for (bytes, header, fits) in [
            (bytes - 1, rest, true),
            (bytes, rest, true),
            (bytes, rest + 1, false),
            (bytes + 1, rest, false),
            (800 * 1024, 0, false),
            (MOST + 1, 0, false),
        ] {
            let path = format!("/binary/{bytes}/{header}");
            let answer = door.send(asking(&path)).await;
            check(way, &path, &answer, fits);
            if answer.status() == 200 {
                assert_eq!(answer.headers()["x-long"].len(), header);
                assert!(answer.body().len() == bytes && answer.body().iter().all(|b| *b == 0xff));
            }
        }
        // So is text of which JSON escapes every byte.
        for (path, fits) in [("/quotes/500000", true), ("/quotes/524288", false)] {
            check(way, path, &door.send(asking(path)).await, fits);
        }
    }
}

/// Names in the order of the client, and values of one name in theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_come_in_the_order_in_which_they_were_sent() {
    let echo = async |Query(pairs): Query<Vec<(String, String)>>| Json(pairs);
    for way in Way::ALL {
        let door = Door::open(way, Router::new().route("/", get(echo)));
        let seen = async |query: &str| {
            let answer = door.send(asking(&format!("/?{query}"))).await;
            let pairs: Vec<(String, String)> = serde_json::from_slice(answer.body()).unwrap();
            pairs.into_iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>()
        };
        assert_eq!(
            seen("z=1&a=2&M=%26&b&%61%62=3").await,
            ["z:1", "a:2", "M:&", "b:", "ab:3"],
            "by {way:?}"
        );
        let several = seen("z=2&z=1&a=3").await;
        let last = way == Way::Alb { multi_value: false };
        assert_eq!(several, if last { vec!["z:1", "a:3"] } else { vec!["z:2", "z:1", "a:3"] });
    }
}
