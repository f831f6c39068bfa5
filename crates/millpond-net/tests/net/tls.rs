//! TLS handshakes over loopback: those that succeed, and every way to fail that has an error of its
//! own.

use std::{io, net::Ipv6Addr, sync::Arc, time::Duration};

use crate::loopback::certificates::{
    Authority, ClientStream, ServerStream, handshake, name, sockets, within,
};
use millpond_net::tls::{
    ClientCertificates, ClientConfig, ClientTls, ServerName, ServerTls, Side, TlsConfigError,
    TlsError, TlsVersion,
};
use rcgen::date_time_ymd;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, crypto::ring, version::TLS12};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

fn both<E>(
    outcome: (Result<ClientStream, E>, Result<ServerStream, E>),
) -> (ClientStream, ServerStream)
where
    E: std::fmt::Debug,
{
    (
        outcome.0.expect("the client's handshake"),
        outcome.1.expect("the server's handshake"),
    )
}

async fn exchange(client: &mut ClientStream, server: &mut ServerStream) {
    let mut read = [0; 4];
    within(async {
        client.write_all(b"ping").await.expect("a write");
        server.read_exact(&mut read).await.expect("a read");
        assert_eq!(&read, b"ping");
        server.write_all(b"pong").await.expect("a write");
        client.read_exact(&mut read).await.expect("a read");
        assert_eq!(&read, b"pong");
    })
    .await;
}

/// What the client's first read brings after its handshake.
async fn first_read(client: &mut ClientStream) -> TlsError {
    let error = within(client.read(&mut [0; 64]))
        .await
        .expect_err("refused");
    TlsError::of_stream(&error, Side::Client).expect("it is TLS's doing")
}

#[tokio::test]
async fn names_and_addresses_are_checked_and_the_latest_version_is_spoken() {
    let ca = Authority::new("ca");
    let server = ca
        .issue(&["backend.example", "127.0.0.1", "::1"])
        .server()
        .build()
        .expect("settings");
    let client = ca.client().build().expect("settings");
    for host in ["backend.example", "BACKEND.example", "127.0.0.1", "::1"] {
        let (mut client, mut server) = both(within(handshake(&client, host, &server)).await);
        let version = client.get_ref().1.protocol_version();
        assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
        exchange(&mut client, &mut server).await;
    }
    assert_eq!(
        name("::1"),
        ServerName::from(std::net::IpAddr::from(Ipv6Addr::LOCALHOST))
    );
}

#[tokio::test]
async fn another_name_than_the_hosts_can_be_checked_and_is_told_to_the_server() {
    let ca = Authority::new("ca");
    let server = ca
        .issue(&["backend.example"])
        .server()
        .build()
        .expect("settings");
    let client = ca
        .client()
        .server_name("backend.example")
        .build()
        .expect("settings");
    let (_, server) = both(within(handshake(&client, "127.0.0.1", &server)).await);
    assert_eq!(server.get_ref().1.server_name(), Some("backend.example"));
}

/// Configurations of rustls, made without this crate, that trust this authority and show this
/// certificate; with ALPN, by which they are known.
fn configurations(ca: &Authority, names: &[&str]) -> (ClientTls, ServerTls) {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in ca.certificates() {
        roots.add(certificate).expect("an authority");
    }
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"own".to_vec()];
    let issued = ca.issue(names);
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(issued.certificates(), issued.key())
        .expect("an identity");
    server.alpn_protocols = vec![b"own".to_vec()];
    (
        ClientTls::from_config(Arc::new(client)),
        ServerTls::from_config(Arc::new(server)),
    )
}

#[tokio::test]
async fn configurations_of_rustls_are_taken_as_they_are() {
    let (client, server) = configurations(&Authority::new("ca"), &["localhost"]);
    client.reload().expect("nothing to read");
    server.reload().expect("nothing to read");
    let (mut client, mut server) = both(within(handshake(&client, "localhost", &server)).await);
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"own"[..]));
    exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn failures_under_configurations_of_rustls_are_explained_too() {
    let (client, server) = configurations(&Authority::new("ca"), &["a.example"]);
    let (ended, _) = within(handshake(&client, "b.example", &server)).await;
    let error = ended.expect_err("another name");
    assert!(matches!(error, TlsError::WrongName { .. }), "{error}");

    let (_, stranger) = configurations(&Authority::new("another"), &["a.example"]);
    let (ended, _) = within(handshake(&client, "a.example", &stranger)).await;
    let error = ended.expect_err("nobody vouches for it");
    let explained = matches!(
        error,
        TlsError::UnknownIssuer {
            side: Side::Client,
            ..
        }
    );
    assert!(explained, "{error}");
}

