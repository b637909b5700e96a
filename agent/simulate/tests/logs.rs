//! Access logs: lines in, what they say out; and what must hold for any bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use proptest::prelude::*;
use spillway_simulate::log::{Entry, FindRoute, Format, Names, Reading, Survey};

const LOGS: [(Format, &str); 3] = [
    (Format::Spillway, include_str!("golden/logs/spillway.log")),
    (Format::Combined, include_str!("golden/logs/combined.log")),
    (Format::Alb, include_str!("golden/logs/alb.log")),
];

fn told(entry: &Entry<'_>) -> String {
    let asked = entry.request.as_ref().map_or("nothing".to_owned(), |request| {
        format!("{} {} {}", request.method, request.host.as_deref().unwrap_or("-"), request.path)
    });
    let secs = entry.service_secs.map_or("-".to_owned(), |secs| format!("{secs:.6}"));
    let route = entry.route.as_deref().unwrap_or("-");
    let answered = if entry.answered { "answered" } else { "not answered" };
    format!(
        "{} {} {} bytes, {secs} s, {answered}, route {route}: {asked}",
        entry.at, entry.status, entry.bytes
    )
}

fn reading<'a>(format: Option<Format>, names: Names<'a>, logs: &[&str]) -> Reading<'a> {
    let mut reading = Reading::new(format, names);
    for (number, log) in (1..).zip(logs) {
        reading.file(&format!("{number}.log"));
        for line in log.lines() {
            reading.line(line.as_bytes());
        }
    }
    reading
}

fn routes(survey: &Survey<'_>) -> Vec<(String, u64)> {
    survey.rows().into_iter().map(|row| (row.route, row.requests)).collect()
}

/// After a change that is meant: `UPDATE_GOLDEN=1 cargo test -p spillway-simulate`.
#[test]
fn lines_say_what_they_say() {
    for (format, log) in LOGS {
        let mut text = String::new();
        for line in log.lines() {
            let line = match format.parse(line) {
                Ok(entry) => told(&entry),
                Err(e) => format!("!! {e}"),
            };
            let _ = writeln!(text, "{line}");
        }
        let reading = reading(None, Names::new(None), &[log]);
        assert_eq!(reading.formats(), [format]);
        let survey = reading.survey().unwrap();
        let _ = writeln!(text, "\n{}", serde_json::to_string_pretty(&survey.rows()).unwrap());
        let _ = writeln!(text, "{}", serde_json::to_string_pretty(reading.unreadable().1).unwrap());
        let file =
            format!("{}/tests/golden/logs/{}.txt", env!("CARGO_MANIFEST_DIR"), format.name());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&file).unwrap_or_default(), "{file}");
    }
}

#[test]
fn every_good_line_is_of_one_format_alone() {
    for (format, log) in LOGS {
        for line in log.lines().filter(|line| format.parse(line).is_ok()) {
            let good = Format::ALL.into_iter().filter(|format| format.parse(line).is_ok());
            assert_eq!(good.count(), 1, "{line}");
        }
    }
}

#[test]
fn nothing_readable_names_the_formats_and_the_first_line() {
    let empty = reading(None, Names::new(None), &[""]);
    let error = empty.survey().unwrap_err().to_string();
    assert_eq!(
        error,
        "1.log has no line of an access log among 0; the known formats are `spillway` (a gateway's \
         access log), `combined` (the combined format of Nginx and Apache), `alb` (the access log \
         of an Application Load Balancer)"
    );
    let other = reading(None, Names::new(None), &["\n\ntime,requests\n1,2\n"]);
    let error = other.survey().unwrap_err().to_string();
    assert!(error.contains("among 2; "), "{error}");
    assert!(error.ends_with(". 1.log:3 is of no known format"), "{error}");
    let forced = reading(Some(Format::Alb), Names::new(None), &[LOGS[1].1]);
    let error = forced.survey().unwrap_err().to_string();
    assert!(error.ends_with(". 1.log:1 does not begin with a type and a time"), "{error}");
}

#[test]
fn files_may_be_of_several_formats_and_in_any_order() {
    let logs: Vec<&str> = LOGS.iter().rev().map(|(_, log)| *log).collect();
    let reading = reading(None, Names::new(None), &logs);
    assert_eq!(reading.formats(), [Format::Alb, Format::Combined, Format::Spillway]);
    let (first, last) = reading.survey().unwrap().span();
    // One of an hour long came first; 31 December in an offset of half an hour was last.
    assert_eq!(first.to_string(), "2026-11-23T10:19:51.000Z");
    assert_eq!(last.to_string(), "2027-01-01T00:29:59.000Z");
    // A line of 2015 cannot be of the same log.
    let (bad, told) = reading.unreadable();
    assert_eq!(bad, 3 + 6 + 3 + 1);
    assert!(
        told.iter().any(|bad| bad.why == "is more than a year from the first line"),
        "{told:?}"
    );
}

