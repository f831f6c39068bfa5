//! How many bytes are looked at. What frames are, `tests/presets` asks.

use super::{search::EXAMINED, *};

/// How many bytes were looked at for each that has come, in pieces of this length.
fn work(protocol: &Delimited, wire: &[u8], piece: usize) -> f64 {
    EXAMINED.set(0);
    let (mut begin, mut scan, mut end) = (0, Scan::default(), 0);
    while end < wire.len() {
        end = (end + piece).min(wire.len());
        loop {
            let step = protocol.next(Context::REPLY, &wire[begin..end], &mut scan);
            match step.expect("no limit") {
                Step::Frame(extent) => begin += extent.length(),
                Step::More { .. } => break,
                Step::Heartbeat { .. } => unreachable!("there is none"),
            }
            scan.reset();
        }
    }
    EXAMINED.get() as f64 / wire.len() as f64
}

#[test]
fn no_byte_is_looked_at_more_than_three_times_in_any_mode_and_in_any_pieces() {
    let modes = [
        EndOfReply::Line,
        EndOfReply::UntilLine("END".into()),
        EndOfReply::UntilLine("".into()),
        EndOfReply::UntilPrompt("> ".into()),
        EndOfReply::UntilPrompt(">>>>>>>> ".into()),
        EndOfReply::Lines(1),
        EndOfReply::Lines(1_000),
    ];
    let delimiters: [&[&str]; 4] = [&["\n"], &["\r\n"], &["\r\n", "\n"], &["\0"]];
    let wires = [
        "x",
        "\n",
        "\r",
        "\r\n",
        "\0",
        "x\n",
        "x\r\n",
        "ENX\n",
        "ENX\r\n",
        "EN\r\n",
        "END\n",
        "> ",
        ">\n",
        ">>>>>>>>\n",
        ">>>>>>>>>\r\n",
        ">",
        "> x\n",
        "some words\n",
    ];
    for reply in &modes {
        for delimiters in delimiters {
            let protocol = Delimited::new(DelimitedSettings {
                delimiters: delimiters.iter().map(|&end| end.into()).collect(),
                reply: reply.clone(),
                ..DelimitedSettings::default()
            });
            let protocol = protocol.expect("valid settings");
            for wire in wires {
                let whole = wire.repeat(12_000 / wire.len()).into_bytes();
                for piece in [1, 2, 7, 1_000, whole.len()] {
                    let work = work(&protocol, &whole, piece);
                    assert!(
                        work <= 3.0,
                        "{work} looks at each of {wire:?} in pieces of {piece}: {reply:?}, {delimiters:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_longest_delimiters_that_nearly_fit_cost_no_more_than_their_length() {
    let almost = ["ax", "bx", "cx"].map(|end| end.replace('x', &"x".repeat(15)));
    let protocol = Delimited::new(DelimitedSettings {
        delimiters: almost.iter().map(|end| end.as_str().into()).collect(),
        ..DelimitedSettings::default()
    });
    let work = work(&protocol.expect("valid settings"), &[b'x'; 12_000], 1);
    assert!(work <= 1.0 + 3.0 * 16.0, "{work}");
}
