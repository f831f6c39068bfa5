//! `millpond serve`: how much memory clients can make it hold that send and never read, and that it
//! gives it back to the system.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::common::{Served, until};

const CLIENTS: usize = 60;
const MIB: usize = 1 << 20;

/// A figure of a process in MiB.
fn memory(process: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| {
        line.trim_matches([':', '\t', ' ', 'k', 'B'])
            .parse::<usize>()
            .ok()
    });
    kib.expect("a number") / 1_024
}

#[test]
fn a_flood_of_requests_whose_replies_nobody_reads_is_bounded_and_given_back() {
    let limit = 32;
    let served = Served::start(&["--raw", "--max-bytes", &(limit * MIB).to_string()]);
    assert_eq!(served.call(&["1"]).out, "1\n");
    let before = memory(served.id(), "VmRSS");
    let address = served.endpoint.trim_start_matches("tcp://");
    let wire = [format!("length:{MIB:013}").as_bytes(), &vec![b'1'; MIB]].concat();
    let mut flood: Vec<(TcpStream, usize)> = Vec::new();
    for _ in 0..CLIENTS {
        let client = TcpStream::connect(address).expect("a connection");
        client.set_nonblocking(true).expect("a socket");
        flood.push((client, 0));
    }
    // Until nothing has been taken for a while. What the server may hold is a fifth of what the
    // kernel can pass on to it at least.
    let mut quiet = 0;
    while quiet < 50 {
        let mut taken = false;
        for (client, sent) in &mut flood {
            match client.write(&wire[*sent % wire.len()..]) {
                Ok(more) => (*sent, taken) = (*sent + more, true),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        quiet = if taken { 0 } else { quiet + 1 };
        thread::sleep(Duration::from_millis(10));
    }
    let sent: usize = flood.iter().map(|(_, sent)| sent / MIB).sum();
    assert!(sent > 3 * limit, "{sent} MiB don't show a limit of {limit}");
    assert_eq!(
        served.call(&["1"]).out,
        "1\n",
        "a small request gets through"
    );
    let peak = memory(served.id(), "VmHWM");
    // Without any further request, freed memory is returned to the system.
    drop(flood);
    let mut now = 0;
    until("memory is given back", || {
        now = memory(served.id(), "VmRSS");
        now < before + limit * 3 / 2
    });
    println!("{before} MiB before, {sent} MiB sent: {peak} MiB at most, {now} MiB after");
    assert!(peak <= limit + 100, "{peak} MiB");
}