#[tokio::test]
async fn the_older_version_is_accepted_unless_the_newer_is_demanded() {
    let ca = Authority::new("ca");
    let issued = ca.issue(&["localhost"]);
    let old = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS12])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(issued.certificates(), issued.key())
        .expect("an identity");
    let old = TlsAcceptor::from(Arc::new(old));

    let (connected, accepted) = sockets().await;
    let client = ca.client().build().expect("settings");
    let (client, _) = within(async {
        tokio::join!(
            client.connect(name("localhost"), connected),
            old.accept(accepted)
        )
    })
    .await;
    let version = client.expect("a handshake").get_ref().1.protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_2));

    let (connected, accepted) = sockets().await;
    let client = ca
        .client()
        .min_version(TlsVersion::Tls13)
        .build()
        .expect("settings");
    let (client, _) = within(async {
        tokio::join!(
            client.connect(name("localhost"), connected),
            old.accept(accepted)
        )
    })
    .await;
    let error = client.expect_err("nothing in common");
    assert!(matches!(error, TlsError::NothingInCommon { .. }), "{error}");

    let server = issued
        .server()
        .min_version(TlsVersion::Tls13)
        .build()
        .expect("settings");
    let (client, _) = both(
        within(handshake(
            &ca.client().build().expect("settings"),
            "localhost",
            &server,
        ))
        .await,
    );
    assert_eq!(
        client.get_ref().1.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_told_with_how_far() {
    let ca = Authority::new("ca");
    let client = ca.client().build().expect("settings");
    let expired = ca.issue_with(&["localhost"], |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    let early = ca.issue_with(&["localhost"], |params| {
        params.not_before = date_time_ymd(4000, 1, 1)
    });

    let server = expired.server().build().expect("settings");
    let (client_end, server_end) = within(handshake(&client, "localhost", &server)).await;
    let error = client_end.expect_err("expired");
    let year = Duration::from_secs(365 * 86_400);
    assert!(
        matches!(&error, TlsError::CertificateExpired { ago: Some(ago), .. } if *ago > 5 * year),
        "{error}"
    );
    let error = server_end.expect_err("refused");
    assert!(
        matches!(error, TlsError::OwnCertificateRefused { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("expired"), "{error}");

    let server = early.server().build().expect("settings");
    let (client_end, _) = within(handshake(&client, "localhost", &server)).await;
    let error = client_end.expect_err("too early");
    assert!(
        matches!(&error, TlsError::CertificateNotYetValid { starts_in: Some(time), .. } if *time > 1_000 * year),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_for_other_names_is_told_with_those() {
    let ca = Authority::new("ca");
    let server = ca
        .issue(&["a.example", "127.0.0.9"])
        .server()
        .build()
        .expect("settings");
    let client = ca.client().build().expect("settings");
    for host in ["b.example", "127.0.0.1"] {
        let (client_end, _) = within(handshake(&client, host, &server)).await;
        match client_end.expect_err("another name") {
            TlsError::WrongName {
                expected,
                presented,
                ..
            } => {
                assert_eq!(expected, host);
                assert_eq!(presented, ["a.example", "127.0.0.9"]);
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_asks_for_the_authoritys() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = ca.issue(&["localhost"]).server().build().expect("settings");
    let client = other.client().build().expect("settings");
    let (client_end, server_end) = within(handshake(&client, "localhost", &server)).await;
    let error = client_end.expect_err("unknown");
    assert!(matches!(error, TlsError::UnknownIssuer { .. }), "{error}");
    let error = server_end.expect_err("refused");
    assert!(
        error.to_string().contains("doesn't trust the CA"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_certificate_that_is_required_is_demanded_checked_and_seen() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = ca
        .issue(&["localhost"])
        .server()
        .client_ca_certificates(ca.certificates(), ClientCertificates::Required)
        .build()
        .expect("settings");

    let absent = ca.client().build().expect("settings");
    let (client_end, server_end) = within(handshake(&absent, "localhost", &server)).await;
    let error = server_end.expect_err("no certificate");
    assert!(
        matches!(error, TlsError::CertificateMissing { .. }),
        "{error}"
    );
    let error = first_read(&mut client_end.expect("a handshake that has ended here")).await;
    assert!(
        matches!(error, TlsError::CertificateRequired { .. }),
        "{error}"
    );

    let foreign = other.issue(&["client"]);
    let foreign = ca
        .client()
        .identity(foreign.certificates(), foreign.key())
        .build()
        .expect("settings");
    let (client_end, server_end) = within(handshake(&foreign, "localhost", &server)).await;
    let error = server_end.expect_err("another authority");
    assert!(
        matches!(
            error,
            TlsError::UnknownIssuer {
                side: Side::Server,
                ..
            }
        ),
        "{error}"
    );
    let error = first_read(&mut client_end.expect("a handshake that has ended here")).await;
    assert!(
        matches!(error, TlsError::OwnCertificateRefused { .. }),
        "{error}"
    );

    let own = ca.issue(&["client"]);
    let known = ca
        .client()
        .identity(own.certificates(), own.key())
        .build()
        .expect("settings");
    let (mut client, mut server) = both(within(handshake(&known, "localhost", &server)).await);
    exchange(&mut client, &mut server).await;
    assert_eq!(
        server.get_ref().1.peer_certificates(),
        Some(&own.certificates()[..])
    );
}

#[tokio::test]
async fn a_client_certificate_that_is_optional_may_be_missing_but_not_foreign() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = ca
        .issue(&["localhost"])
        .server()
        .client_ca_certificates(ca.certificates(), ClientCertificates::Optional)
        .build()
        .expect("settings");
    let absent = ca.client().build().expect("settings");
    let (mut client, mut end) = both(within(handshake(&absent, "localhost", &server)).await);
    exchange(&mut client, &mut end).await;

    let foreign = other.issue(&["client"]);
    let foreign = ca
        .client()
        .identity(foreign.certificates(), foreign.key())
        .build()
        .expect("settings");
    let (_, server_end) = within(handshake(&foreign, "localhost", &server)).await;
    assert!(matches!(server_end, Err(TlsError::UnknownIssuer { .. })));
}

#[tokio::test]
async fn protocols_are_agreed_on_or_refused_by_both() {
    let ca = Authority::new("ca");
    let server = ca
        .issue(&["localhost"])
        .server()
        .alpn(["two", "one"])
        .build()
        .expect("settings");
    let client = ca.client().alpn(["one", "two"]).build().expect("settings");
    let (client, _) = both(within(handshake(&client, "localhost", &server)).await);
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"two"[..]));

    let client = ca.client().alpn([b"three"]).build().expect("settings");
    let (client_end, server_end) = within(handshake(&client, "localhost", &server)).await;
    assert!(matches!(client_end, Err(TlsError::NoCommonProtocol { .. })));
    assert!(matches!(server_end, Err(TlsError::NoCommonProtocol { .. })));
}

#[tokio::test]
async fn a_plain_server_is_recognised_by_its_greeting_and_by_its_hanging_up() {
    let client = Authority::new("ca").client().build().expect("settings");
    for greeting in [
        "220 hello\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "J\0\0\0\n8.0.36\0........",
    ] {
        let (connected, mut accepted) = sockets().await;
        accepted
            .write_all(greeting.as_bytes())
            .await
            .expect("a write");
        let error = within(client.connect(name("localhost"), connected))
            .await
            .expect_err("not TLS");
        assert!(
            matches!(
                error,
                TlsError::NotTls {
                    side: Side::Client,
                    ..
                }
            ),
            "{greeting:?}: {error}"
        );
    }
    // Closed with the client's hello read: an end. Closed without: a reset.
    for read_first in [true, false] {
        let (connected, mut accepted) = sockets().await;
        let hang_up = async move {
            match read_first {
                true => drop(accepted.read(&mut [0; 16_384]).await.expect("a hello")),
                false => accepted.readable().await.expect("a hello"),
            }
        };
        let (outcome, ()) =
            within(async { tokio::join!(client.connect(name("localhost"), connected), hang_up) })
                .await;
        let error = outcome.expect_err("closed");
        assert!(
            matches!(error, TlsError::ClosedDuringHandshake { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("speaks no TLS"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_by_dropping_the_handshake() {
    let client = Authority::new("ca").client().build().expect("settings");
    let (connected, mut accepted) = sockets().await;
    let attempt = client.connect(name("localhost"), connected);
    tokio::time::timeout(Duration::from_secs(1), attempt)
        .await
        .expect_err("silence");
    let mut seen = Vec::new();
    accepted
        .read_to_end(&mut seen)
        .await
        .expect("a hello and an end");
    assert_eq!(seen.first(), Some(&22), "a handshake record");
}

#[tokio::test]
async fn a_plain_client_is_told_from_one_that_only_looked() {
    let server = Authority::new("ca")
        .issue(&["localhost"])
        .server()
        .build()
        .expect("settings");
    for sent in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "hello\r\n",
        "*1\r\n$4\r\nPING\r\n",
    ] {
        let (mut connected, accepted) = sockets().await;
        connected.write_all(sent.as_bytes()).await.expect("a write");
        let error = within(server.accept(accepted)).await.expect_err("not TLS");
        assert!(
            matches!(
                error,
                TlsError::NotTls {
                    side: Side::Server,
                    ..
                }
            ),
            "{sent:?}: {error}"
        );
    }
    let (connected, accepted) = sockets().await;
    drop(connected);
    let error = within(server.accept(accepted)).await.expect_err("closed");
    assert!(
        matches!(
            error,
            TlsError::ClosedDuringHandshake {
                side: Side::Server,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_end_without_a_goodbye_is_a_truncation() {
    let ca = Authority::new("ca");
    let server = ca.issue(&["localhost"]).server().build().expect("settings");
    let client = ca.client().build().expect("settings");
    let (mut client_end, mut server_end) =
        both(within(handshake(&client, "localhost", &server)).await);
    exchange(&mut client_end, &mut server_end).await;
    drop(server_end);
    let error = first_read(&mut client_end).await;
    assert!(matches!(error, TlsError::Truncated), "{error}");

    let (mut client_end, mut server_end) =
        both(within(handshake(&client, "localhost", &server)).await);
    exchange(&mut client_end, &mut server_end).await;
    server_end.shutdown().await.expect("a goodbye");
    assert_eq!(
        within(client_end.read(&mut [0; 8]))
            .await
            .expect("a goodbye"),
        0
    );
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert!(TlsError::of_stream(&reset, Side::Client).is_none());
}

#[test]
fn settings_that_cannot_work_are_refused_where_they_are_made() {
    let ca = Authority::new("ca");
    let (own, other) = (ca.issue(&["a"]), ca.issue(&["b"]));
    let error = own
        .server()
        .identity(own.certificates(), other.key())
        .build()
        .expect_err("mismatch");
    assert!(
        matches!(error, TlsConfigError::KeyMismatch { .. }),
        "{error}"
    );
    let error = ca
        .client()
        .identity(own.certificates(), other.key())
        .build()
        .expect_err("mismatch");
    assert!(
        matches!(error, TlsConfigError::KeyMismatch { .. }),
        "{error}"
    );
    let garbage = vec![vec![1, 2, 3].into()];
    let error = own
        .server()
        .identity(garbage.clone(), own.key())
        .build()
        .expect_err("garbage");
    assert!(
        matches!(error, TlsConfigError::UnusableCertificate { .. }),
        "{error}"
    );
    let error = own
        .server()
        .identity(vec![], own.key())
        .build()
        .expect_err("nothing");
    assert!(
        matches!(error, TlsConfigError::UnusableCertificate { .. }),
        "{error}"
    );
    let error = ClientTls::builder()
        .ca_certificates(garbage)
        .build()
        .expect_err("garbage");
    assert!(
        matches!(error, TlsConfigError::NoUsableRoot { ignored: 1, .. }),
        "{error}"
    );
    let error = millpond_net::tls::ServerTls::builder()
        .build()
        .expect_err("nobody");
    assert!(matches!(error, TlsConfigError::NoIdentity), "{error}");
    let error = ca
        .client()
        .server_name("a.example:443")
        .build()
        .expect_err("a port");
    assert!(error.to_string().contains("without a port"), "{error}");
    for name in [String::new(), "x".repeat(256)] {
        let error = ca.client().alpn([name]).build().expect_err("a length");
        assert!(
            matches!(error, TlsConfigError::ProtocolName { .. }),
            "{error}"
        );
    }
}
