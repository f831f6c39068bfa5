//! Programs as handlers: what becomes a reply, what an error reply, and that none is left behind.

use std::{fs, process::Command, thread};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{self, Folder, Served, until};

fn exec(command: &str, flags: &[&str]) -> Served {
    let handler = format!("exec:{command}");
    Served::start(&[&["--handler", handler.as_str()], flags].concat())
}

/// The error that a request is answered with.
fn error(served: &Served, request: &str) -> (i64, String) {
    let called = served.call(&["--json", request]);
    assert_eq!(called.code, Some(1), "{called:?}");
    let document: Value = serde_json::from_str(&called.out).expect("JSON");
    let error = &document["error"];
    let message = error["message"].as_str().expect("a message").to_owned();
    (error["code"].as_i64().expect("a code"), message)
}

/// The state of a process, zombies included; `None` if there is none.
fn state(number: &str) -> Option<String> {
    let told = Command::new("ps")
        .args(["-o", "stat=", "-p", number])
        .output()
        .expect("ps");
    let state = String::from_utf8(told.stdout)
        .expect("text")
        .trim()
        .to_owned();
    (!state.is_empty()).then_some(state)
}

#[test]
fn the_request_is_the_input_and_the_output_the_reply() {
    let served = exec("cat", &[]);
    assert_eq!(served.call(&["{\"a\": 1}"]).out, "{\"a\": 1}\n");
    // More than a pipe holds, both ways at once.
    let long = format!("\"{}\"", "x".repeat(900_000));
    let send = |served: &Served| {
        common::run(
            &["call", "--to", &served.endpoint, "-"],
            &format!("{long}\n"),
        )
    };
    let called = send(&served);
    assert_eq!(
        (called.code, called.out.trim() == long),
        (Some(0), true),
        "{}",
        called.err
    );
    // A program that doesn't read its input.
    let served = exec("echo '[7]'", &[]);
    assert_eq!(send(&served).out, "[7]\n");
}

#[test]
fn failures_are_error_replies_that_say_why() {
    let served = exec("false", &[]);
    assert_eq!(
        error(&served, "1"),
        (-32603, String::from("the program failed: exit status: 1"))
    );
    let served = exec("sh -c 'kill -9 $$'", &[]);
    assert!(error(&served, "1").1.contains("signal: 9"));
    let served = exec("echo no json", &[]);
    let (code, message) = error(&served, "1");
    assert!(
        code == -32603 && message.contains("the program's output isn't JSON"),
        "{message}"
    );
    let served = exec("sh -c 'yes 1'", &["--max-frame", "1000"]);
    assert!(error(&served, "1").1.contains("longer than 1,000 bytes"));
}

#[test]
fn raw_bodies_are_passed_on_unread() {
    let served = exec("tr a-z A-Z", &["--raw"]);
    let called = served.call(&["--raw", "no json"]);
    assert_eq!((called.code, called.out.as_str()), (Some(0), "NO JSON\n"));
}

#[test]
fn complaints_go_to_our_stderr_escaped() {
    let mut served = exec("sh -c 'printf \"\\033[2Jtrouble\\nmore\" >&2; echo 1'", &[]);
    assert_eq!(served.call(&["1"]).out, "1\n");
    served.signal(Signal::SIGTERM);
    let (status, said) = served.end();
    assert!(status.success());
    assert_eq!(said, "exec: \\u{1b}[2Jtrouble\nexec: more\n");
}

#[test]
fn at_the_deadline_the_program_and_what_it_has_started_are_gone() {
    let folder = Folder::new();
    let numbers = folder.file("numbers");
    // The one in the background doesn't end by itself, nor by its parent's end.
    let script = folder.write(
        "script",
        &format!("sleep 1000 &\necho $$ $! > {numbers}\nwait\n"),
    );
    let served = exec(&format!("sh {script}"), &["--deadline", "1s"]);
    let (code, message) = error(&served, "1");
    assert_eq!(code, -32002, "{message}");
    let numbers = fs::read_to_string(numbers).expect("it began");
    let (program, child) = numbers.trim().split_once(' ').expect("two numbers");
    until("the program is gone, and waited for", || {
        state(program).is_none()
    });
    // Its new parent may not have reaped it yet, so it may be a zombie.
    until("its child is gone", || {
        state(child).is_none_or(|state| state.starts_with('Z'))
    });
}

#[test]
fn a_program_that_has_left_something_behind_still_answers_at_once() {
    // The background process holds stderr, and not stdout.
    let served = exec(
        "sh -c 'sleep 2 > /dev/null & echo 1'",
        &["--deadline", "1s"],
    );
    assert_eq!(served.call(&["1"]).out, "1\n");
}

