//! Raw routes over sockets: how a side breaks off, what a dead upstream costs, what is left behind.

use std::time::Duration;

use millpond::{
    connectors::{StreamConnector, Upstream},
    net::{Dialer, Endpoint, ListenOptions, Listener},
    proxy::RawRoute,
    server::{Running, ServerSettings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{endpoint, path};

async fn serve(route: &RawRoute) -> (String, Running) {
    let anywhere = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&anywhere, ListenOptions::default()).await;
    let running = route.serve(ServerSettings::default(), listener.expect("a port"));
    let running = running.expect("valid settings");
    let address = running.endpoint().to_string();
    (address.trim_start_matches("tcp://").to_owned(), running)
}

async fn upstream() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address.into())
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let (listener, endpoint) = upstream().await;
    let route = RawRoute::to(endpoint.into()).pool(|pool| pool.max_size(1));
    let route = route.build().expect("valid settings");
    let (address, _running) = serve(&route).await;
    for client_breaks in [false, true] {
        let mut client = TcpStream::connect(&address).await.expect("a route");
        let (mut accepted, _) = listener.accept().await.expect("a session");
        client.write_all(b"?").await.expect("open");
        accepted.read_exact(&mut [0]).await.expect("open");
        let (breaks, mut hears) = match client_breaks {
            true => (client, accepted),
            false => (accepted, client),
        };
        socket2::SockRef::from(&breaks)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket");
        drop(breaks);
        let heard = hears
            .read(&mut [0])
            .await
            .expect_err("no end in good order");
        assert_eq!(heard.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// Who takes a part must not take it for the whole: an upstream that says nothing itself and reads on
/// is told no end that its client hasn't told.
#[tokio::test]
async fn an_upload_that_is_cut_has_no_end() {
    let (listener, endpoint) = upstream().await;
    let route = RawRoute::to(endpoint.into()).pool(|pool| pool.max_size(1));
    let route = route.build().expect("valid settings");
    let (address, _running) = serve(&route).await;
    let mut client = TcpStream::connect(&address).await.expect("a route");
    let (mut accepted, _) = listener.accept().await.expect("a session");
    accepted.shutdown().await.expect("open");
    client.write_all(b"the first part").await.expect("open");
    accepted.read_exact(&mut [0; 14]).await.expect("open");
    let heard = accepted.read(&mut [0]).await;
    let heard = heard.expect_err("no end in good order");
    assert_eq!(heard.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(
        client.read(&mut [0]).await.expect("open"),
        0,
        "the upstream's end"
    );
}

#[tokio::test]
async fn a_client_that_is_lent_nothing_is_reset() {
    let nowhere = endpoint(&path());
    let route = RawRoute::to(nowhere.into()).pool(|pool| pool.outage_grace(Duration::ZERO));
    let route = route.build().expect("valid settings");
    let (address, _running) = serve(&route).await;
    let mut client = TcpStream::connect(&address).await.expect("a route");
    let heard = client
        .read(&mut [0])
        .await
        .expect_err("no end in good order");
    assert_eq!(heard.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(route.snapshot().totals.unavailable, 1);
}

#[tokio::test]
async fn a_dead_upstream_is_noticed_by_no_client() {
    let (listener, alive) = upstream().await;
    let dead = endpoint(&path());
    let among = [dead, alive].map(|endpoint| Upstream::new(Dialer::new(endpoint)));
    let route = RawRoute::to(StreamConnector::among(among)).pool(|pool| pool.max_size(4));
    let route = route.build().expect("valid settings");
    let (address, running) = serve(&route).await;
    let echoing = tokio::spawn(async move {
        let mut sessions = JoinSet::new();
        let (mut most, mut served) = (0, 0);
        while served < 200 {
            let (stream, _) = listener.accept().await.expect("a session");
            while sessions.try_join_next().is_some() {}
            sessions.spawn(async move {
                let (mut reads, mut writes) = stream.into_split();
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
            });
            most = most.max(sessions.len());
            served += 1;
        }
        sessions.join_all().await;
        most
    });
    let mut clients = JoinSet::new();
    for number in 0..200_u32 {
        let address = address.clone();
        clients.spawn(async move {
            let mut client = TcpStream::connect(address).await.expect("a route");
            let token = number.to_be_bytes();
            client.write_all(&token).await.expect("open");
            client.shutdown().await.expect("open");
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.expect("the end");
            assert_eq!(heard, token);
        });
    }
    clients.join_all().await;
    echoing.await.expect("two hundred sessions");
    // How soon it is ejected depends on when it is dialled.
    let upstreams = route.pool().connector().streams().upstreams();
    assert!(upstreams[0].failures > 0, "{upstreams:?}");
    let ended = running.drain(Duration::from_secs(10)).await;
    assert_eq!(ended.forced, 0);
    assert_eq!(route.snapshot().totals.ended, 200);
}
