//! Dialling and listening, with real sockets on loopback and in temporary folders.

use std::{
    error::Error,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use crate::loopback::*;
use millpond_net::{
    ConnectError, ConnectFailure, DialPhase, Dialer, Endpoint, IdleState, ListenFailure,
    ListenOptions, Listener, PhaseLimits, TcpOptions,
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("an endpoint")
}

fn unix(path: &Path) -> Endpoint {
    Endpoint::Unix(path.to_owned())
}

async fn listen_on(path: &Path) -> Result<Listener, ListenFailure> {
    let bound = Listener::bind(&unix(path), ListenOptions::default()).await;
    bound.map_err(|error| error.cause)
}

async fn refused_dial(dialer: &Dialer) -> ConnectError {
    within(dialer.dial())
        .await
        .expect_err("it can't be reached")
}

/// The system's error in there.
fn system_error(error: &ConnectError) -> &io::Error {
    let source = error.source().expect("a source");
    source.downcast_ref().expect("the system's")
}

#[tokio::test]
async fn every_transport_dials_listens_and_exchanges() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let dialer = site.dialer();
        let (dialled, mut server) = tokio::join!(within(dialer.dial()), site.accept());
        let mut dialled = dialled.expect("it is reached");
        exchange(&mut dialled.stream, &mut server).await;
        assert_eq!(dialled.timings.sockets, 1, "{over:?}");
        assert_eq!(dialled.timings.resolve, None, "{over:?}");
        let encrypted = site.endpoint.to_string().starts_with("tls:");
        assert_eq!(dialled.timings.tls.is_some(), encrypted, "{over:?}");
        assert_eq!(
            dialled.stream.local_addr(),
            server.peer_addr(),
            "two ends of one connection"
        );
        assert_eq!(dialled.stream.check_idle(), IdleState::Quiet, "{over:?}");
        server.close();
        reactor_has_seen().await;
        assert_eq!(dialled.stream.check_idle(), IdleState::Closed, "{over:?}");
    }
}

#[tokio::test]
async fn a_name_is_dialled_as_the_system_resolves_it() {
    let mut site = Site::open(Over::Tcp).await;
    let dialer = Dialer::new(endpoint(&format!(
        "tcp://localhost:{}",
        site.address().port()
    )));
    let (dialled, _server) = tokio::join!(within(dialer.dial()), site.accept());
    let dialled = dialled.expect("localhost is here");
    assert!(dialled.timings.resolve.is_some());
    assert_eq!(dialled.stream.peer_addr(), Some(site.address()));
    assert!(dialer.is_current(&site.address()));
}

#[tokio::test]
async fn phases_are_told_in_their_order() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let dialer = site.dialer();
        let told = std::sync::Mutex::new(Vec::new());
        let dial = dialer.dial_reporting(|phase| told.lock().unwrap().push(phase));
        let (dialled, _server) = tokio::join!(within(dial), site.accept());
        dialled.expect("it is reached");
        let mut expected = vec![DialPhase::Connect];
        if site.endpoint.to_string().starts_with("tls:") {
            expected.push(DialPhase::Tls);
        }
        assert_eq!(told.into_inner().unwrap(), expected, "{over:?}");
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_refused_with_its_address() {
    let nobody = Refusing::new();
    let error = refused_dial(&Dialer::new(nobody.address().into())).await;
    assert_eq!(
        system_error(&error).kind(),
        io::ErrorKind::ConnectionRefused
    );
    let said = error.to_string();
    assert!(said.contains(&nobody.address().to_string()), "{said}");
    let explains = said.contains("nothing listens there");
    assert_eq!(explains, cfg!(feature = "kernel"), "{said}");
}

