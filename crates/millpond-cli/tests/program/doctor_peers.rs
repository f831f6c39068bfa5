//! `millpond doctor` with a destination (`--to`), an idle connection (`--idle-test`) or a process
//! (`--pid`). The judgements are tested beside each check; these tests run the program.

use std::{net::TcpListener, process, thread, time::Duration};

use serde_json::Value;

use crate::common::{
    Authority, Finished, Folder, Served,
    findings::{findings, marked, names, says},
    millpond, run,
};

/// What it found of a destination.
fn towards(endpoint: &str, arguments: &[&str]) -> Vec<Value> {
    let line = [&["doctor", "--json", "--to", endpoint], arguments].concat();
    findings(&run(&line, ""))
}

/// A port that nobody listens on.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_server_that_is_reached_is_good_and_its_ports_are_those_of_loopback() {
    let served = Served::start(&["--handler", "echo"]);
    let found = towards(&served.endpoint, &["keepalive"]);
    assert_eq!(names(&found)[..2], ["keepalive", "connect"]);
    let connect = marked(&found, "connect", "good");
    assert_eq!(
        (
            &connect["figures"]["reached"],
            &connect["figures"]["addresses"]
        ),
        (&1.into(), &1.into())
    );
    says(connect, "found", "Reached: 127.0.0.1:");
    #[cfg(target_os = "linux")]
    {
        says(marked(&found, "path", "good"), "found", "Round-trip time");
        let ports = marked(&found, "ports-to", "good");
        // The machine's check of all destinations says the same of the same ports.
        let machine = findings(&run(&["doctor", "--json", "ephemeral-ports"], ""));
        assert_eq!(
            ports["figures"]["limit_per_second"],
            machine[0]["figures"]["limit_per_second_loopback"]
        );
    }
}

#[test]
fn what_refuses_is_bad_whatever_was_asked_for() {
    let to = refusing();
    for arguments in [&[][..], &["path"]] {
        let found = towards(&to, arguments);
        let connect = marked(&found, "connect", "bad");
        says(connect, "found", "nothing listens there");
        says(connect, "advice", "runs and listens on this port");
    }
    let found = towards(&format!("tls://{to}"), &["tls"]);
    marked(&found, "connect", "bad");
    says(
        marked(&found, "tls", "unknown"),
        "found",
        "There is no connection",
    );
}

#[test]
fn a_socket_file_that_is_missing_is_named() {
    let folder = Folder::new();
    let found = towards(&format!("unix://{}", folder.file("none")), &["keepalive"]);
    let connect = marked(&found, "connect", "bad");
    says(connect, "found", &folder.file("none"));
    says(connect, "advice", "listens at this path");
}

#[test]
fn a_folder_or_a_file_in_the_place_of_a_socket_is_named_as_what_it_is() {
    let folder = Folder::new();
    let file = folder.write("file", "no socket");
    for (path, said) in [
        (folder.path().display().to_string(), "this is a folder"),
        (file, "there is a file, and it is no socket"),
    ] {
        let found = towards(&format!("unix://{path}"), &["keepalive"]);
        let connect = marked(&found, "connect", "bad");
        says(connect, "found", said);
        says(connect, "why", "A Unix socket is a file");
        says(connect, "advice", "not its folder's");
    }
}

