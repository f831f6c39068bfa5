//! What `serve`, `call` and `bench` do where bodies aren't JSON, with messages of HL7 by MLLP.

use serde_json::{Value, json};

use crate::{
    common::{Folder, Served, Then, at_terminal, millpond, peer, run},
    framing::{ACCEPTED, MESSAGE, mllp, printed},
};

/// The same message, which asks for these acknowledgments.
fn asking(accept: &str, application: &str) -> String {
    MESSAGE.replace("|2.5\r", &format!("|2.5|||{accept}|{application}\r"))
}

#[test]
fn requests_come_from_files_and_in_hex_digits_and_so_do_replies() {
    let folder = Folder::new();
    let file = folder.write("a01.hl7", MESSAGE);
    let served = Served::start(&["--framing", "mllp"]);
    let accepted = format!("{ACCEPTED}\n");
    printed(&mllp(&served, &["--request-file", &file]), &accepted);
    let piped = run(
        &[
            "call",
            "--to",
            &served.endpoint,
            "--framing",
            "mllp",
            "--request-file",
            "-",
        ],
        MESSAGE,
    );
    printed(&piped, &accepted);

    let hex = |text: &str, between: &str| {
        let digits: Vec<_> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        digits.join(between)
    };
    let accepted = hex(ACCEPTED, "") + "\n";
    let written = hex(MESSAGE, " ").to_uppercase();
    printed(&mllp(&served, &["--hex", &written]), &accepted);
    printed(
        &mllp(&served, &["--hex", "--request-file", &file]),
        &accepted,
    );

    for (arguments, said) in [
        (
            &["--hex", "4d 5g"][..],
            "--hex: 'g' at character 5 is no hex digit",
        ),
        (&["--hex", "4d5"], "--hex: the number of hex digits is odd"),
        (
            &["--request-file", "missing"],
            "--request-file missing: No such file",
        ),
        (&["--request-file", &file, "1"], "cannot be used with"),
        (
            &["--request-file", "/dev/zero", "--max-frame", "9"],
            "more than 9 bytes",
        ),
        (&[], "<REQUEST>"),
    ] {
        let called = mllp(&served, arguments);
        assert_eq!(
            (called.code, called.out.as_str()),
            (Some(2), ""),
            "{called:?}"
        );
        assert!(called.err.contains(said), "{called:?}");
    }
}

#[test]
fn bodies_of_json_can_be_in_hex_as_well() {
    let served = Served::start(&[]);
    printed(&served.call(&["--hex", "5b 37 5d"]), "5b375d\n");
    let called = served.call(&["--hex", "5b"]);
    assert!(
        called.code == Some(2) && called.err.contains("isn't JSON"),
        "{called:?}"
    );
    let document = served.call(&["--hex", "--json", "37"]).out;
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["replies"], json!([{ "hex": "37" }]));
}

#[test]
fn with_json_there_is_one_document_with_all_replies() {
    let served = Served::start(&["--framing", "mllp"]);
    let document = |arguments: &[&str]| {
        let called = mllp(&served, &[&["--json"], arguments].concat());
        let document: Value = serde_json::from_str(&called.out).expect("JSON");
        (called.code, document)
    };
    let (code, accepted) = document(&[MESSAGE]);
    assert_eq!((code, &accepted["version"]), (Some(0), &json!(1)));
    assert_eq!(accepted["replies"], json!([{ "text": ACCEPTED }]));
    assert!(accepted["timings"]["total_seconds"].is_f64(), "{accepted}");
    let (code, refused) = document(&["no message"]);
    assert_eq!(code, Some(2));
    assert_eq!(refused["error"]["code"], json!(-32600));
}

#[test]
fn a_request_has_no_reply_or_one_or_several_on_a_line_each() {
    const BOTH: &str = "mllp = { enhanced = \"same_connection\" }";
    let served = Served::start(&["--framing", BOTH]);
    let call = |message: &str, flags: &[&str]| {
        served.call(&[&["--framing", BOTH], flags, &[message]].concat())
    };
    printed(&call(&asking("NE", "NE"), &[]), "");
    let several = call(&asking("AL", "AL"), &[]);
    assert_eq!(several.code, Some(0), "{several:?}");
    let codes: Vec<_> = several
        .out
        .split('\n')
        .filter_map(|line| line.split("\rMSA|").nth(1))
        .collect();
    assert_eq!(codes, ["CA|7\r", "AA|7\r"]);
    let none = call(&asking("NE", "NE"), &["--json"]).out;
    assert!(none.contains("\"replies\":[]"), "{none}");

    // By default the framing refuses what may be answered on another connection.
    let refused = mllp(&served, &[&asking("AL", "AL")]);
    assert_eq!(
        (refused.code, refused.out.as_str()),
        (Some(2), ""),
        "{refused:?}"
    );
    assert!(
        refused.err.contains("the protocol refuses this request"),
        "{refused:?}"
    );
}