#[tokio::test]
async fn port_0_is_an_error_of_its_own() {
    for text in ["tcp://127.0.0.1:0", "tcp://localhost:0"] {
        let error = refused_dial(&Dialer::new(endpoint(text))).await;
        assert!(matches!(error.cause, ConnectFailure::PortZero), "{error}");
    }
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_or_is_none_or_has_no_listener_is_told_apart() {
    let folder = Folder::new();
    let missing = refused_dial(&Dialer::new(unix(&folder.path("missing")))).await;
    assert_eq!(system_error(&missing).kind(), io::ErrorKind::NotFound);
    let explains = missing.to_string().contains("there is no such socket file");
    assert_eq!(explains, cfg!(feature = "kernel"), "{missing}");

    fs::write(folder.path("file"), "text").expect("a file");
    let file = refused_dial(&Dialer::new(unix(&folder.path("file")))).await;
    assert_eq!(system_error(&file).kind(), io::ErrorKind::ConnectionRefused);

    let abandoned = folder.path("abandoned");
    drop(std::os::unix::net::UnixListener::bind(&abandoned).expect("it listens"));
    let error = refused_dial(&Dialer::new(unix(&abandoned))).await;
    let explains = error.to_string().contains("nobody listens on it");
    assert_eq!(explains, cfg!(feature = "kernel"), "{error}");
}

#[tokio::test]
async fn a_socket_that_connects_to_itself_is_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let itself = listener.local_addr().expect("bound");
    drop(listener);
    let dialer = Dialer::new(itself.into()).tcp_options(TcpOptions {
        bind: Some(itself),
        ..TcpOptions::default()
    });
    let error = refused_dial(&dialer).await;
    let said = millpond_words::Chain(&error).to_string();
    assert!(said.contains("connected to itself"), "{said}");
    assert_eq!(
        system_error(&error).kind(),
        io::ErrorKind::ConnectionRefused,
        "for a pool nothing listens there"
    );
}

#[tokio::test]
async fn a_socket_is_bound_where_it_was_told_to() {
    let mut site = Site::open(Over::Tcp).await;
    let from = SocketAddr::from(([127, 0, 0, 1], 0));
    let dialer = site.dialer().tcp_options(TcpOptions {
        bind: Some(from),
        ..TcpOptions::default()
    });
    let (dialled, _server) = tokio::join!(within(dialer.dial()), site.accept());
    let local = dialled.expect("it is reached").stream.local_addr();
    assert_eq!(local.map(|local| local.ip()), Some(from.ip()));
}

#[tokio::test]
async fn a_local_address_that_is_not_ours_is_told_as_such() {
    let site = Site::open(Over::Tcp).await;
    let dialer = site.dialer().tcp_options(TcpOptions {
        // Reserved for documentation (RFC 5737).
        bind: Some(([192, 0, 2, 1], 0).into()),
        ..TcpOptions::default()
    });
    let error = refused_dial(&dialer).await;
    let explains = error.to_string().contains("not an address of this machine");
    assert_eq!(explains, cfg!(feature = "kernel"), "{error}");
}

#[tokio::test]
async fn a_swallowed_connection_is_told_with_its_address_and_the_time() {
    let swallowing = Swallowing::new();
    let dialer = Dialer::new(swallowing.address().into()).limits(PhaseLimits {
        connect: 100 * MS,
        ..PhaseLimits::default()
    });
    let error = refused_dial(&dialer).await;
    let ConnectFailure::Unreachable { attempts, .. } = &error.cause else {
        panic!("{error}");
    };
    assert_eq!(attempts[0].address, Some(swallowing.address()));
    assert_eq!(attempts[0].error.kind(), io::ErrorKind::TimedOut);
    assert!(
        millpond_words::Chain(&error)
            .to_string()
            .contains("no answer within"),
        "{error}"
    );
}

/// A Unix listener with room for two connections that nobody accepts.
fn narrow(path: &Path) -> std::os::unix::net::UnixListener {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SockAddr::unix(path).expect("a path"))
        .expect("bound");
    socket.listen(1).expect("it listens");
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true).expect("a socket");
    listener
}

/// Connects until the backlog is full.
fn fill(path: &Path) -> Vec<Socket> {
    let mut fillers = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        match socket.connect(&SockAddr::unix(path).expect("a path")) {
            Ok(()) => fillers.push(socket),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return fillers,
            Err(error) => panic!("{error}"),
        }
        assert!(fillers.len() < 64, "this backlog is never full");
    }
}

#[tokio::test]
async fn a_full_unix_backlog_is_waited_out() {
    let folder = Folder::new();
    let path = folder.path("narrow");
    let listener = narrow(&path);
    let fillers = fill(&path);
    let dialer = Dialer::new(unix(&path)).limits(PhaseLimits {
        connect: PATIENCE,
        ..PhaseLimits::default()
    });
    let tries = async {
        let mut dial = std::pin::pin!(dialer.dial());
        // It has been turned away when it waits for the first time.
        let turned_away = std::future::poll_fn(|cx| {
            assert!(dial.as_mut().poll(cx).is_pending(), "the backlog is full");
            std::task::Poll::Ready(())
        });
        turned_away.await;
        for _ in &fillers {
            listener.accept().expect("a filler");
        }
        within(dial).await
    };
    let dialled = tries.await.expect("the backlog has drained");
    assert!(dialled.timings.sockets > 1, "it was turned away once");
    listener.accept().expect("the dialled one");
}

