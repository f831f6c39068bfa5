//! Upstreams that aren't there, that die, that take too long, and that speak something else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use millpond::{
    client::{Client, Pipelining},
    connectors::StreamConnector,
    proxy::Route,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixListener,
    task::JoinSet,
};

use crate::{Plain, endpoint, path, serve, store::Store};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// What an upstream does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Reads it, and closes.
    Dies,
    /// Reads it, and sends the beginning of a reply.
    DiesInItsReply,
    /// Reads it, and does nothing.
    Hangs,
    /// Answers with something else.
    Rambles,
}

async fn upstream(does: Does) -> (std::path::PathBuf, Arc<AtomicUsize>) {
    let path = path();
    let listener = UnixListener::bind(&path).expect("a socket");
    let requests = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut hanging = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 21];
            if stream.read_exact(&mut request).await.is_err() {
                continue;
            }
            counting.fetch_add(1, Relaxed);
            let reply: &[u8] = match does {
                Does::Dies => b"",
                Does::DiesInItsReply => b"length:0000000000005[1",
                Does::Hangs => {
                    hanging.push(stream);
                    continue;
                }
                Does::Rambles => b"HTTP/1.1 400 Bad Request\r\n\r\n",
            };
            stream.write_all(reply).await.expect("it is read");
        }
    });
    (path, requests)
}

async fn through(
    path: &std::path::Path,
    pipelined: bool,
    (deadline, outage_grace): (Duration, Duration),
) -> (Route, Plain, millpond::server::Running) {
    let builder = Client::builder(endpoint(path))
        .deadline(deadline)
        .pool(move |pool| pool.outage_grace(outage_grace));
    let client = match pipelined {
        true => builder.pipelined(Pipelining::default()),
        false => builder,
    };
    let route = Route::to(client.build().expect("a client"));
    let (path, running) = serve(&route).await;
    let client = Plain::connect(&path).await;
    (route, client, running)
}

/// What clients may not be told.
fn names_nothing(told: &str, path: &std::path::Path) {
    let file = path.file_name().expect("a name").to_string_lossy();
    assert!(!told.contains(&*file) && !told.contains("unix"), "{told}");
}

#[tokio::test]
async fn a_request_whose_reply_does_not_come_is_told_and_never_sent_again() {
    for (does, words) in [
        (Does::Dies, "was lost before the reply came"),
        (Does::DiesInItsReply, "was lost before the reply came"),
        (Does::Hangs, "has not answered in time"),
        (Does::Rambles, "no reply to this request"),
    ] {
        for pipelined in [false, true] {
            let limits = match does {
                Does::Hangs => (Duration::from_millis(100), LONG),
                _ => (LONG, LONG),
            };
            let (path, requests) = upstream(does).await;
            let (route, mut client, _running) = through(&path, pipelined, limits).await;
            for sent in 1..=2 {
                let told = client.ask_json("1").await;
                assert!(told.contains(words), "{does:?}: {told}");
                assert!(told.contains("it may have been executed"), "{told}");
                names_nothing(&told, &path);
                assert_eq!(requests.load(Relaxed), sent, "{does:?} {pipelined}");
            }
            let totals = route.snapshot().totals;
            assert_eq!(totals.lost + totals.timed_out, 2, "{totals:?}");
            assert_eq!(totals.timed_out == 2, does == Does::Hangs);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_told_and_clients_stay() {
    for pipelined in [false, true] {
        let path = path();
        let (route, mut client, _running) = through(&path, pipelined, (LONG, Duration::ZERO)).await;
        let told = client.ask_json("1").await;
        assert!(told.contains("the upstream can't be reached"), "{told}");
        assert!(told.contains("it was not executed"), "{told}");
        names_nothing(&told, &path);
        assert_eq!(route.snapshot().totals.unavailable, 1);
        // Once it is there, the same client is served.
        let echo = millpond::server::raw(async |body: bytes::Bytes| Ok(body));
        let server = millpond::server::Server::builder(echo);
        let _upstream = server.serve(crate::listen(&path).await).expect("settings");
        let served = async {
            while client.ask_json("2").await != "2" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let served = tokio::time::timeout(Duration::from_secs(30), served).await;
        served.expect("its outage is over");
    }
}

/// An upstream that ends each connection on which it is sent poison, of which it answers nothing.
fn dies_of_poison() -> std::path::PathBuf {
    let path = path();
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0)
                    && line != "get poison\n"
                {
                    stream.write_all(b"END\n").await.expect("it is read");
                    line.clear();
                }
            });
        }
    });
    path
}

