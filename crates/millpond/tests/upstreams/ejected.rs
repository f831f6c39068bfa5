//! Upstreams that fail: who takes over, who is ejected, and how they come back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use millpond::{
    Chain,
    client::{Client, Execution, Pipelining, RequestErrorKind},
    connectors::{StreamConnector, Upstream},
    pool::{Connector, Eviction, Pool},
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{loopback::*, servers::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_is_killed_under_load_the_others_take_over_and_it_comes_back() {
    let mut servers = Server::three().await;
    let client = Client::over(among(&servers, 2)).pool(|pool| {
        // No caller is told of an outage: there is none.
        pool.max_size(6).outage_grace(std::time::Duration::ZERO)
    });
    let client = client.build().expect("a client");
    let (stop, number) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut callers = JoinSet::new();
    for _ in 0..12 {
        let (client, stop, number) = (client.clone(), Arc::clone(&stop), Arc::clone(&number));
        callers.spawn(async move {
            let mut lost = 0;
            while !stop.load(SeqCst) {
                let body = (1_000_000 + number.fetch_add(1, SeqCst)).to_string();
                match client.exchange(body.as_bytes()).await {
                    Ok(reply) => assert_eq!(reply, body),
                    // It was under way on one of the connections that died.
                    Err(error) => {
                        assert_eq!(error.kind(), RequestErrorKind::Lost, "{}", Chain(&error));
                        assert_eq!(error.execution(), Execution::Possible);
                        lost += 1;
                    }
                }
            }
            lost
        });
    }
    eventually("two each", || open(&servers) == [2, 2, 2]).await;
    servers[0].kill();
    eventually("it is ejected", || is_ejected(&client)[0]).await;
    let then = number.load(SeqCst);
    eventually("the others go on", || number.load(SeqCst) > then + 100).await;
    assert_eq!(is_ejected(&client), [true, false, false]);
    servers[0].revive().await;
    eventually("it is back", || open(&servers) == [2, 2, 2]).await;
    assert_eq!(is_ejected(&client), [false; 3]);
    stop.store(true, SeqCst);
    let lost: usize = within(callers.join_all()).await.into_iter().sum();
    assert!(lost <= 2, "{lost} on two connections");
    let mut executed = HashMap::new();
    for server in &servers {
        for (body, times) in server.counts.executed.lock().iter() {
            *executed.entry(body.clone()).or_insert(0) += times;
        }
    }
    assert!(executed.values().all(|&times| times == 1));
    eventually("its failures are forgotten", || {
        let upstreams = client.pool().connector().streams().upstreams();
        upstreams.iter().all(|it| it.failures == 0)
    })
    .await;
}

#[tokio::test]
async fn when_all_are_dead_the_error_names_one_and_all_come_back() {
    let mut servers = Server::three().await;
    let client = Client::over(among(&servers, u32::MAX)).pool(|pool| {
        pool.max_size(3)
            .outage_grace(std::time::Duration::ZERO)
            .acquire_timeout(PATIENCE)
    });
    let client = client.build().expect("a client");
    within(client.exchange(b"1")).await.expect("a reply");
    for server in &mut servers {
        server.kill();
    }
    eventually("the connection is gone", || {
        client.pool().snapshot().connections.is_empty()
    })
    .await;
    let mut refused = 0;
    // One at least isn't ejected, and a dial goes to all: so each of them fails each time.
    while !is_ejected(&client).contains(&true) {
        let error = within(client.exchange(b"2"))
            .await
            .expect_err("all are dead");
        assert_eq!(error.execution(), Execution::Impossible);
        let said = Chain(&error).to_string();
        let named = servers
            .iter()
            .filter(|it| said.contains(&it.address.to_string()));
        assert_eq!(named.count(), 1, "{said}");
        refused += 1;
    }
    assert!(refused >= 1);
    let ejected = is_ejected(&client);
    assert_eq!(ejected.iter().filter(|&&it| it).count(), 1, "the floor");
    for server in &mut servers {
        server.revive().await;
    }
    // Whoever waits through the outage is served.
    eventually("none is ejected", || is_ejected(&client) == [false; 3]).await;
    let mut lent = Vec::new();
    for _ in 0..3 {
        lent.push(
            within(client.pool().acquire().wait_through_outage())
                .await
                .expect("a connection"),
        );
    }
    drop(lent);
    let reply = within(client.exchange(b"3")).await;
    assert_eq!(reply.expect("a reply"), "3");
}

#[tokio::test]
async fn a_dial_that_fails_goes_on_to_the_next_upstream() {
    let refusing = Refusing::new();
    let server = Server::start().await;
    let dead = millpond::net::Dialer::new(refusing.address().into());
    let connector = StreamConnector::among([dead, server.dialer()]);
    let stream = within(connector.connect()).await.expect("a stream");
    assert_eq!(stream.peer_addr(), Some(server.address));
    let upstreams = connector.upstreams();
    assert_eq!((upstreams[0].failures, upstreams[0].open), (1, 0));
    assert_eq!((upstreams[1].failures, upstreams[1].open), (0, 1));
    assert!(upstreams[0].spared > SECOND / 100);
    drop(stream);
    assert_eq!(connector.upstreams()[1].open, 0);
}

/// Dials until the upstream has failed so often.
async fn fail(connector: &StreamConnector, at: usize, failures: u32) {
    // Kept, so that the one that fails soon has the fewest.
    let mut kept = Vec::new();
    while connector.upstreams()[at].failures < failures {
        eventually("it is dialled again", || {
            connector.upstreams()[at].spared.is_zero()
        })
        .await;
        kept.push(within(connector.connect()).await.expect("the other works"));
    }
}

#[tokio::test]
async fn an_upstream_that_accepts_and_hangs_up_is_ejected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let mut server = Server::start().await;
    let hangs_up = millpond::net::Dialer::new(address.into());
    let connector = StreamConnector::among([hangs_up, server.dialer()]).ejection(ejection());
    let mut kept = Vec::new();
    while connector.upstreams()[0].failures < 3 {
        eventually("it is dialled again", || {
            connector.upstreams()[0].spared.is_zero()
        })
        .await;
        let mut stream = within(connector.connect()).await.expect("it accepts");
        if stream.peer_addr() == Some(server.address) {
            kept.push(stream);
            continue;
        }
        let failures = connector.upstreams()[0].failures;
        eventually("it hangs up", || stream.has_unread()).await;
        for _ in 0..2 {
            assert_eq!(connector.check(&mut stream), Err(Eviction::PeerClosed));
            let counted = connector.upstreams()[0].failures;
            assert_eq!(counted, failures + 1, "once");
        }
    }
    assert!(connector.upstreams()[0].is_ejected);
    let accepted = server.counts.accepted.load(SeqCst);
    kept.clear();
    for _ in 0..3 {
        kept.push(within(connector.connect()).await.expect("the other works"));
    }
    eventually("all are the other's", || {
        server.counts.accepted.load(SeqCst) == accepted + 3
    })
    .await;
    // One that is closed after it was lent is no failure.
    let mut stream = kept.pop().expect("it is open");
    connector.check(&mut stream).expect("it is lent");
    server.kill();
    eventually("it is closed", || stream.has_unread()).await;
    connector.check(&mut stream).expect_err("it is closed");
    assert_eq!(connector.upstreams()[1].failures, 0);
}