#[test]
fn a_certificate_is_judged_by_its_issuer_its_dates_and_its_names() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let ca = authority.write(&folder, "ca.pem");
    let serve = |(certificate, key): (String, String)| {
        Served::start_at(
            "tls://127.0.0.1:0",
            &[
                "--handler",
                "echo",
                "--tls-cert",
                &certificate,
                "--tls-key",
                &key,
            ],
        )
    };
    let sound = serve(authority.issue(&folder, "127.0.0.1"));
    let found = towards(&sound.endpoint, &["tls", "--ca", &ca]);
    assert_eq!(names(&found), ["tls"]);
    let tls = marked(&found, "tls", "good");
    assert_eq!(tls["figures"]["names"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(tls["figures"]["resumed"], true);

    let found = towards(&sound.endpoint, &["tls"]);
    says(marked(&found, "tls", "bad"), "advice", "--ca");

    let wrong = serve(authority.issue(&folder, "db.example"));
    let found = towards(&wrong.endpoint, &["--ca", &ca]);
    let tls = marked(&found, "tls", "bad");
    says(tls, "found", "but for db.example.");
    says(tls, "advice", "--server-name");
    // It is reached all the same.
    marked(&found, "connect", "good");
    let found = towards(
        &wrong.endpoint,
        &["tls", "--ca", &ca, "--server-name", "db.example"],
    );
    marked(&found, "tls", "good");

    let expired = serve(authority.issue_expired(&folder, "127.0.0.1"));
    let found = towards(&expired.endpoint, &["--ca", &ca]);
    let tls = marked(&found, "tls", "bad");
    says(tls, "found", "expired");
    says(tls, "advice", "renewed");
}

#[test]
fn a_check_that_is_none_here_says_so() {
    let served = Served::start(&["--handler", "echo"]);
    let found = towards(&served.endpoint, &["tls", "resolve"]);
    // In the order of the list.
    assert_eq!(names(&found), ["resolve", "tls"]);
    says(
        marked(&found, "tls", "unknown"),
        "found",
        "only tls:// has a handshake",
    );
    says(
        marked(&found, "resolve", "unknown"),
        "found",
        "no name to look up",
    );
}

#[test]
fn the_idle_test_finds_when_the_peer_closes_whatever_else_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address").to_string();
    let closing = thread::spawn(move || {
        // The first connection is the connect check's, the second the idle test's.
        for stream in listener.incoming().take(2) {
            let stream = stream.expect("a connection");
            // The idle time that the test has to find.
            thread::sleep(Duration::from_millis(1_300));
            drop(stream);
        }
    });
    let found = towards(&to, &["connect", "--idle-test", "60s"]);
    closing.join().expect("it closed");
    assert_eq!(names(&found), ["connect", "idle"]);
    let idle = marked(&found, "idle", "warning");
    let waited = idle["figures"]["waited_seconds"].as_f64().expect("a time");
    assert!((1.0..30.0).contains(&waited), "{idle}");
    assert_eq!(idle["figures"]["closed"], true);
    says(idle, "advice", "idle_timeout");
}

#[test]
fn the_idle_test_ends_with_its_time_where_the_peer_stays() {
    let served = Served::start(&["--handler", "echo"]);
    let found = towards(&served.endpoint, &["idle", "--idle-test", "200ms"]);
    assert_eq!(names(&found), ["idle"]);
    says(
        marked(&found, "idle", "good"),
        "found",
        "Still open after 200 ms",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_without_sockets_has_nothing_to_close_and_says_so() {
    let mut sleeper = process::Command::new("sleep")
        .arg("600")
        .spawn()
        .expect("sleep");
    let pid = sleeper.id().to_string();
    let finished = run(
        &["doctor", "--json", "--pid", &pid, "process-close-wait"],
        "",
    );
    sleeper
        .kill()
        .and_then(|()| sleeper.wait())
        .expect("its end");
    let found = findings(&finished);
    says(
        marked(&found, "process-close-wait", "good"),
        "found",
        "no TCP socket",
    );
    let finished = run(&["doctor", "--pid", &pid], "");
    assert_eq!((finished.code, finished.out.as_str()), (Some(2), ""));
    assert!(finished.err.contains("there is no process"), "{finished:?}");
}

#[test]
fn flags_that_have_nothing_to_be_about_are_wrong() {
    for (line, said) in [
        (&["--ca", "ca.pem"][..], "--ca is about what --to names"),
        (&["--server-name", "a.example"], "--server-name is about"),
        (&["--list-checks", "--ca", "ca.pem"], "--ca"),
        (&["--idle-test", "3s"], "--to"),
        (
            &["--to", "127.0.0.1:1", "--idle-test", "connect"],
            "name it before --idle-test",
        ),
        (&["--to", "127.0.0.1:1", "idle"], "give --idle-test as well"),
        (&["tls"], "give --to as well"),
        (&["process-sockets"], "give --pid as well"),
        (&["--to", "nonsense"], "host:port"),
        (
            &["--to", "tcp://127.0.0.1:1", "--ca", "ca.pem"],
            "speaks none",
        ),
        (&["--pid", "0"], "a whole number from 1 to"),
    ] {
        let finished = run(&[&["doctor"], line].concat(), "");
        assert_eq!(
            (finished.code, finished.out.as_str()),
            (Some(2), ""),
            "{line:?}"
        );
        assert!(finished.err.contains(said), "{line:?}: {}", finished.err);
    }
}

#[test]
fn an_authority_in_the_environment_is_for_whoever_needs_it() {
    let mut command = millpond(&["doctor", "keepalive"]);
    command.env("MILLPOND_CA", "/nowhere/ca.pem");
    let finished = Finished::from(command.output().expect("the program"));
    assert!(
        finished.code == Some(0) && finished.err.is_empty(),
        "{finished:?}"
    );
}