#[tokio::test]
async fn several_dials_that_overfill_a_unix_backlog_all_succeed_while_it_drains() {
    let folder = Folder::new();
    let path = folder.path("narrow");
    let listener = narrow(&path);
    let dialer = std::sync::Arc::new(Dialer::new(unix(&path)).limits(PhaseLimits {
        connect: PATIENCE,
        ..PhaseLimits::default()
    }));
    let mut dials = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let dialer = std::sync::Arc::clone(&dialer);
        dials.spawn(async move { dialer.dial().await.expect("there is room at last").stream });
    }
    let mut accepted = Vec::new();
    eventually("twenty accepted", || {
        // One at a time.
        accepted.extend(listener.accept().ok());
        accepted.len() == 20
    })
    .await;
    let streams = within(dials.join_all()).await;
    assert_eq!(streams.len(), 20);
}

#[tokio::test]
async fn a_unix_backlog_that_stays_full_is_named() {
    let folder = Folder::new();
    let path = folder.path("narrow");
    let _listener = narrow(&path);
    let _fillers = fill(&path);
    let dialer = Dialer::new(unix(&path)).limits(PhaseLimits {
        connect: 50 * MS,
        ..PhaseLimits::default()
    });
    let error = refused_dial(&dialer).await;
    let explains = error.to_string().contains("backlog is full");
    assert_eq!(explains, cfg!(feature = "kernel"), "{error}");
    assert_eq!(system_error(&error).kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_listeners_file_is_this_users_alone_unless_told_otherwise() {
    let folder = Folder::new();
    let mode = |name: &str| {
        let metadata = fs::symlink_metadata(folder.path(name)).expect("a file");
        assert!(metadata.file_type().is_socket());
        metadata.permissions().mode() & 0o777
    };
    let _private = listen_on(&folder.path("private"))
        .await
        .expect("it listens");
    assert_eq!(mode("private"), 0o600);
    let mut options = ListenOptions::default();
    options = options.unix_mode(0o660);
    let shared = Listener::bind(&unix(&folder.path("shared")), options).await;
    shared.expect("it listens");
    let mut options = ListenOptions::default();
    options = options.unix_mode(0o666);
    let _public = Listener::bind(&unix(&folder.path("public")), options)
        .await
        .expect("it listens");
    assert_eq!(mode("public"), 0o666, "whatever the umask is");
}

#[tokio::test]
async fn an_abandoned_socket_file_is_replaced_and_a_live_one_is_not() {
    let folder = Folder::new();
    let path = folder.path("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("it listens"));
    assert!(path.exists(), "its server was killed");
    let mut listener = listen_on(&path).await.expect("nobody is there any more");
    let dialer = Dialer::new(unix(&path));
    within(dialer.dial()).await.expect("somebody is there now");
    within(listener.accept()).await.expect("a client");

    let second = listen_on(&path).await.expect_err("it is in use");
    assert!(
        matches!(&second, ListenFailure::Socket(error) if error.kind() == io::ErrorKind::AddrInUse),
        "{second}"
    );
    within(dialer.dial())
        .await
        .expect("the first still listens");
    within(listener.accept()).await.expect("a client");
}

#[tokio::test]
async fn a_live_socket_with_a_full_backlog_is_not_taken_over() {
    let folder = Folder::new();
    let path = folder.path("busy");
    let listener = narrow(&path);
    let _fillers = fill(&path);
    listen_on(&path).await.expect_err("it is in use");
    listener.accept().expect("it is still there");
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let path = folder.path("precious");
    fs::write(&path, "text").expect("a file");
    let error = listen_on(&path).await.expect_err("there is a file");
    assert!(matches!(error, ListenFailure::NotASocket), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "text");
    let error = listen_on(&folder.path("no/such/folder"))
        .await
        .expect_err("no folder");
    assert!(
        error.to_string().contains("the folder doesn't exist"),
        "{error}"
    );
}

#[tokio::test]
async fn a_listeners_file_goes_with_it_unless_another_has_taken_the_path() {
    let folder = Folder::new();
    let path = folder.path("socket");
    drop(listen_on(&path).await.expect("it listens"));
    assert!(!path.exists());

    let first = listen_on(&path).await.expect("it listens");
    fs::rename(&path, folder.path("aside")).expect("renamed");
    let mut second = listen_on(&path).await.expect("the path is free");
    drop(first);
    assert!(path.exists(), "it is the second's");
    within(Dialer::new(unix(&path)).dial())
        .await
        .expect("it listens");
    within(second.accept()).await.expect("a client");
}

#[tokio::test]
async fn a_listener_says_which_port_it_was_given_and_that_one_is_taken() {
    let listener = Listener::bind(&endpoint("tcp://127.0.0.1:0"), ListenOptions::default()).await;
    let at = listener
        .as_ref()
        .expect("it listens")
        .endpoint()
        .expect("an endpoint");
    assert!(!at.to_string().ends_with(":0"), "{at}");
    let error = Listener::bind(&at, ListenOptions::default()).await;
    let error = error.expect_err("it is taken");
    assert!(
        millpond_words::Chain(&error)
            .to_string()
            .contains("somebody listens there already"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_that_has_reset_its_connection_before_it_is_accepted_harms_nobody() {
    let mut site = Site::open(Over::Tcp).await;
    let dialer = site.dialer();
    let gone = within(dialer.dial()).await.expect("it is reached");
    reset(gone.stream);
    let mut live = within(dialer.dial()).await.expect("it is reached").stream;
    let mut first = site.accept().await;
    let mut second = site.accept().await;
    assert!(within(first.read(&mut [0])).await.is_err(), "it was reset");
    exchange(&mut live, &mut second).await;
}

#[tokio::test]
async fn a_look_tells_bytes_an_end_and_a_reset_apart() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let dialer = site.dialer();
        let (dialled, mut server) = tokio::join!(within(dialer.dial()), site.accept());
        let mut client = dialled.expect("it is reached").stream;
        server.write_all(b"stray").await.expect("a write");
        server.flush().await.expect("a write");
        let seen = within(std::future::poll_fn(|cx| client.poll_idle(cx))).await;
        assert_eq!(seen, IdleState::Bytes, "{over:?}");
        if over == Over::Unix {
            continue; // It knows no reset.
        }
        let (dialled, server) = tokio::join!(within(dialer.dial()), site.accept());
        let mut client = dialled.expect("it is reached").stream;
        reset(server);
        let seen = within(std::future::poll_fn(|cx| client.poll_idle(cx))).await;
        assert_eq!(seen, IdleState::Broken, "{over:?}");
    }
}

#[cfg(feature = "tls")]
mod encrypted {
    use super::*;
    use millpond_net::tls::TlsError;

    #[tokio::test]
    async fn a_stalled_handshake_times_out_in_its_phase() {
        let site = Site::open(Over::Tls).await;
        let dialer = site.dialer().limits(PhaseLimits {
            tls: 100 * MS,
            ..PhaseLimits::default()
        });
        // Nobody accepts: the kernel does, and then there is silence.
        let error = refused_dial(&dialer).await;
        assert!(
            matches!(
                error.cause,
                ConnectFailure::TimedOut {
                    phase: DialPhase::Tls,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error.to_string().contains("in the TLS handshake"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_wrong_name_and_an_unknown_authority_are_typed_errors() {
        let mut site = Site::open(Over::Tls).await;
        let book = Book::lists(&[site.address()]);
        let port = site.address().port();
        let wrong = site
            .dialer_to(endpoint(&format!("tls://elsewhere.test:{port}")))
            .resolver(book.clone());
        let accept = async |site: &mut Site| {
            let accepted = within(site.listener.accept()).await.expect("a client");
            within(accepted.into_stream()).await
        };
        let (error, _) = tokio::join!(refused_dial(&wrong), accept(&mut site));
        assert!(
            matches!(&error.cause, ConnectFailure::Tls { error, .. } if matches!(**error, TlsError::WrongName { .. })),
            "{error}"
        );

        let stranger = certificates::Authority::new("stranger").client();
        let unknown = Dialer::new(site.endpoint.clone()).tls(stranger.build().expect("settings"));
        let (error, _) = tokio::join!(refused_dial(&unknown), accept(&mut site));
        assert!(
            matches!(&error.cause, ConnectFailure::Tls { error, .. } if matches!(**error, TlsError::UnknownIssuer { .. })),
            "{error}"
        );

        let right = site
            .dialer_to(endpoint(&format!("tls://backend.test:{port}")))
            .resolver(book);
        let (dialled, _) = tokio::join!(within(right.dial()), accept(&mut site));
        dialled.expect("that is its name");
    }

    #[tokio::test]
    async fn tls_endpoints_can_not_be_listened_on_without_a_certificate() {
        let bound = Listener::bind(&endpoint("tls://127.0.0.1:0"), ListenOptions::default()).await;
        let error = bound.expect_err("there is no certificate");
        assert!(
            matches!(error.cause, ListenFailure::NoTlsSettings),
            "{error}"
        );
    }
}
