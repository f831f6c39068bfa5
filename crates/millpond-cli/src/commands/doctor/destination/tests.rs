//! Made-up destinations for each judgement, and real ones on loopback for what is gathered.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process,
    time::Duration,
};

use clap::Parser;
use millpond::kernel::TcpInfo;
use millpond::net::{
    Accepted, Endpoint, ListenOptions, Listener, Stream,
    tls::{ClientCertificates, ServerTls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::{io::AsyncReadExt, task::JoinHandle};

use super::{
    Destination, DestinationFlags,
    facts::{DialOutcome, Lookup, NetworkPath, TriedAddress},
    handshake::{Cure, Handshake, HandshakeError, SecondHandshake},
    judge::{connect, no_session, path, resolve, session},
};
use crate::{
    certificate::Certificate,
    commands::doctor::{
        finding::{Finding, Mark},
        selection::Selection,
    },
};

const DAY: u64 = 24 * 60 * 60;

/// What time it is in these tests, in seconds since 1970.
const NOW: u64 = 2_000_000_000;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: DestinationFlags,
}

fn destination(arguments: &[&str]) -> Destination {
    let line = Line::try_parse_from([&["doctor"], arguments].concat()).expect("a command line");
    line.flags.read().expect("sound").expect("a destination")
}

/// With no check asked for by its name.
async fn check(destination: &Destination) -> Vec<Finding> {
    super::check(destination, Selection(&[])).await
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn found<'f>(check: &str, findings: &'f [Finding]) -> &'f Finding {
    let found = findings.iter().find(|finding| finding.check == check);
    found.unwrap_or_else(|| panic!("no {check} in {findings:?}"))
}

#[test]
fn the_time_of_the_idle_test_may_be_left_out() {
    assert_eq!(destination(&["--to", "h:1"]).idle_test, None);
    let without = destination(&["--to", "h:1", "--idle-test"]);
    assert_eq!(without.idle_test, Some(Duration::from_secs(120)));
    let with = destination(&["--idle-test", "5s", "--to", "h:1"]);
    assert_eq!(with.idle_test, Some(Duration::from_secs(5)));
    for bad in [
        &["--idle-test", "5s"][..],
        &["--to", "h:1", "--idle-test", "0s"],
    ] {
        assert!(
            Line::try_parse_from([&["doctor"], bad].concat()).is_err(),
            "{bad:?}"
        );
    }
    let line = Line::try_parse_from(["doctor", "--to", "tpc://h:1"]).expect("clap can't tell");
    assert!(line.flags.read().is_err());
}

#[test]
fn a_name_that_has_no_address_is_bad_and_a_slow_one_is_a_warning() {
    let lookup = |seconds: f64, answer: Result<&[&str], &str>| {
        resolve(&Lookup {
            name: String::from("db.example"),
            took: Duration::from_secs_f64(seconds),
            answer: answer
                .map(|addresses| addresses.iter().map(|address| at(address)).collect())
                .map_err(String::from),
        })
    };
    let good = lookup(0.02, Ok(&["10.0.0.1:80", "[2001:db8::1]:80"]));
    assert_eq!(good.mark, Mark::Good);
    assert_eq!(
        good.found,
        "The name db.example has 2 addresses, found within 20 ms: 10.0.0.1, 2001:db8::1."
    );
    assert_eq!(lookup(5.0, Ok(&["10.0.0.1:80"])).mark, Mark::Warning);
    assert_eq!(lookup(0.02, Ok(&[])).mark, Mark::Bad);
    let failed = lookup(0.02, Err("no such name\x1b[31m"));
    assert_eq!(failed.mark, Mark::Bad);
    assert!(
        failed.found.contains("no such name\\u{1b}"),
        "{}",
        failed.found
    );
}

#[test]
fn one_dead_address_of_several_is_a_warning_and_all_dead_are_bad() {
    let found = |outcomes: Vec<DialOutcome>| {
        let tried: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| TriedAddress {
                address: Some(at("10.0.0.1:80")),
                outcome,
            })
            .collect();
        connect("tcp://db.example:80", &tried).expect("something was tried")
    };
    let reached = |ms| DialOutcome::Reached(Duration::from_millis(ms));
    let refused = || {
        DialOutcome::Failed(String::from(
            "10.0.0.2:80: connection refused (nothing listens there)",
        ))
    };
    let no_route = || DialOutcome::NoRoute(String::from("[2001:db8::1]:80: network unreachable"));
    assert_eq!(found(vec![reached(1), reached(2)]).mark, Mark::Good);
    let partly = found(vec![reached(1), refused()]);
    assert_eq!(partly.mark, Mark::Warning);
    assert_eq!(
        partly.found,
        "1 of 2 addresses reached: 10.0.0.1:80 in 1 ms; 10.0.0.2:80: connection refused (nothing listens there)."
    );
    assert_eq!(found(vec![refused(), refused()]).mark, Mark::Bad);
    // A machine without IPv6.
    assert_eq!(found(vec![no_route(), reached(1)]).mark, Mark::Good);
    assert_eq!(found(vec![no_route()]).mark, Mark::Bad);
    // A SYN was lost.
    assert_eq!(found(vec![reached(1), reached(1_020)]).mark, Mark::Warning);
    assert_eq!(connect("tcp://db.example:80", &[]), None);
}

