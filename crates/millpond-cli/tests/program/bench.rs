//! `millpond bench`: what it measures, and how that is shown.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common::{Authority, Finished, Folder, Served, run};

/// The flags for a server that answers `?` with `!`.
pub(crate) const RAW: [&str; 6] = ["--framing", "raw", "--body", "?", "--expect", "!"];

/// `bench` with `--json`: how it ends, and its document.
pub(crate) fn bench(endpoint: &str, arguments: &[&str]) -> (Finished, Value) {
    let finished = run(
        &[&["bench", "--json", "--to", endpoint], arguments].concat(),
        "",
    );
    let document = serde_json::from_str(&finished.out).unwrap_or(Value::Null);
    (finished, document)
}

pub(crate) fn mode<'d>(document: &'d Value, name: &str) -> &'d Value {
    let modes = document["modes"].as_array().expect("modes");
    let found = modes.iter().find(|mode| mode["mode"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {document}"))
}

pub(crate) fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn three_modes_are_measured_and_every_request_is_accounted_for() {
    let served = Served::start(&["--handler", "echo"]);
    let flags = [
        "--requests",
        "300",
        "--rounds",
        "3",
        "--callers",
        "8",
        "--connections",
        "2",
    ];
    let (finished, document) = bench(
        &served.endpoint,
        &[&flags[..], &["--warm-up", "50ms"]].concat(),
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        (&document["version"], &document["interrupted"]),
        (&1.into(), &false.into())
    );
    for name in ["short", "exclusive", "pipelined"] {
        let mode = mode(&document, name);
        assert_eq!(
            (number(&mode["requests"]), number(&mode["replies_ok"])),
            (300, 300),
            "{mode}"
        );
        assert_eq!(mode["errors"], serde_json::json!({}));
        let rounds = mode["rounds"].as_array().expect("rounds");
        assert_eq!(rounds.len(), 3);
        let counted = mode["histogram"]
            .as_array()
            .expect("bars")
            .iter()
            .map(|bar| number(&bar["count"]));
        assert_eq!(counted.sum::<u64>(), 300);
        let latency = &mode["latency_us"];
        let ordered = ["p50", "p90", "p99", "p99_9", "max"].map(|name| number(&latency[name]));
        assert!(ordered.is_sorted() && ordered[0] > 0, "{latency}");
    }
    assert_eq!(number(&mode(&document, "short")["connections_opened"]), 300);
    assert!(number(&mode(&document, "exclusive")["connections_opened"]) <= 2);
    assert!(number(&mode(&document, "pipelined")["connections_opened"]) <= 2);
    let compared = document["comparisons"].as_array().expect("comparisons");
    assert_eq!(compared.len(), 3, "{document}");
}

#[test]
fn the_throughput_shown_is_the_right_replies_by_the_time_and_every_two_modes_are_compared() {
    let served = Served::start(&["--handler", "echo"]);
    let (finished, document) = bench(&served.endpoint, &["--requests", "300", "--rounds", "3"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(document["expected"], false);
    for name in ["short", "exclusive", "pipelined"] {
        let mode = mode(&document, name);
        let seconds = mode["seconds"].as_f64().expect("seconds");
        let throughput = mode["throughput"].as_f64().expect("a number");
        // It is rounded.
        let by_hand = number(&mode["replies_ok"]) as f64 / seconds;
        assert!(
            (throughput - by_hand).abs() <= 0.1,
            "{throughput}, {by_hand}: {mode}"
        );
    }
    assert_eq!(document["comparisons"].as_array().map(Vec::len), Some(3));
}

/// The figures of a table's row, without their units.
fn row(text: &str, name: &str) -> Vec<f64> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    let words = line.trim_start()[name.len()..].split_whitespace();
    words
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect()
}

#[test]
fn the_figures_that_people_see_agree_and_what_was_written_is_named() {
    let served = Served::start(&["--handler", "echo"]);
    let folder = Folder::new();
    let (html, svg) = (folder.file("bench.html"), folder.file("bench.svg"));
    let flags = [
        "--requests",
        "300",
        "--rounds",
        "3",
        "--html",
        &html,
        "--svg",
        &svg,
    ];
    let finished = run(
        &[&["bench", "--to", &served.endpoint], &flags[..]].concat(),
        "",
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = finished.out;
    for ((throughput, seconds), requests) in row(&text, "right replies a second")
        .into_iter()
        .zip(row(&text, "measured for"))
        .zip(row(&text, "requests"))
    {
        let by_hand = requests / seconds;
        // The time is shown to the millisecond.
        let rounding = 1.0 + throughput * 0.0005 / seconds;
        assert!(
            (throughput - by_hand).abs() <= rounding,
            "{throughput}, {by_hand}:\n{text}"
        );
    }
    assert_eq!(row(&text, "measured for").len(), 3, "{text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("Any reply that isn't an error counts as right: --expect"),
        "{text}"
    );
    // Every two modes, exclusive and short among them, whichever is faster.
    let compared = text
        .lines()
        .filter(|line| line.contains("times the throughput of"));
    assert_eq!(compared.count(), 3, "{text}");
    let unbroken: String = text.split('\n').collect();
    for file in [html, svg] {
        assert!(
            unbroken.contains(&format!("Written to {file}.")),
            "{file}:\n{text}"
        );
        assert!(
            std::fs::metadata(&file).is_ok_and(|written| written.len() > 0),
            "{file}"
        );
    }
}

#[test]
fn what_isnt_expected_is_shown_as_far_as_a_line_goes() {
    let served = Served::start(&["--handler", "echo"]);
    let body = format!("\"{}\"", "x".repeat(100));
    let (finished, _) = bench(&served.endpoint, &["--body", &body, "--expect", "1"]);
    assert!(finished.err.ends_with("xxx…\n"), "{finished:?}");
}

#[test]
fn an_open_loop_sends_what_it_was_asked_for() {
    let served = Served::start(&["--handler", "echo"]);
    let flags = [
        "--modes",
        "exclusive",
        "--rate",
        "500",
        "--seconds",
        "1",
        "--rounds",
        "2",
    ];
    let began = Instant::now();
    let (finished, document) = bench(&served.endpoint, &flags);
    let mode = mode(&document, "exclusive");
    assert_eq!(
        (finished.code, number(&mode["requests"])),
        (Some(0), 500),
        "{finished:?}"
    );
    // Never faster than it was told to, whatever the machine: the last of 250 is due 498 ms after
    // the first.
    assert!(began.elapsed() >= Duration::from_millis(2 * 498));
    assert!(
        mode["throughput"].as_f64().expect("a rate") <= 500.5,
        "{mode}"
    );
    assert!(
        number(&mode["service_us"]["p50"]) <= number(&mode["latency_us"]["p50"]),
        "{mode}"
    );
    assert_eq!(
        document["comparisons"],
        serde_json::json!([]),
        "all are as fast as they were told to be"
    );
}

#[test]
fn so_many_requests_are_sent_as_were_asked_for_in_whatever_rounds() {
    let served = Served::start(&["--handler", "echo"]);
    let flags = ["--modes", "exclusive", "--warm-up", "0"];
    for (requests, rounds, each) in [("7", "3", &[3, 2, 2][..]), ("1", "5", &[1])] {
        let asked = ["--requests", requests, "--rounds", rounds];
        let (finished, document) = bench(&served.endpoint, &[&flags[..], &asked].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let all = mode(&document, "exclusive")["rounds"]
            .as_array()
            .expect("rounds");
        let all: Vec<_> = all.iter().map(|round| number(&round["requests"])).collect();
        assert_eq!(all, each);
    }
}

#[test]
fn the_warm_up_is_no_faster_than_what_follows() {
    let (endpoint, requests) = stalling(u64::MAX, Duration::ZERO);
    let raw = [&RAW[..], &["--modes", "exclusive"]].concat();
    let shape = [
        "--rate",
        "20",
        "--seconds",
        "0.5",
        "--warm-up",
        "0.5",
        "--rounds",
        "1",
    ];
    let (finished, _) = bench(&endpoint, &[&raw[..], &shape].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        requests(),
        1 + 10 + 10,
        "the first contact, the warm-up, the round"
    );
}

/// A server that answers each byte with one, and pauses everything for this long after every `then`
/// of them. Also returns how many bytes it has read.
pub(crate) fn stalling(then: u64, pause: Duration) -> (String, impl Fn() -> u64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    let gate = Arc::new((Mutex::new(()), AtomicU64::new(0)));
    let read = Arc::clone(&gate);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, gate) = (stream.expect("a connection"), Arc::clone(&gate));
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    {
                        let _gate = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
                        if gate.1.fetch_add(1, Relaxed) % then == then - 1 {
                            thread::sleep(pause);
                        }
                    }
                    if stream.write_all(b"!").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (endpoint, move || read.1.load(Relaxed))
}

#[test]
fn a_server_that_stalls_shows_in_an_open_loop_and_hides_from_a_closed_one() {
    // A tenth of the time, as 1 s in 10: 900 requests take 1.8 s, and then it pauses 0.2 s.
    let pause = Duration::from_millis(200);
    let raw = [&RAW[..], &["--modes", "exclusive"]].concat();
    let shape = [
        "--callers",
        "4",
        "--connections",
        "4",
        "--rounds",
        "1",
        "--warm-up",
        "0",
    ];
    let measured = |flags: &[&str]| {
        let (endpoint, _) = stalling(900, pause);
        let (finished, document) = bench(&endpoint, &[&raw[..], &shape, flags].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        mode(&document, "exclusive").clone()
    };
    let open = measured(&["--rate", "500", "--requests", "1900"]);
    let whole = pause.as_micros() as u64;
    // Requests are held up in their order, each for what was left of the pause: of two pauses, 200
    // in all.
    assert!(
        number(&open["latency_us"]["p99"]) >= whole * 7 / 10,
        "{open}"
    );
    assert!(
        number(&open["latency_us"]["p99_9"]) >= whole * 9 / 10,
        "{open}"
    );
    // From when they were sent, only the four that were under way have waited: 8 of 1,900.
    assert!(
        number(&open["service_us"]["p90"]) < number(&open["latency_us"]["p99"]),
        "{open}"
    );
    // A closed loop asks nothing while it waits: of 20,000 some 22 × 4 requests have met a pause,
    // one in 227.
    let closed = measured(&["--requests", "20000"]);
    assert!(
        number(&closed["latency_us"]["p99"]) < number(&open["latency_us"]["p99"]) / 2,
        "{closed}"
    );
    assert!(number(&closed["latency_us"]["max"]) >= whole, "{closed}");
}

#[test]
fn over_tls_and_unix_sockets_it_is_the_same() {
    let folder = Folder::new();
    let authority = Authority::new();
    let ca = authority.write(&folder, "ca.pem");
    let (cert, key) = authority.issue(&folder, "localhost");
    let served = Served::start_at(
        "tls://127.0.0.1:0",
        &["--handler", "echo", "--tls-cert", &cert, "--tls-key", &key],
    );
    let flags = [
        "--requests",
        "60",
        "--rounds",
        "1",
        "--callers",
        "4",
        "--warm-up",
        "0",
    ];
    let tls = ["--ca", &ca, "--server-name", "localhost"];
    let (finished, document) = bench(&served.endpoint, &[&flags[..], &tls].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(number(&mode(&document, "short")["replies_ok"]), 60);

    let socket = format!("unix://{}", folder.file("socket"));
    let served = Served::start_at(&socket, &["--handler", "echo"]);
    let (finished, document) = bench(&served.endpoint, &flags);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(number(&mode(&document, "pipelined")["replies_ok"]), 60);
    assert_eq!(
        mode(&document, "short")["time_wait"],
        Value::Null,
        "there is none of Unix sockets"
    );
}