#[test]
fn a_configuration_names_routes_and_what_it_does_not_know_is_guessed() {
    let find: &FindRoute<'_> = &|host, method, path| {
        assert!(host.is_none_or(|host| !host.contains(":8")), "{host:?}");
        (method == "GET" && path.ends_with("/code")).then_some("code")
    };
    let log = LOGS[1].1;
    let reading = reading(None, Names::new(Some(find)), &[log]);
    let routes = routes(reading.survey().unwrap());
    assert_eq!(routes[..2], [("(no request line)".to_owned(), 2), ("code".to_owned(), 2)]);
    assert!(routes.contains(&("GET /proxied".to_owned(), 1)), "{routes:?}");
}

/// A log of `secs` seconds in the combined format, with `rps` requests in each, and the path of each.
fn combined(secs: u64, rps: u64, path: impl Fn(u64) -> String) -> String {
    let mut log = String::new();
    for n in 0..secs * rps {
        let (at, ms) = (n / rps, n % 7 + 1);
        let _ = writeln!(
            log,
            "192.0.2.7 - - [23/Nov/2026:{:02}:{:02}:{:02} +0000] \"GET {} HTTP/1.1\" 200 {} \"-\" \"-\" 0.{ms:03}",
            at / 3600,
            at / 60 % 60,
            at % 60,
            path(n),
            n % 10 * 100,
        );
    }
    log
}

#[test]
fn a_log_becomes_a_trace_of_its_seconds() {
    let log = combined(300, 20, |_| "/".to_owned());
    let reading = reading(None, Names::new(None), &[&log]);
    let survey = reading.survey().unwrap();
    let (trace, step) = survey.trace(1).unwrap();
    assert_eq!((step, trace.values.len(), trace.values.iter().sum::<f64>()), (1, 300, 6000.0));
    assert!(trace.values.iter().all(|value| *value == 20.0));
    assert_eq!(
        trace.notes,
        ["a step of 1 s has 20.0 requests in the mean, so that chance alone changes it by 22 %: \
          longer steps (--step) have less of it"]
    );
    let (trace, step) = survey.trace(60).unwrap();
    assert_eq!((step, trace.values), (60, vec![1200.0; 5]));
    let error = survey.trace(3600).unwrap_err().to_string();
    assert_eq!(error, "the log is of 300 s; a trace has two whole steps of 3600 s and more");
    let rows = survey.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].bytes_per_answer, Some(450.0));
    let ms = rows[0].service_ms_mean.unwrap();
    assert!((ms - 4.0).abs() < 0.01, "{ms}");
    assert_eq!((rows[0].per_sec, rows[0].peak_per_sec), (20.0, 20.0));
}

#[test]
fn times_without_a_line_are_told() {
    let busy = combined(30, 200, |_| "/".to_owned());
    let late = busy.replace("23/Nov/2026:00:00", "23/Nov/2026:00:10");
    let reading = reading(None, Names::new(None), &[&late, &busy]);
    let (trace, _) = reading.survey().unwrap().trace(1).unwrap();
    assert_eq!(trace.values.len(), 630);
    assert_eq!(
        trace.notes,
        [
            "570 of 630 steps have no request, and are taken as such; the longest time without is 570 s \
          from 2026-11-23T00:00:30.000Z on",
            "a step of 1 s has 19.0 requests in the mean, so that chance alone changes it by 23 %: \
          longer steps (--step) have less of it"
        ]
    );
}

#[test]
fn windows_have_the_requests_of_each_route() {
    let log = combined(100, 30, |n| if n % 3 == 0 { "/a".into() } else { "/b".into() });
    let reading = reading(None, Names::new(None), &[&log]);
    let survey = reading.survey().unwrap();
    assert_eq!(routes(survey), [("GET /b".to_owned(), 2000), ("GET /a".to_owned(), 1000)]);
    let (secs, windows) = survey.windows(&[0, 1], 100);
    assert_eq!((secs, windows.len()), (10, 20));
    // Requests of 1 to 7 ms.
    for (place, window) in windows.iter().enumerate() {
        let (route, requests) = if place < 10 { (0, 200.0) } else { (1, 100.0) };
        assert_eq!((window.route, window.requests), (route, requests));
        assert!((window.service_secs / requests - 0.004).abs() < 2e-4, "{window:?}");
    }
    let (secs, windows) = survey.windows(&[0], 4);
    assert_eq!((secs, windows.len(), windows[0].requests), (30, 3, 600.0));
}