#[test]
fn small_packets_hint_at_a_tunnel() {
    let of = |mss: u32, mtu: u32, retransmits: u32| {
        let mut seen = TcpInfo::default();
        seen.send_mss = mss;
        seen.path_mtu = mtu;
        seen.retransmits = retransmits;
        seen.rtt = Duration::from_millis(12);
        path(&NetworkPath {
            address: at("10.0.0.1:80"),
            seen: Ok(seen),
        })
    };
    // Ethernet, PPPoE, loopback; then WireGuard, a peer behind one, and something that is set up
    // wrongly.
    for (mss, mtu, mark, is_tunnel) in [
        (1_448, 1_500, Mark::Good, false),
        (1_440, 1_492, Mark::Good, false),
        (65_483, 65_535, Mark::Good, false),
        (1_368, 1_420, Mark::Good, true),
        (1_368, 1_500, Mark::Good, true),
        (524, 576, Mark::Warning, true),
    ] {
        let finding = of(mss, mtu, 0);
        assert_eq!(
            (finding.mark, finding.found.contains("tunnel")),
            (mark, is_tunnel),
            "{mss}"
        );
    }
    assert_eq!(of(1_448, 1_500, 1).mark, Mark::Warning);
    let unknown = path(&NetworkPath {
        address: at("10.0.0.1:80"),
        seen: Err(String::from("netlink is refused")),
    });
    assert_eq!(unknown.mark, Mark::Unknown);
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_bad() {
    let ending = |ends: u64| {
        session(
            &Handshake {
                version: String::from("TLS 1.3"),
                cipher: String::from("TLS13_AES_128_GCM_SHA256"),
                key_exchange: None,
                alpn: Some(String::from("h2\x1b")),
                chain: 2,
                certificate: Ok(Certificate {
                    names: vec![String::from("db.example\u{202e}")],
                    issuer: String::from("CN=R11"),
                    ends_at: String::from("2033-05-18"),
                    ends: Duration::from_secs(ends),
                    is_ca: false,
                }),
                took: Duration::from_millis(3),
                second: Some(SecondHandshake {
                    resumed: true,
                    took: Duration::from_millis(2),
                }),
            },
            NOW,
        )
    };
    let marks = [
        NOW + 15 * DAY,
        NOW + 14 * DAY,
        NOW + 13 * DAY,
        NOW + 1,
        NOW,
        NOW - DAY,
    ]
    .map(|ends| ending(ends).mark);
    let (good, warning, bad) = (Mark::Good, Mark::Warning, Mark::Bad);
    assert_eq!(marks, [good, good, warning, warning, bad, bad]);
    assert_eq!(
        ending(NOW + 30 * DAY).found,
        "TLS 1.3, TLS13_AES_128_GCM_SHA256, ALPN h2\\u{1b}, handshake 3 ms, a second one 2 ms (resumed). Its certificate is for \
         db.example\\u{202e}, good for 30 days more, until 2033-05-18, issued by CN=R11; a chain of 2 certificates."
    );
}

#[test]
fn a_handshake_that_fails_is_bad_with_its_own_cure() {
    for (cure, flag) in [
        (Cure::Name, "--server-name"),
        (Cure::Trust, "--ca"),
        (Cure::Identity, "--cert"),
    ] {
        let finding = no_session(&HandshakeError {
            text: String::from("it failed"),
            cure,
        });
        assert_eq!(finding.mark, Mark::Bad);
        assert!(
            finding.advice.is_some_and(|advice| advice.contains(flag)),
            "{flag}"
        );
    }
}

#[tokio::test]
async fn a_port_without_a_listener_is_bad_and_says_why() {
    let refused = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let findings = check(&destination(&["--to", &refused.to_string()])).await;
    let finding = found("connect", &findings);
    assert_eq!(finding.mark, Mark::Bad);
    assert!(
        finding.found.contains("nothing listens there"),
        "{}",
        finding.found
    );
    assert!(findings.iter().all(|finding| finding.check != "path"));
}

#[tokio::test]
async fn a_name_is_resolved_and_its_listener_reached_measured_and_its_ports_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let findings = check(&destination(&["--to", &format!("localhost:{port}")])).await;
    assert_eq!(found("resolve", &findings).mark, Mark::Good);
    // ::1, if the name has it, is dead.
    let reached = found("connect", &findings);
    assert_ne!(reached.mark, Mark::Bad, "{reached:?}");
    for check in ["path", "ports-to"] {
        let finding = found(check, &findings);
        assert!(
            matches!(finding.mark, Mark::Good | Mark::Unknown),
            "{finding:?}"
        );
    }
}

