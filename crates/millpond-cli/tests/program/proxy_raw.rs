//! `millpond proxy --framing raw`: sessions of bytes, their drain, and what is no use with them.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use crate::{
    common::{Folder, run},
    proxy::Proxy,
};

/// What the proxy says is its address, without the scheme.
fn address(proxy: &mut Proxy) -> String {
    let endpoint = proxy.listening();
    endpoint.trim_start_matches("tcp://").to_owned()
}

/// An upstream in a thread, which says everything back when the client has ended.
fn upstream(connections: usize) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let serving = thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut said = Vec::new();
            stream.read_to_end(&mut said).expect("all of it");
            stream.write_all(&said).expect("open");
        }
    });
    (address, serving)
}

#[test]
fn each_client_is_lent_a_connection_and_half_closes_pass() {
    let (to, serving) = upstream(3);
    let mut proxy = Proxy::start(&[
        "--framing",
        "raw",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to,
        "--max-size",
        "1",
    ]);
    let address = address(&mut proxy);
    for number in 0..3_u8 {
        let mut client = TcpStream::connect(&address).expect("a proxy");
        let said = vec![number; 300_000];
        let mut writes = client.try_clone().expect("a socket");
        let sent = said.clone();
        let writing = thread::spawn(move || {
            writes.write_all(&sent).expect("open");
            writes.shutdown(Shutdown::Write).expect("open");
        });
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).expect("all of it");
        assert!(heard == said, "{} bytes", heard.len());
        writing.join().expect("written");
    }
    serving.join().expect("three connections");
    let (drained, code) = proxy.drained();
    assert_eq!(code, Some(0), "{drained}");
    let totals = &drained["proxy"]["totals"];
    assert_eq!(
        (&totals["sessions"], &totals["ended"]),
        (&3.into(), &3.into())
    );
    assert_eq!(totals["bytes_to_client"], 900_000, "{drained}");
    assert_eq!(drained["proxy"]["pool"]["totals"]["opened"], 3, "{drained}");
}

#[test]
fn a_session_that_is_left_at_the_end_of_the_drain_is_cut_and_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address").to_string();
    let mut proxy = Proxy::start(&[
        "--framing=raw",
        "--mode=session",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to,
        "--drain",
        "50ms",
    ]);
    let mut client = TcpStream::connect(address(&mut proxy)).expect("a proxy");
    let (mut accepted, _) = listener.accept().expect("a session");
    accepted.write_all(b"220 hello\r\n").expect("open");
    client.read_exact(&mut [0; 11]).expect("the greeting");
    let (drained, code) = proxy.drained();
    assert_eq!(code, Some(1), "{drained}");
    assert_eq!(drained["proxy"]["totals"]["forced"], 1, "{drained}");
    // By a reset: neither side takes what it has for the whole.
    for side in [&mut client, &mut accepted] {
        let ended = side.read(&mut [0]).expect_err("a reset");
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn what_is_about_requests_is_refused() {
    let raw = [
        "proxy",
        "--framing",
        "raw",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "127.0.0.1:1",
    ];
    for (more, said) in [
        (&["--mode", "exchange"][..], "is for --mode session"),
        (&["--deadline", "3s"], "cannot be used with --deadline"),
        (&["--max-frame=3"], "cannot be used with --max-frame"),
        (&["--depth", "3"], "--depth is for --mode pipeline"),
    ] {
        let refused = run(&[&raw[..], more].concat(), "");
        assert_eq!(refused.code, Some(2), "{more:?}: {refused:?}");
        assert!(refused.err.contains(said), "{more:?}: {refused:?}");
    }
    let folder = Folder::new();
    let route = "[route.web]\nlisten = '127.0.0.1:0'\nto = '127.0.0.1:1'\nframing = 'raw'\n";
    let check = |more: &str| {
        let file = folder.write("routes.toml", &format!("{route}{more}\n"));
        run(&["proxy", "--config", &file, "--check"], "")
    };
    assert_eq!(check("route.max_pin_age_seconds = 60").code, Some(0));
    let wrong = check("mode = 'exchange'");
    assert!(wrong.err.contains("routes.toml, line 1"), "{wrong:?}");
    assert!(wrong.err.contains("framing raw is for mode"), "{wrong:?}");
}