#[test]
fn names_without_end_are_folded() {
    let log = combined(60, 300, |n| match n % 4 {
        0 => format!("/shop/{}/buy", word(n)),
        1 => format!("/shop/{}/view", word(n)),
        2 => format!("/blog/{}", word(n)),
        _ => "/health".to_owned(),
    });
    let reading = reading(None, Names::new(None), &[&log]);
    let survey = reading.survey().unwrap();
    let routes = routes(survey);
    assert!(routes.len() < 402, "{}", routes.len());
    let of = |name: &str| routes.iter().find(|(route, _)| route == name).map(|(_, n)| *n);
    assert_eq!(of("GET /health"), Some(4500));
    for name in ["GET /shop/{any}/buy", "GET /shop/{any}/view", "GET /blog/{any}"] {
        assert!(of(name).is_some_and(|n| n >= 4400), "{name}: {routes:?}");
    }
    assert_eq!(routes.iter().map(|(_, n)| n).sum::<u64>(), 18_000);
    let all: Vec<usize> = (0..routes.len()).collect();
    let (_, windows) = survey.windows(&all, 100);
    assert_eq!(windows.iter().map(|window| window.requests).sum::<f64>(), 18_000.0);
}

/// A word of letters alone for a number.
fn word(mut n: u64) -> String {
    let mut word = String::new();
    loop {
        word.push(char::from(b'g' + u8::try_from(n % 16).unwrap()));
        n /= 16;
        if n == 0 {
            return word;
        }
    }
}

#[test]
fn names_that_nothing_folds_are_others() {
    // Each word in one place only, so that no place has many.
    let log = combined(10, 100, |n| format!("/{}/{}", word(n), word(n + 5000)));
    let reading = reading(None, Names::new(None), &[&log]);
    let routes = routes(reading.survey().unwrap());
    assert_eq!((routes.len(), &routes[0]), (401, &("(others)".to_owned(), 600)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A line that was broken in some places breaks nobody, and is read or counted.
    #[test]
    fn broken_lines_are_read_or_counted(
        place in 0_usize..1000,
        changes in prop::collection::vec((0_usize..700, any::<u8>(), 0_u8..4), 1..6),
    ) {
        let lines: Vec<&str> = LOGS.iter().flat_map(|(_, log)| log.lines()).collect();
        let mut line = lines[place % lines.len()].as_bytes().to_vec();
        for (at, byte, how) in changes {
            let at = at % (line.len() + 1);
            match how {
                0 => line.insert(at, byte),
                1 if at < line.len() => line[at] = byte,
                2 if at < line.len() => { line.remove(at); }
                _ => line.truncate(at),
            }
        }
        let mut reading = Reading::new(None, Names::new(None));
        reading.file("log");
        reading.line(&line);
        let good = reading.survey().map_or(0, Survey::requests);
        prop_assert_eq!(good + reading.unreadable().0, reading.lines());
        if let Ok(survey) = reading.survey() {
            prop_assert!(survey.trace(1).is_err(), "one request is no curve");
            prop_assert!(survey.rows().iter().all(|row| row.service_ms_mean.is_none_or(f64::is_finite)));
        }
    }

    /// Nor does any text, in any format.
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for format in Format::ALL {
            let _either = format.parse(&text);
        }
        let mut reading = Reading::new(None, Names::new(None));
        reading.line(&bytes);
        prop_assert!(reading.lines() <= 1);
    }

    /// Any paths: rows stay few, and no request is lost.
    #[test]
    fn any_paths_have_few_names(paths in prop::collection::vec("(/[a-c.0-9é%-]{0,3}){0,5}", 1..200)) {
        let log = combined(1, paths.len() as u64, |n| paths[usize::try_from(n).unwrap()].replace(' ', ""));
        let reading = reading(None, Names::new(None), &[&log]);
        let rows = routes(reading.survey().unwrap());
        prop_assert_eq!(rows.iter().map(|(_, n)| n).sum::<u64>(), paths.len() as u64);
    }
}