#[tokio::test]
async fn a_unix_socket_is_only_connected_to() {
    let folder = Folder::new();
    let path = folder.0.join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let findings = check(&destination(&[
        "--to",
        &format!("unix://{}", path.display()),
    ]))
    .await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].check, findings[0].mark),
        ("connect", Mark::Good)
    );
    let missing = check(&destination(&[
        "--to",
        &format!("unix://{}/none", folder.0.display()),
    ]))
    .await;
    assert_eq!(missing[0].mark, Mark::Bad);
}

/// A folder of its own, removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default().replace(':', "-");
        let path = std::env::temp_dir().join(format!("millpond-doctor-{}-{name}", process::id()));
        fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whom a server lets in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Clients have to have a certificate of its authority.
    Guarded,
}

/// A TLS server with a certificate for this name that ends in this year; its address, and the file
/// with its authority.
async fn serve(
    folder: &Folder,
    name: &str,
    ends: i32,
    door: Door,
) -> (SocketAddr, String, JoinHandle<()>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([String::from(name)]).expect("a name");
    params.not_after = date_time_ymd(ends, 1, 2);
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let ca = folder.write("ca.pem", &authority.pem());
    let mut tls = ServerTls::builder().identity_files(
        folder.write("server.pem", &certificate.pem()),
        folder.write("server.key", &key.serialize_pem()),
    );
    if door == Door::Guarded {
        tls = tls.client_ca_file(&ca, ClientCertificates::Required);
    }
    let tls = tls.build().expect("an identity");
    let endpoint: Endpoint = "tls://127.0.0.1:0".parse().expect("an endpoint");
    let mut listener = Listener::bind(&endpoint, ListenOptions::default().tls(tls))
        .await
        .expect("a port");
    let Ok(Endpoint::Tls(bound)) = listener.endpoint() else {
        panic!("it listens by TLS")
    };
    let serving = tokio::spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            tokio::spawn(hold(accepted));
        }
    });
    let address = SocketAddr::from(([127, 0, 0, 1], bound.port));
    (address, ca, serving)
}

/// Until the peer has closed.
async fn hold(accepted: Accepted) {
    let stream: Result<Stream, _> = accepted.into_stream().await;
    if let Ok(mut stream) = stream {
        while stream
            .read(&mut [0; 64])
            .await
            .is_ok_and(|length| length > 0)
        {}
    }
}

#[tokio::test]
async fn a_tls_handshake_is_shown_with_the_certificate_and_resumed_the_second_time() {
    let folder = Folder::new();
    let (address, authority, serving) = serve(&folder, "127.0.0.1", 2099, Door::Open).await;
    let findings = check(&destination(&[
        "--to",
        &format!("tls://{address}"),
        "--ca",
        &authority,
    ]))
    .await;
    let finding = found("tls", &findings);
    assert_eq!(finding.mark, Mark::Good, "{finding:?}");
    assert!(
        finding.found.starts_with("TLS 1.3, TLS13_AES"),
        "{}",
        finding.found
    );
    assert!(
        finding.found.contains("is for 127.0.0.1, good for"),
        "{}",
        finding.found
    );
    assert!(
        finding.found.contains("until 2099-01-02"),
        "{}",
        finding.found
    );
    assert_eq!(finding.figures["resumed"], true);
    assert_eq!(found("connect", &findings).mark, Mark::Good);
    serving.abort();
}

#[tokio::test]
async fn a_certificate_for_another_name_or_past_its_end_is_bad() {
    for (name, ends, said) in [
        ("db.example", 2099, "isn't for"),
        ("127.0.0.1", 2020, "expired"),
    ] {
        let folder = Folder::new();
        let (address, authority, serving) = serve(&folder, name, ends, Door::Open).await;
        let findings = check(&destination(&[
            "--to",
            &format!("tls://{address}"),
            "--ca",
            &authority,
        ]))
        .await;
        let finding = found("tls", &findings);
        assert_eq!(finding.mark, Mark::Bad, "{finding:?}");
        assert!(finding.found.contains(said), "{}", finding.found);
        assert!(finding.advice.is_some());
        // The connection itself is all right.
        assert_eq!(found("connect", &findings).mark, Mark::Good);
        serving.abort();
    }
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_is_found_out_after_the_handshake() {
    let folder = Folder::new();
    let (address, authority, serving) = serve(&folder, "127.0.0.1", 2099, Door::Guarded).await;
    let to = format!("tls://{address}");
    let findings = check(&destination(&["--to", &to, "--ca", &authority])).await;
    let finding = found("tls", &findings);
    assert_eq!(finding.mark, Mark::Bad, "{finding:?}");
    let advice = finding.advice.as_deref().unwrap_or_default();
    assert!(advice.contains("--cert"), "{finding:?}");
    serving.abort();
}
