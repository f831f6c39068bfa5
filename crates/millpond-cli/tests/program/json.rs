//! The names in the program's JSON. They are stable, and docs/program.md documents them.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Served, run};

const PAGE: &str = include_str!("../../../../docs/program.md");

/// The document on stdout, which has nothing else.
fn document(arguments: &[&str]) -> Value {
    let finished = run(arguments, "");
    serde_json::from_str(&finished.out)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {finished:?}"))
}

/// Asserts that an object has these names and no others.
#[track_caller]
fn has(object: &Value, names: &str) {
    let found: BTreeSet<&str> = object
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(found, names.split_whitespace().collect(), "{object}");
}

#[track_caller]
fn has_told(object: &Value, names: &str) {
    has(object, names);
    for name in names.split_whitespace() {
        assert!(
            PAGE.contains(&format!("`{name}`")),
            "docs/program.md doesn't tell of {name}"
        );
    }
}

#[test]
fn demo_has_these_names() {
    let demo = document(&["demo", "--json", "--seconds", "500ms", "--callers", "8"]);
    has_told(
        &demo,
        "version seed mode callers max_connections interrupted scene seconds requests replies_ok replies_wrong errors \
         connections_opened requests_per_connection evicted restarts retries latency_us heartbeats throughput throughput_ratio \
         pooled_connections short_connections unexpected",
    );
    has(
        &demo["scene"],
        "first_ports later_ports connections_opened reused heartbeats",
    );
    has_told(&demo["retries"], "granted refused turned_away");
    has(
        &demo["short_connections"],
        "seconds requests replies_ok replies_wrong errors connections_opened throughput latency_us time_wait ports_nearly_used_up",
    );
}

#[test]
fn bench_has_these_names_and_those_of_demo_for_the_same_things() {
    let served = Served::start(&[]);
    let flags = ["--requests", "20", "--rounds", "2", "--warm-up", "0"];
    let bench = document(&[&["bench", "--json", "--to", &served.endpoint], &flags[..]].concat());
    has_told(
        &bench,
        "version endpoint framing callers max_connections body_bytes expected rate threads interrupted modes comparisons warnings",
    );
    has(
        &bench["modes"][0],
        "mode seconds requests replies_ok errors error_examples throughput latency_us service_us percentiles histogram \
         connections_opened client_cpu_us_per_request time_wait ports_nearly_used_up rounds timeline",
    );
    has(
        &bench["modes"][0]["rounds"][0],
        "seconds requests replies_ok throughput",
    );
    has(&bench["comparisons"][0], "mode than ratio deviation");
    has(&bench["warnings"][0], "code text advice");
}

#[test]
fn doctor_has_these_names() {
    let doctor = document(&["doctor", "--json", "keepalive"]);
    has_told(&doctor, "version verdict findings");
    has(
        &doctor["findings"][0],
        "check mark found why advice figures",
    );
    let served = Served::start(&[]);
    let pid = served.id().to_string();
    let both = document(&[
        "doctor",
        "--json",
        "--to",
        &served.endpoint,
        "--pid",
        &pid,
        "connect",
    ]);
    has_told(&both, "version endpoint pid verdict findings");
    assert_eq!(both["endpoint"], served.endpoint.as_str());
    assert_eq!(both["pid"], served.id());
}

#[test]
fn call_and_the_events_of_serve_have_these_names() {
    let mut served = Served::start(&[]);
    let reply = document(&["call", "--json", "--to", &served.endpoint, "1"]);
    has_told(&reply, "version reply timings");
    has(
        &reply["timings"],
        "connect_seconds request_seconds total_seconds",
    );
    let error = document(&["call", "--json", "--to", "127.0.0.1:1", "1"]);
    has_told(&error, "version error timings");
    has(&error["error"], "code message");
    served.signal(Signal::SIGTERM);
    has(
        &served.event("draining"),
        "event version within_seconds connections handled",
    );
    let drained = served.event("drained");
    has(&drained, "event version forced unanswered server");
    for event in [
        "listening",
        "few_descriptors",
        "doubtful_certificate",
        "reloaded",
        "not_reloaded",
        "draining",
        "drained",
        "dropped",
    ] {
        assert!(
            PAGE.contains(&format!("`{event}`")),
            "docs/program.md doesn't tell of {event}"
        );
    }
}
