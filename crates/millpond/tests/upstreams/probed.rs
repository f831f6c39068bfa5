//! Upstreams that are asked whether they work: by a login, and by probes.

use std::sync::atomic::Ordering::SeqCst;

use millpond::{
    Chain,
    client::{Client, Script},
    connectors::{Ejection, UpstreamSnapshot},
};

use crate::{loopback::*, servers::*};

fn upstreams(client: &Client) -> Vec<UpstreamSnapshot> {
    client.snapshot().upstreams
}

#[tokio::test]
async fn one_that_accepts_and_can_not_serve_is_ejected_by_its_probe_until_it_can() {
    let servers = Server::three().await;
    let asked = Ejection {
        probe_interval: Some(10 * MS),
        ..ejection()
    };
    let client = Client::over(among(&servers, u32::MAX).ejection(asked))
        .probe(Script::new().step("77", "7"))
        .pool(|pool| pool.max_size(3));
    let client = client.build().expect("a client");
    servers[0].counts.is_sick.store(true, SeqCst);
    eventually("it is ejected", || is_ejected(&client)[0]).await;
    assert_eq!(is_ejected(&client), [true, false, false]);
    let sick = &upstreams(&client)[0];
    assert!(
        sick.ejected_for.is_some() && sick.totals.ejections == 1,
        "{sick:?}"
    );
    let cause = &sick.last_failure.as_ref().expect("one").cause;
    assert!(cause.contains("probe: "), "{cause}");
    assert!(
        cause.contains("step 1: the answer doesn't begin with \"7\""),
        "{cause}"
    );
    for number in 0..6 {
        let body = (1000 + number).to_string();
        let reply = within(client.exchange(body.as_bytes())).await;
        assert_eq!(reply.expect("a reply"), body);
        assert_eq!(servers[0].counts.executed(&body), 0);
    }
    servers[0].counts.is_sick.store(false, SeqCst);
    eventually("it is back", || is_ejected(&client) == [false; 3]).await;
    assert_eq!(upstreams(&client)[0].ejected_for, None);
    // No more than one probe at a time, and none stays open.
    let open = |it: &UpstreamSnapshot| it.connecting <= 1;
    assert!(upstreams(&client).iter().all(open));
}

#[tokio::test]
async fn a_probe_logs_in_before_it_asks() {
    let servers = [Server::start().await, Server::start().await];
    let asked = Ejection {
        probe_interval: Some(10 * MS),
        ..ejection()
    };
    let client = Client::over(among(&servers, u32::MAX).ejection(asked))
        .on_connect(Script::new().step("11", "11"))
        .probe(Script::new().step("22", "22"));
    let _client = client.build().expect("a client");
    eventually("both are probed", || {
        servers.iter().all(|it| it.counts.executed("22") > 0)
    })
    .await;
    assert!(servers.iter().all(|it| it.counts.executed("11") > 0));
}

/// A pause that is longer than a probe may take is over in none of them.
#[tokio::test]
async fn nothing_is_asked_in_a_probe_before_the_connection_has_rested() {
    let servers = [Server::start().await, Server::start().await];
    let asked = Ejection {
        probe_interval: Some(10 * MS),
        probe_timeout: 20 * MS,
        ..ejection()
    };
    let client = Client::over(among(&servers, u32::MAX).ejection(asked))
        .connect_pause(3_600_000 * MS)
        .probe(Script::new().step("22", "22"));
    let client = client.build().expect("a client");
    eventually("one is ejected", || is_ejected(&client).contains(&true)).await;
    assert!(servers.iter().all(|it| it.counts.executed("22") == 0));
}

#[tokio::test]
async fn each_connection_logs_in_by_the_script_once_and_before_it_is_lent() {
    let servers = [Server::start().await];
    let client = Client::over(among(&servers, u32::MAX))
        .on_connect(Script::new().step("11", "1").step("22", ""));
    let client = client.build().expect("a client");
    for _ in 0..3 {
        let reply = within(client.exchange(b"33")).await;
        assert_eq!(reply.expect("a reply"), "33");
    }
    let counts = &servers[0].counts;
    assert_eq!(["11", "22", "33"].map(|it| counts.executed(it)), [1, 1, 3]);
}

#[tokio::test]
async fn a_login_that_is_answered_otherwise_fails_its_dial_and_shows_nothing_of_itself() {
    let servers = [Server::start().await];
    let client = Client::over(among(&servers, u32::MAX))
        .on_connect(Script::new().step("47114711", "OK"))
        .pool(|pool| pool.outage_grace(std::time::Duration::ZERO));
    let client = client.build().expect("a client");
    let error = within(client.exchange(b"33")).await.expect_err("no login");
    let said = format!("{} {error:?} {client:?}", Chain(&error));
    assert!(
        said.contains("step 1: the answer doesn't begin with \"OK\""),
        "{said}"
    );
    let shown = format!("{said} {:?}", client.snapshot());
    assert!(!shown.contains("47114711"), "{shown}");
    assert_eq!(servers[0].counts.executed("33"), 0);
}