/// A JSON string longer than a pipe holds.
fn long_request() -> String {
    format!("\"{}\"\n", "x".repeat(900_000))
}

/// The replies to these lines.
fn replies(served: &Served, requests: &str, flags: &[&str]) -> String {
    let to = ["call", "--to", &served.endpoint, "--deadline", "30s", "-"];
    let called = common::run(&[&to, flags].concat(), requests);
    assert_eq!(called.code, Some(0), "{called:?}");
    called.out
}

#[test]
fn a_program_that_has_left_a_process_with_its_input_has_answered() {
    // Nobody reads the request, and the pipe stays open in the background.
    let served = exec(
        "sh -c 'exec 3<&0; sleep 1000 <&3 > /dev/null 2>&1 & echo 1'",
        &["--deadline", "20s"],
    );
    assert_eq!(replies(&served, &long_request(), &[]), "1\n");
}

#[test]
fn a_program_that_has_left_a_process_with_its_output_has_answered() {
    let served = exec("sh -c 'sleep 1000 & echo 1'", &["--deadline", "20s"]);
    assert_eq!(served.call(&["1"]).out, "1\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_that_has_left_its_output_to_a_process_of_another_group_has_answered() {
    let served = exec("sh -c 'setsid sleep 12 & echo 1'", &["--deadline", "10s"]);
    assert_eq!(served.call(&["1"]).out, "1\n");
}

#[test]
fn what_a_program_has_left_in_its_group_is_gone_when_it_has_ended() {
    let served = exec("sh -c 'sleep 1000 > /dev/null 2>&1 & echo $!'", &[]);
    let left = served.call(&["1"]).out;
    let left = left.trim();
    assert!(left.parse::<u32>().is_ok(), "{left:?}");
    until("it is gone", || {
        state(left).is_none_or(|state| state.starts_with('Z'))
    });
}

#[test]
fn programs_wait_for_descriptors() {
    for flags in [&[][..], &["--max-connections", "1000"]] {
        let handler = [
            "--handler",
            "exec:sh -c 'sleep 0.1; cat'",
            "--max-processes",
            "64",
        ];
        let served = Served::start_with_descriptors(256, &[&handler[..], flags].concat());
        let requests: String = (0..128).map(|number| format!("{number}\n")).collect();
        let at_once = ["--connections", "64", "--in-flight", "64"];
        assert_eq!(replies(&served, &requests, &at_once), requests, "{flags:?}");
    }
}

#[test]
fn no_more_run_at_once_than_may_and_no_more_wait() {
    let folder = Folder::new();
    let gate = folder.file("gate");
    let script = folder.write(
        "script",
        &format!(
            "touch {}/began.$$\nwhile [ ! -e {gate} ]; do sleep 0.01; done\necho 1\n",
            folder.path().display()
        ),
    );
    let served = exec(
        &format!("sh {script}"),
        &["--max-processes", "2", "--max-waiting", "1"],
    );
    let began = || {
        let files = fs::read_dir(folder.path()).expect("a folder");
        files
            .filter(|file| {
                file.as_ref()
                    .is_ok_and(|file| file.file_name().to_string_lossy().starts_with("began"))
            })
            .count()
    };
    thread::scope(|scope| {
        // One of the four is too many, whichever it is: it is refused at once, while the gate is
        // shut.
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..4 {
            let (served, tell) = (&served, tell.clone());
            scope.spawn(move || tell.send(served.call(&["1"])));
        }
        drop(tell);
        let refused = told.recv().expect("a call");
        assert!(
            refused.code == Some(1) && refused.err.contains("-32001"),
            "{refused:?}"
        );
        until("two have begun", || began() == 2);
        fs::write(&gate, "").expect("a file");
        assert_eq!(told.iter().filter(|called| called.out == "1\n").count(), 3);
    });
    assert_eq!(began(), 3, "the third began when there was room");
}

#[test]
fn a_program_that_cant_be_run_is_told_before_anything_is_served() {
    let folder = Folder::new();
    let text = format!("exec:{}", folder.write("text", "no program"));
    for (handler, said) in [
        ("exec:no-such-program", "in the folders of PATH"),
        (text.as_str(), "can be run"),
        ("exec:", "names no program"),
        ("exec:sh -c 'x", "quote"),
        ("ecko", "there are echo, reference and exec"),
    ] {
        let run = common::run(
            &["serve", "--listen", "127.0.0.1:0", "--handler", handler],
            "",
        );
        assert!(run.code == Some(2) && run.err.contains(said), "{run:?}");
    }
}