#[test]
fn lines_of_stdin_are_bodies_and_their_replies_are_lines() {
    let served = Served::start(&["--framing", "mllp"]);
    let second = MESSAGE.replace("|7|", "|8|");
    let input = format!("{MESSAGE}\n\n{second}\nno message\n");
    let pipe = |flags: &[&str]| {
        let base = ["call", "--to", &served.endpoint, "--framing", "mllp"];
        run(&[&base[..], flags, &["-"]].concat(), &input)
    };
    for flags in [&[][..], &["--pipelined"]] {
        let called = pipe(flags);
        assert_eq!(called.code, Some(1), "{called:?}");
        let lines: Vec<_> = called.out.split('\n').collect();
        let eighth = ACCEPTED.replace("|7", "|8");
        assert_eq!(&lines[..2], [ACCEPTED, &eighth]);
        assert!(
            lines[2].starts_with("{\"error\":{\"code\":-32600,"),
            "{called:?}"
        );
    }
    let values = pipe(&["--json"]).out;
    let first: Value = serde_json::from_str(values.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first, json!({ "text": ACCEPTED }));
}

#[test]
fn a_reply_to_another_message_or_of_another_protocol_is_against_the_protocol() {
    let another = peer(
        b"\x0bMSH|^~\\&|LAB|EAST|HIS|WARD|20260102||ACK|1|P|2.5\rMSA|AA|6\r\x1c\x0d",
        Then::Wait,
    );
    let stranger = peer(b"HTTP/1.1 400 Bad Request\r\n\r\n", Then::Wait);
    for (endpoint, said) in [
        (&another, "the reply that came answers another request"),
        (&stranger, "byte 0 of a frame is 'H', and 0x0B"),
    ] {
        let flags = ["--to", endpoint, "--framing", "mllp"];
        let called = run(&[&["call"], &flags[..], &[MESSAGE]].concat(), "");
        assert_eq!(
            (called.code, called.out.as_str()),
            (Some(5), ""),
            "{called:?}"
        );
        assert!(called.err.contains(said), "{called:?}");
        let body = MESSAGE.replace('\\', "\\\\");
        let benched = run(&[&["bench"], &flags[..], &["--body", &body]].concat(), "");
        assert!(
            benched.code == Some(5) && benched.err.contains(said),
            "{benched:?}"
        );
    }
}

#[test]
fn a_reply_does_nothing_to_a_terminal_whatever_its_bytes() {
    let reply = b"\x0bMSH|^~\\&|LAB|||||\xff|ACK|1|P|2.5\rMSA|AA|7\rNTE|\x1b[2J\r\x1c\x0d";
    let endpoint = peer(reply, Then::Wait);
    let command = millpond(&["call", "--to", &endpoint, "--framing", "mllp", MESSAGE]);
    let (status, shown) = at_terminal(command, 80);
    assert!(status.success(), "{shown}");
    assert_eq!(
        shown,
        "MSH|^~\\&|LAB|||||\\xff|ACK|1|P|2.5\\rMSA|AA|7\\rNTE|\\u{1b}[2J\\r\n"
    );
}

#[test]
fn a_program_answers_messages_and_what_it_answers_is_checked() {
    let folder = Folder::new();
    let handler = |script: &str| {
        let file = folder.write("answer", script);
        let served = Served::start(&["--framing", "mllp", "--handler", &format!("exec:sh {file}")]);
        let called = mllp(&served, &["--deadline", "5s", MESSAGE]);
        drop(served);
        called
    };
    let of = |id: &str| {
        format!("cat > /dev/null; printf 'MSH|^~\\\\&|A|B|C|D|||ACK|1|P|2.5\\rMSA|AA|{id}\\r'\n")
    };
    printed(
        &handler(&of("7")),
        "MSH|^~\\&|A|B|C|D|||ACK|1|P|2.5\rMSA|AA|7\r\n",
    );
    // The protocol has no reply for a failure by default: the connection is closed.
    for script in [
        of("6"),
        String::from("exit 1\n"),
        String::from("echo no message\n"),
    ] {
        let called = handler(&script);
        assert_eq!(
            (called.code, called.out.as_str()),
            (Some(1), ""),
            "{called:?}"
        );
        assert!(called.err.contains("the connection was lost"), "{called:?}");
    }
}

