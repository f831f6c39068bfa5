//! Every input of the committed corpus, and some that are nearly it, through its target, without
//! libFuzzer; and the references themselves. Always the same ones: what is found is found again.
//! `MILLPOND_MUTATIONS` sets how many are made of each input.

use std::{fs, panic, path::Path};

use fastrand::Rng;
use millpond_fuzz::{
    client_exchange, decoder, grammar, json, mllp, presets, proxied_conversation, redis, reference,
    server_connection,
};

/// How many are made of each input.
const MUTATIONS: usize = 50;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let asked = std::env::var("MILLPOND_MUTATIONS").ok();
    let mutations = asked.map_or(MUTATIONS, |text| text.parse().expect("a number"));
    let entries = fs::read_dir(&folder).expect("a corpus");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an input").path())
        .collect();
    paths.sort();
    let read = |path| fs::read(path).expect("an input");
    let inputs: Vec<_> = paths.iter().map(read).collect();
    assert!(inputs.len() >= 20, "the corpus of {target} was found");
    let mut random = Rng::with_seed(1);
    for (path, input) in paths.iter().zip(&inputs) {
        // What is shown if it fails.
        println!("{}", path.display());
        run(input);
        for _ in 0..mutations {
            let other = &inputs[random.usize(..inputs.len())];
            let mutated = mutated(input, other, &mut random);
            if let Err(found) = panic::catch_unwind(|| run(&mutated)) {
                println!("one that was made of it: {mutated:?}");
                panic::resume_unwind(found);
            }
        }
    }
}

/// The input with up to four small changes, each of which may be a part of another input, put in.
fn mutated(input: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=bytes.len());
        let until = (at + random.usize(1..=8)).min(bytes.len());
        match random.u8(..5) {
            0 => bytes.insert(at, random.u8(..)),
            1 => drop(bytes.drain(at..until)),
            2 => {
                let again = bytes[at..until].to_vec();
                drop(bytes.splice(at..at, again));
            }
            3 => {
                let from = random.usize(..=other.len());
                let to = (from + random.usize(1..=32)).min(other.len());
                drop(bytes.splice(at..at, other[from..to].iter().copied()));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.u8(..8);
                }
            }
        }
    }
    bytes
}

#[test]
fn the_decoder_takes_its_corpus() {
    replay("decoder", decoder::run);
}

#[test]
fn the_judge_of_json_takes_its_corpus() {
    replay("json", json::run);
}

#[test]
fn the_presets_take_their_corpus() {
    replay("presets", presets::run);
}

#[test]
fn a_server_takes_its_corpus() {
    replay("server_connection", server_connection::run);
}

#[test]
fn a_client_takes_its_corpus() {
    replay("client_exchange", client_exchange::run);
}

#[test]
fn a_route_takes_its_corpus() {
    replay("proxied_conversation", proxied_conversation::run);
}

#[test]
fn hl7_over_mllp_takes_its_corpus() {
    replay("mllp", mllp::run);
}

#[test]
fn redis_takes_its_corpus() {
    replay("redis", redis::run);
}

#[test]
fn the_grammar_knows_json() {
    for good in [
        "1",
        " null ",
        "\n{\"a\": [1, 2]}\t\r\n",
        "\"\\u0000\\\\\"",
        "-0.5E+10",
        "[]",
        "{}",
        "[[],{}]",
    ] {
        assert!(grammar::is_json(good.as_bytes()), "{good}");
    }
    for bad in [
        "",
        " ",
        "1 2",
        "{}x",
        "{\"a\":}",
        "{1:1}",
        "nul",
        "\"\u{1}\"",
        "[1,]",
        "01",
        "1.",
        "+1",
        "\"\\x\"",
        "\"\\u00\"",
    ] {
        assert!(!grammar::is_json(bad.as_bytes()), "{bad}");
    }
    assert!(!grammar::is_json(b"\"\xff\""), "not UTF-8");
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(grammar::is_json(&nested(64)) && !grammar::is_json(&nested(65)));
}

#[test]
fn the_reference_knows_the_protocol() {
    use millpond::framing::Direction::{Reply, Request};
    use reference::{End, Item, Refusal, all};
    let body = br#"{"a":"a"}"#;
    let wire = br#"length:0000000000009{"a":"a"}HeartBeatlength:00"#;
    let expected = vec![Item::Frame(body.to_vec()), Item::Heartbeat];
    assert_eq!(
        all(Request, 9, wire),
        (expected, End::Open(b"length:00".to_vec()))
    );
    let refused_by = |way, bytes: &[u8]| match all(way, 9, bytes).1 {
        End::Refused(refusal) => Some(refusal),
        End::Open(_) => None,
    };
    let refused = |bytes: &[u8]| refused_by(Request, bytes);
    let (length, limit) = (10, 9);
    assert_eq!(
        refused(b"length:0000000000010"),
        Some(Refusal::TooLong { length, limit })
    );
    let (position, found) = (7, b'+');
    assert_eq!(
        refused(b"length:+000000000001"),
        Some(Refusal::Unexpected { position, found })
    );
    let (position, found) = (5, b'b');
    assert_eq!(
        refused(b"Heartbeat"),
        Some(Refusal::Unexpected { position, found })
    );
    assert_eq!(refused(b"HEAD"), Some(Refusal::Http));
    assert_eq!(refused(b"HEA"), None);
    for (words, refusal) in [
        (&b"HTTP/"[..], Refusal::HttpServer),
        (b"\x15\x03", Refusal::TlsServer),
        (b"SSH-", Refusal::SshServer),
    ] {
        assert_eq!(refused_by(Reply, words), Some(refusal));
        assert_eq!(refused_by(Reply, &words[..words.len() - 1]), None);
        assert_ne!(refused(words), Some(refusal));
    }
    let (position, found) = (1, b'E');
    assert_eq!(
        refused_by(Reply, b"HEAD"),
        Some(Refusal::Unexpected { position, found })
    );
}