#[tokio::test]
async fn a_client_that_sends_poison_without_end_cuts_nobody_off() {
    for pipelined in [false, true] {
        let upstreams = [dies_of_poison(), dies_of_poison()];
        let among = StreamConnector::among(upstreams.each_ref().map(|path| endpoint(path)));
        // Without a grace, a failed dial is told at once.
        let builder = Client::over(among)
            .framing(Store)
            .pool(|pool| pool.max_size(4).outage_grace(Duration::ZERO));
        let client = match pipelined {
            true => builder.pipelined(Pipelining::default()),
            false => builder,
        };
        let route = Route::to(client.build().expect("a client"));
        let (path, _running) = serve(&route).await;
        let mut poisoner = Plain::connect(&path).await;
        // Nothing else has ever come back from the upstreams.
        for _ in 0..12 {
            let told = poisoner.ask("get poison").await;
            assert!(told.contains("it may have been executed"), "{told}");
        }
        let mut neighbours = JoinSet::new();
        // On a pipeline, they share the connections that the poison ends.
        for _ in 0..if pipelined { 0 } else { 3 } {
            let mut neighbour = Plain::connect(&path).await;
            neighbours.spawn(async move {
                for _ in 0..20 {
                    assert_eq!(neighbour.ask("get a").await, "END");
                }
            });
        }
        while !neighbours.is_empty() {
            tokio::select! {
                told = poisoner.ask("get poison") => {
                    assert!(told.contains("it may have been executed"), "{told}");
                }
                ended = neighbours.join_next() => {
                    ended.expect("one").expect("all were answered");
                }
            }
        }
        for upstream in route.snapshot().upstream.upstreams {
            assert_eq!(upstream.totals.failed, 0, "{upstream:?}");
            assert!(!upstream.is_ejected, "{upstream:?}");
        }
    }
}

/// A client of the upstream's own would send it again. Behind a route nobody knows what else the
/// upstream does to the connections that it kills, and a request that kills one must not kill the
/// next.
#[tokio::test]
async fn a_repeatable_request_that_ended_a_connection_is_not_sent_to_the_next() {
    for pipelined in [false, true] {
        let path = path();
        let listener = UnixListener::bind(&path).expect("a socket");
        let requests = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                // It has served, and then it dies of a request.
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    counting.fetch_add(1, Relaxed);
                    if line == "get poison\n" {
                        break;
                    }
                    stream.write_all(b"END\n").await.expect("it is read");
                    line.clear();
                }
            }
        });
        let builder = Client::builder(endpoint(&path)).framing(Store);
        let client = match pipelined {
            true => builder.pipelined(Pipelining::default()),
            false => builder,
        };
        let client = client.build().expect("a client");
        let route = Route::to(client.clone());
        let (path, _running) = serve(&route).await;
        let mut through = Plain::connect(&path).await;
        assert_eq!(through.ask("get a").await, "END");
        let told = through.ask("get poison").await;
        assert!(told.contains("it may have been executed"), "{told}");
        assert_eq!(requests.load(Relaxed), 2);
        assert_eq!(through.ask("get a").await, "END");
        // Directly it is sent twice, as its framing allows.
        client.exchange(b"get poison").await.expect_err("it dies");
        assert_eq!(requests.load(Relaxed), 5);
    }
}