#[tokio::test]
async fn the_idle_connections_of_an_ejected_upstream_are_retired() {
    let mut site = Site::open(Over::Tcp).await;
    let server = Server::start().await;
    let refuses = Arc::<AtomicBool>::default();
    let upstreams = [site.dialer(), server.dialer()];
    let connector = StreamConnector::among(upstreams).ejection(ejection());
    let (address, told) = (site.address(), Arc::clone(&refuses));
    let connector = connector.prepare(SECOND, move |stream| {
        let refused = stream.peer_addr() == Some(address) && told.load(SeqCst);
        Box::pin(async move {
            match refused {
                true => Err("the login was refused".into()),
                false => Ok(()),
            }
        })
    });
    let pool = Pool::builder(connector).max_size(4);
    let pool = pool.build().expect("a pool");
    let (first, mut peer) = tokio::join!(within(pool.acquire()), site.accept());
    first.expect("a connection").release();
    refuses.store(true, SeqCst);
    fail(pool.connector(), 0, 3).await;
    assert!(pool.connector().upstreams()[0].is_ejected);
    closed(&mut peer).await;
    eventually("it is retired", || pool.snapshot().connections.is_empty()).await;
    let reasons: Vec<_> = pool
        .snapshot()
        .evictions
        .iter()
        .map(|one| one.reason)
        .collect();
    assert_eq!(reasons, [Eviction::Retired]);
    let lent = within(pool.acquire()).await.expect("a connection");
    assert_eq!(lent.peer_addr(), Some(server.address));
    refuses.store(false, SeqCst);
    eventually("a probe brings it back", || {
        !pool.connector().upstreams()[0].is_ejected
    })
    .await;
}

