//! `millpond doctor` as a whole: what it prints, as text and as JSON, and how it ends. What each
//! check finds is tested beside it.

use serde_json::Value;

use crate::common::{Finished, at_terminal, millpond, run};

/// Its JSON, which must agree with the exit code.
fn document(finished: &Finished) -> Value {
    let document: Value = serde_json::from_str(&finished.out).expect("JSON");
    assert_eq!(document["version"], 1);
    let is_bad = document["verdict"] == "bad";
    assert_eq!(finished.code, Some(i32::from(is_bad)), "{finished:?}");
    document
}

#[test]
fn its_text_ends_with_a_verdict_and_its_json_has_the_same_findings() {
    let text = run(&["doctor"], "");
    let verdict = text.out.lines().last().expect("a verdict");
    assert!(verdict.starts_with(['✓', '!', '✗']), "{verdict}");
    assert_eq!(text.code, Some(i32::from(verdict.starts_with('✗'))));
    let json = run(&["doctor", "--json"], "");
    let findings = document(&json)["findings"]
        .as_array()
        .expect("findings")
        .clone();
    assert!(findings.len() >= 13, "{findings:?}");
    for finding in findings {
        let check = finding["check"].as_str().expect("a name");
        assert!(text.out.contains(check), "{check}: {}", text.out);
        assert!(
            !finding["found"].as_str().expect("text").is_empty(),
            "{check}"
        );
        assert!(
            !finding["why"].as_str().expect("text").is_empty(),
            "{check}"
        );
    }
}

#[test]
fn only_the_checks_that_are_asked_for_are_made() {
    let chosen = run(&["doctor", "keepalive", "file-descriptors", "--json"], "");
    let names: Vec<_> = document(&chosen)["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["check"].clone())
        .collect();
    assert_eq!(names, ["file-descriptors", "keepalive"]);
    // The list is no diagnosis.
    let both = run(&["doctor", "--list-checks", "--json"], "");
    assert!(both.code == Some(2) && both.out.is_empty(), "{both:?}");
}

#[test]
fn a_name_that_no_check_has_is_answered_with_the_nearest_and_all() {
    let wrong = run(&["doctor", "ephemeral-port"], "");
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""));
    assert!(
        wrong
            .err
            .contains("similar value exists: 'ephemeral-ports'"),
        "{}",
        wrong.err
    );
    let listed = run(&["doctor", "--list-checks"], "");
    let names: Vec<_> = listed
        .out
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with([' ', 'W']))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.len() == 25 && listed.code == Some(0), "{listed:?}");
    let of_the_machine = listed.out.split("With --to").next().expect("a beginning");
    for name in names {
        assert!(wrong.err.contains(name), "{name}: {}", wrong.err);
        let alone = run(&["doctor", "--json", name], "");
        let is_of_the_machine = of_the_machine
            .lines()
            .any(|line| line.starts_with(&format!("{name} ")));
        assert_eq!(
            alone.code.map(|code| code < 2),
            Some(is_of_the_machine),
            "{name}: {alone:?}"
        );
        assert!(
            is_of_the_machine || alone.err.contains("give --"),
            "{alone:?}"
        );
    }
}

#[test]
fn a_narrow_terminal_gets_narrow_lines_and_colour() {
    let mut command = millpond(&["doctor", "-v"]);
    command.env("TERM", "xterm");
    let (_, colored) = at_terminal(command, 50);
    assert!(colored.contains("\x1b["), "{colored}");
    let (_, plain) = at_terminal(millpond(&["doctor", "-v", "--color=never"]), 50);
    assert!(!plain.contains('\x1b'), "{plain}");
    for line in plain.lines() {
        assert!(line.chars().count() <= 50, "{line}");
    }
}

#[test]
fn a_soft_limit_of_few_files_is_reported() {
    for (limit, mark, code) in [("512", "warning", 0), ("100", "bad", 1)] {
        let mut shell = std::process::Command::new("sh");
        let script = "ulimit -Sn \"$1\" && exec \"$2\" doctor --json file-descriptors";
        shell.args(["-c", script, "sh", limit, env!("CARGO_BIN_EXE_millpond")]);
        let finished = Finished::from(shell.output().expect("a shell"));
        assert_eq!(finished.code, Some(code), "{finished:?}");
        let finding = &document(&finished)["findings"][0];
        assert_eq!(finding["mark"], mark, "{finding}");
        assert_eq!(finding["figures"]["soft_limit"].to_string(), limit);
    }
}

/// In a network namespace of its own, whose settings it may change.
#[cfg(target_os = "linux")]
#[test]
fn in_a_network_of_few_ports_the_rate_that_they_last_for_is_shown() {
    use millpond_rig::{Scene, Side};

    Scene::of_test("doctor::in_a_network_of_few_ports_the_rate_that_they_last_for_is_shown").check(|_| {
        Side::Client.sysctl("net.ipv4.ip_local_port_range", "40000 40199")?;
        Side::Client.sysctl("net.ipv4.tcp_tw_reuse", "0")?;
        let finished = run(&["doctor", "--json", "ephemeral-ports", "time-wait-reuse"], "");
        let document = document(&finished);
        let [ports, reuse] = [0, 1].map(|nth| document["findings"][nth].clone());
        assert_eq!(
            (&ports["mark"], &reuse["mark"]),
            (&"warning".into(), &"warning".into())
        );
        assert_eq!(ports["figures"]["available"], 200);
        assert_eq!(ports["figures"]["limit_per_second"], 3.33);
        Side::Client.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
        let again = run(&["doctor", "--json", "ephemeral-ports"], "");
        let limit =
            serde_json::from_str::<Value>(&again.out)?["findings"][0]["figures"]["limit_per_second"].as_f64();
        assert!(limit.is_some_and(|limit| limit > 3.34), "{limit:?}");
        Ok(())
    });
}
