//! A machine with only 200 local ports, which never takes one in TIME_WAIT again. `doctor` predicts
//! what that means, short connections use the ports up, `doctor` explains it afterwards, and a pool
//! does the same work over ten connections.
//!
//! In a network namespace of its own. Where these aren't allowed this test is skipped, loudly;
//! `.ci/namespaces` insists on it.

#![cfg(target_os = "linux")]

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use millpond_rig::{Result, Scene, Side, servers};
use serde_json::Value;

/// An echo server: its reply to a frame is a valid frame of every protocol.
const HERE: &str = "10.77.0.2:7000";

const PORTS: u64 = 200;

/// How long a closed connection keeps its port, in seconds.
const TIME_WAIT: f64 = 60.0;

/// The requests that are to be sent: many times as many as there are ports.
const REQUESTS: u64 = 2_000;

struct Ran {
    code: Option<i32>,
    document: Value,
}

/// Runs the program, which prints a document.
fn millpond(arguments: &[&str]) -> Result<Ran> {
    let output = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(arguments)
        .arg("--json")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("millpond {arguments:?} printed no document: {error}; {said}"))?;
    Ok(Ran {
        code: output.status.code(),
        document,
    })
}

/// What a check has found.
fn finding(ran: &Ran, check: &str) -> Result<Value> {
    let findings = ran.document["findings"].as_array().ok_or("findings")?;
    let found = findings.iter().find(|finding| finding["check"] == check);
    Ok(found
        .ok_or_else(|| format!("no {check} in {}", ran.document))?
        .clone())
}

fn bench(mode: &str, flags: &[&str]) -> Result<(Ran, Value)> {
    let requests = REQUESTS.to_string();
    let shape = ["--requests", &requests, "--rounds", "3", "--warm-up", "0"];
    let ran = millpond(&[&["bench", "--to", HERE, "--modes", mode], &shape[..], flags].concat())?;
    let measured = ran.document["modes"][0].clone();
    Ok((ran, measured))
}

#[test]
fn two_hundred_ports_are_few_for_short_connections_and_plenty_for_a_pool() {
    Scene::of_test("two_hundred_ports_are_few_for_short_connections_and_plenty_for_a_pool")
        .server("echo", servers::echo)
        .limit(Duration::from_secs(100))
        .check(|rig| {
            let _echo = rig.start("echo", &[HERE])?;
            Side::Client.sysctl("net.ipv4.ip_local_port_range", "40000 40199")?;
            Side::Client.sysctl("net.ipv4.tcp_tw_reuse", "0")?;

            // Beforehand: so many ports, each of them for a minute.
            let before = millpond(&["doctor", "ephemeral-ports", "time-wait-reuse"])?;
            let predicted = finding(&before, "ephemeral-ports")?;
            assert_eq!(predicted["figures"]["available"], PORTS, "{predicted}");
            let per_second = predicted["figures"]["limit_per_second"].as_f64().ok_or("a rate")?;
            assert!((per_second - PORTS as f64 / TIME_WAIT).abs() < 0.01, "{predicted}");

            // The pool: all requests over ten connections.
            let (ran, pooled) = bench("exclusive", &["--connections", "10"])?;
            assert_eq!((ran.code, &pooled["replies_ok"]), (Some(0), &REQUESTS.into()), "{pooled}");
            let over = pooled["connections_opened"].as_u64().ok_or("a count")?;
            assert!(over <= 10, "{pooled}");

            // Short connections stop before they have used up what others need as well.
            let (ran, careful) = bench("short", &[])?;
            assert_eq!((ran.code, &careful["ports_nearly_used_up"]), (Some(0), &true.into()), "{careful}");
            let opened = careful["connections_opened"].as_u64().ok_or("a count")?;
            assert!((PORTS / 2..=PORTS * 4 / 5).contains(&opened), "{careful}");
            assert!(careful["throughput"].as_f64().is_some_and(|rate| rate > 0.0), "{careful}");
            assert_eq!(careful["requests"], opened, "each of them had its reply: {careful}");

            // Unless they are told not to: then the error says what is used up, and what to do.
            let (ran, exhausted) = bench("short", &["--exhaust"])?;
            assert_eq!(ran.code, Some(1), "{exhausted}");
            let all = opened + exhausted["connections_opened"].as_u64().ok_or("a count")?;
            assert!((PORTS - 20..=PORTS).contains(&all), "{exhausted}");
            let failed = exhausted["errors"]["ports_used_up"].as_u64().ok_or("errors")?;
            assert!(failed > 0, "{exhausted}");
            let said = exhausted["error_examples"]["ports_used_up"].as_str().ok_or("a text")?;
            assert!(said.contains("of the 200 ports 40000-40199") && said.contains("TIME_WAIT"), "{said}");

            // Afterwards: it is found, and named.
            let after = millpond(&["doctor", "ephemeral-ports", "time-wait"])?;
            let explained = finding(&after, "ephemeral-ports")?;
            assert_eq!((after.code, &explained["mark"]), (Some(1), &"bad".into()), "{explained}");
            assert_eq!(explained["figures"]["busiest_destination"], HERE, "{explained}");
            println!(
                "predicted {per_second:.2} connections a second; the pool: {REQUESTS} requests over {over} connections; \
                 short: {all} connections, then {failed} errors; doctor: {}",
                explained["found"]
            );
            Ok(())
        });
}
