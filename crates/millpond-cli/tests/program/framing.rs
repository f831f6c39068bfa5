//! `--framing`, as `serve`, `call` and `bench` take it: its forms, what is wrong with one, and the
//! limit on bodies.

use std::{
    fmt::Write,
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use millpond::framing::Protocol;
use serde_json::Value;

use crate::common::{Finished, Folder, Served, millpond, run};

pub(crate) const MESSAGE: &str =
    "MSH|^~\\&|HIS|WARD|LAB|EAST|20260102||ADT^A01^ADT_A01|7|P|2.5\rPID|1||4711\r";

/// The smallest reply that accepts it.
pub(crate) const ACCEPTED: &str =
    "MSH|^~\\&|LAB|EAST|HIS|WARD|20260102||ACK^A01^ACK|7|P|2.5\rMSA|AA|7\r";

pub(crate) fn mllp(served: &Served, arguments: &[&str]) -> Finished {
    served.call(&[&["--framing", "mllp"], arguments].concat())
}

#[track_caller]
pub(crate) fn printed(finished: &Finished, out: &str) {
    assert_eq!(
        (finished.code, finished.out.as_str(), finished.err.as_str()),
        (Some(0), out, "")
    );
}

#[test]
fn a_message_is_answered_with_its_control_id_however_the_framing_is_written() {
    let folder = Folder::new();
    let file = folder.write("framing.toml", "# ours\nframing = { mllp = {} }\n");
    let named = folder.write("named.toml", "framing = \"mllp\"\n");
    let forms = [
        "mllp",
        "{ mllp = { max_body = 65536 } }",
        "mllp = { failures = \"close\" }",
        &format!("@{file}"),
        &format!("@{named}"),
    ];
    let accepted = format!("{ACCEPTED}\n");
    for form in forms {
        let served = Served::start(&["--framing", form]);
        printed(&mllp(&served, &[MESSAGE]), &accepted);
        let called = served.call(&["--framing", form, MESSAGE]);
        printed(&called, &accepted);
    }
    let served = Served::start(&["--framing", "length-json"]);
    printed(&served.call(&["{\"a\":1}"]), "{\"a\":1}\n");
}

#[test]
fn a_framing_is_also_set_by_the_environment() {
    let served = Served::start(&["--framing", "mllp"]);
    let output = millpond(&["call", "--to", &served.endpoint, MESSAGE])
        .env("MILLPOND_FRAMING", "mllp = {}")
        .output()
        .expect("the program");
    printed(&Finished::from(output), &format!("{ACCEPTED}\n"));
}

#[test]
fn a_wrong_framing_is_told_with_its_place_and_what_there_is_by_every_command() {
    let folder = Folder::new();
    folder.write(
        "wrong.toml",
        "# ours\n\nframing = { mllp = { failures = \"shut\" } }\n",
    );
    folder.write("other.toml", "framin = \"mllp\"\n");
    fs::write(folder.file("latin.toml"), b"framing = \"\xfc\"\n").expect("a file");
    let presets: Vec<_> = Protocol::presets()
        .iter()
        .map(|preset| preset.name)
        .collect();
    let presets = presets.join(", ");
    let mut told = String::new();
    for value in [
        "mlpl",
        "",
        "hl7 v2",
        "{ mlpl = {} }",
        "mllp = { max_boby = 65536 }",
        "mllp = { max_body = \"64KiB\" }",
        "{ mllp = { enhanced = \"same-conection\" } }",
        "{ mllp = {}, length-json = {} }",
        "mllp = {\n  max_body = 1,\n  max_body = 2,\n}",
        "mllp = { max_body = 1",
        "mllp\u{1b}[2J",
        "@wrong.toml",
        "@other.toml",
        "@latin.toml",
        "@missing.toml",
        "@/dev/zero",
        "wrong.toml",
    ] {
        let said = ["serve", "call", "bench"].map(|command| {
            let request: &[&str] = if command == "call" { &["1"] } else { &[] };
            let output = millpond(&[&[command, "--framing", value], request].concat())
                .current_dir(folder.path())
                .output()
                .expect("the program");
            let finished = Finished::from(output);
            assert_eq!(
                (finished.code, finished.out.as_str()),
                (Some(2), ""),
                "{value}"
            );
            // Only bench has raw.
            finished
                .err
                .replace(", raw", "")
                .replace(&presets, "(all presets)")
        });
        assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
        writeln!(told, "{value:?}\n{}", said[0]).expect("memory");
    }
    insta::assert_snapshot!("wrong_framings", told);
}

#[test]
fn the_server_tells_its_framing_and_how_to_try_it() {
    for (flags, name, example) in [
        (&[][..], "length-json", " '{\"a\":1}'"),
        (
            &["--framing", "mllp"],
            "mllp",
            " --framing mllp --request-file FILE",
        ),
        (
            &["--framing", "mllp = {}"],
            "mllp",
            " --framing 'mllp = {}' --request-file FILE",
        ),
    ] {
        let base = ["serve", "--json", "--listen", "127.0.0.1:0"];
        let mut child = millpond(&[&base[..], flags].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        child.kill().expect("it runs");
        child.wait().expect("its end");
        let listening: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(listening["framing"], name);
        let shown = listening["example"].as_str().expect("text");
        assert!(shown.ends_with(example), "{shown}");
    }
    // Nobody can listen there: if the handler weren't refused, that would be told.
    let nowhere = ["serve", "--listen", "unix:///missing/pond.sock"];
    let reference = ["--framing", "mllp", "--handler", "reference"];
    let refused = run(&[&nowhere[..], &reference].concat(), "");
    assert!(
        refused.code == Some(2) && refused.err.contains("for the framing length-json"),
        "{refused:?}"
    );
}

#[test]
fn the_limit_on_bodies_is_the_framings_unless_the_flag_sets_it() {
    // More than the 1 MiB that bodies of length-json may have.
    let folder = Folder::new();
    let long = format!("{MESSAGE}NTE|{}\r", "x".repeat(2 << 20));
    let file = folder.write("long.hl7", &long);
    let served = Served::start(&["--framing", "mllp"]);
    printed(
        &mllp(&served, &["--request-file", &file]),
        &format!("{ACCEPTED}\n"),
    );
    for (framing, limit) in [("mllp", "60"), ("mllp = { max_body = 60 }", "")] {
        let mut flags = vec!["--framing", framing];
        if !limit.is_empty() {
            flags.extend(["--max-frame", limit]);
        }
        let called = served.call(&[&flags[..], &[MESSAGE]].concat());
        assert_eq!(called.code, Some(2), "{called:?}");
        assert!(called.err.contains("--max-frame is 60"), "{called:?}");
        let small = Served::start(&flags);
        let called = mllp(&small, &[MESSAGE]);
        assert!(
            called.code == Some(1) && called.out.is_empty(),
            "{called:?}"
        );
    }
}