#[test]
fn a_failure_is_told_as_the_framing_tells_it() {
    const TELLING: &str = "mllp = { failures = \"acknowledge\" }";
    let served = Served::start(&["--framing", TELLING, "--handler", "exec:false"]);
    let called = mllp(&served, &[MESSAGE]);
    assert!(
        called.code == Some(0) && called.out.contains("\rMSA|AE|7"),
        "{called:?}"
    );
}

#[test]
fn bench_measures_messages_and_refuses_what_has_not_one_reply() {
    let served = Served::start(&["--framing", "mllp"]);
    let folder = Folder::new();
    let file = folder.write("a01.hl7", MESSAGE);
    let bench = |flags: &[&str]| {
        let base = ["bench", "--to", &served.endpoint, "--framing", "mllp"];
        run(&[&base[..], flags].concat(), "")
    };
    let expected = ACCEPTED.replace('\\', "\\\\");
    let load = [
        "--requests",
        "60",
        "--rounds",
        "1",
        "--warm-up",
        "0",
        "--body-file",
        &file,
    ];
    let measured = bench(&[&load[..], &["--json", "--expect", &expected]].concat());
    assert_eq!(measured.code, Some(0), "{measured:?}");
    let document: Value = serde_json::from_str(&measured.out).expect("JSON");
    assert_eq!(document["framing"], "mllp");
    let replies: Vec<_> = (0..3)
        .map(|mode| &document["modes"][mode]["replies_ok"])
        .collect();
    assert_eq!(replies, [60, 60, 60]);
    let text = bench(&load);
    assert!(
        text.out.contains("Any whole reply counts as right"),
        "{}",
        text.out
    );

    let wrong = bench(&["--body-file", &file, "--expect", "another"]);
    assert!(
        wrong.code == Some(5) && wrong.err.contains("--expect"),
        "{wrong:?}"
    );
    let unasked = asking("NE", "NE").replace('\\', "\\\\");
    for (flags, said) in [
        (
            &[][..],
            "--framing mllp sends what --body or --body-file says",
        ),
        (&["--body", "x"], "the protocol refuses it"),
        (&["--body", &unasked], "no reply comes to it"),
        (
            &["--body", "x", "--expect-length", "3"],
            "the framing mllp knows by itself",
        ),
    ] {
        let refused = bench(flags);
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (Some(2), ""),
            "{refused:?}"
        );
        assert!(refused.err.contains(said), "{refused:?}");
    }
}

#[test]
fn a_reply_that_is_no_line_is_a_failure_unless_it_is_written_as_one() {
    let endpoint = peer(
        b"\x0bMSH|^~\\&|A|B|C|D|||ACK|1|P|2.5\r\nMSA|AA|7\r\n\x1c\x0d",
        Then::Wait,
    );
    let pipe = |flags: &[&str]| {
        let base = ["call", "--to", &endpoint, "--framing", "mllp"];
        let input = match flags {
            ["--hex"] => MESSAGE.bytes().map(|byte| format!("{byte:02x} ")).collect(),
            _ => String::from(MESSAGE),
        };
        run(&[&base[..], flags, &["-"]].concat(), &input)
    };
    let failed = pipe(&[]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.out.contains("--json and --hex print it"),
        "{failed:?}"
    );
    let value = pipe(&["--json"]);
    assert!(
        value.code == Some(0) && value.out.contains(r"2.5\r\nMSA|AA|7\r\n"),
        "{value:?}"
    );
    let hex = pipe(&["--hex"]);
    assert!(
        hex.code == Some(0) && hex.out.ends_with("7c370d0a\n"),
        "{hex:?}"
    );
    let wrong = run(
        &[
            "call",
            "--to",
            &endpoint,
            "--framing",
            "mllp",
            "--max-frame",
            "4",
            "--hex",
            "-",
        ],
        "4d5\n00 01 02 03 04 05\n7f 7f 7f 7f\n",
    );
    let lines: Vec<_> = wrong.out.lines().collect();
    assert!(
        lines[0].contains("the number of hex digits is odd"),
        "{wrong:?}"
    );
    assert!(lines[1].contains("--max-frame is 4"), "{wrong:?}");
    let is_taken_for_a_body = lines[2].contains("the protocol refuses this request");
    assert!(is_taken_for_a_body, "{wrong:?}");
}