#[tokio::test]
async fn a_login_that_is_refused_is_a_failure_of_its_upstream() {
    let servers = Server::three().await;
    let refusing = servers[0].address;
    let client = Client::over(among(&servers, u32::MAX))
        .login(move |login| {
            let refused = login.stream().peer_addr() == Some(refusing);
            async move {
                match refused {
                    true => Err("wrong password".into()),
                    false => Ok(login),
                }
            }
        })
        .pool(|pool| pool.max_size(3).acquire_timeout(PATIENCE));
    let client = client.build().expect("a client");
    let failures = || client.pool().connector().streams().upstreams()[0].failures;
    within(async {
        while failures() < 3 {
            let lent = client.pool().acquire().wait_through_outage();
            lent.await.expect("a connection").discard();
        }
    })
    .await;
    let reply = within(client.exchange(b"1")).await;
    assert_eq!(reply.expect("a reply"), "1");
    assert_eq!(servers[0].counts.executed("1"), 0);
}

#[tokio::test]
async fn a_reply_ends_the_row_of_failures() {
    for pipelined in [false, true] {
        let mut servers = [Server::start().await];
        servers[0].kill();
        let connector = among(&servers, u32::MAX);
        let mut client = Client::over(connector).pool(|pool| {
            pool.outage_grace(std::time::Duration::ZERO)
                .acquire_timeout(PATIENCE)
        });
        if pipelined {
            client = client.pipelined(Pipelining::default());
        }
        let client = client.build().expect("a client");
        let failures = || client.pool().connector().streams().upstreams()[0].failures;
        eventually("it listens no more", || {
            std::net::TcpStream::connect(servers[0].address).is_err()
        })
        .await;
        let error = within(client.exchange(b"1")).await;
        error.expect_err("it is dead");
        assert!(failures() > 0);
        servers[0].revive().await;
        let reply = within(client.wait_through_outage().exchange(b"2")).await;
        assert_eq!(reply.expect("a reply"), "2");
        // Before the connection has been idle for a tick, or has come back.
        assert_eq!(failures(), 0, "pipelined: {pipelined}");
    }
}

#[tokio::test]
async fn a_probe_brings_an_upstream_back_and_is_closed() {
    let refuses = Arc::<AtomicBool>::default();
    let (first, second) = (Server::start().await, Server::start().await);
    let upstreams = [
        Upstream::new(first.dialer()).max_size(1),
        Upstream::new(second.dialer()),
    ];
    let connector = StreamConnector::among(upstreams).ejection(ejection());
    let told = Arc::clone(&refuses);
    let address = first.address;
    let connector = Arc::new(connector.prepare(SECOND, move |stream| {
        let refused = stream.peer_addr() == Some(address) && told.load(SeqCst);
        Box::pin(async move {
            match refused {
                true => Err("the login was refused".into()),
                false => Ok(()),
            }
        })
    }));
    refuses.store(true, SeqCst);
    fail(&connector, 0, 3).await;
    refuses.store(false, SeqCst);
    assert_eq!(connector.upstreams()[0].connecting, 0);
    let probes = tokio::spawn({
        let connector = Arc::clone(&connector);
        async move { connector.run().await }
    });
    eventually("it is back", || !connector.upstreams()[0].is_ejected).await;
    eventually("the probe is closed", || {
        connector.upstreams()[0].open == 0 && first.counts.open() == 0
    })
    .await;
    probes.abort();
}
