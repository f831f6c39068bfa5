//! Many clients, few connections; and what becomes of a connection whose client leaves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use millpond::{
    client::{Client, Pipelining},
    pool::Eviction,
    proxy::{Mode, Route},
    server::{Server, raw},
};
use tokio::sync::Notify;

use crate::{Plain, endpoint, listen, path, serve};

#[tokio::test]
async fn two_hundred_clients_share_four_connections() {
    for mode in [Mode::Exchange, Mode::Pipeline] {
        let path = path();
        let echo = raw(async |body: Bytes| {
            tokio::task::yield_now().await;
            Ok(body)
        });
        let upstream = Server::builder(echo).serve(listen(&path).await).unwrap();
        let builder = Client::builder(endpoint(&path)).pool(|pool| pool.max_size(4));
        let client = match mode {
            Mode::Pipeline => builder.pipelined(Pipelining::default()),
            _ => builder,
        };
        let route = Route::to(client.build().unwrap());
        assert_eq!(route.mode(), mode);
        let (path, running) = serve(&route).await;
        let clients = (0..200).map(|number| {
            let path = path.clone();
            tokio::spawn(async move {
                // Two by one connection, and the next by another.
                let mut client = Plain::connect(&path).await;
                for request in 0..2 {
                    let body = format!("[{number},{request}]");
                    assert_eq!(client.ask_json(&body).await, body);
                }
                let body = format!("[{number},\"last\"]");
                let mut client = Plain::connect(&path).await;
                assert_eq!(client.ask_json(&body).await, body);
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.expect("its own replies");
        }
        let accepted = upstream.snapshot().totals.accepted;
        assert!((1..=4).contains(&accepted), "{accepted} connections");
        let totals = route.snapshot().totals;
        assert_eq!((totals.answered, totals.lost), (600, 0));
        assert_eq!(running.drain(Duration::from_secs(10)).await.forced, 0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_costs_the_connection_and_nobody_else_anything() {
    let path = path();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (beginning, going_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = raw(move |body: Bytes| {
        let (begun, go_on) = (Arc::clone(&beginning), Arc::clone(&going_on));
        async move {
            if body == "\"slow\"" {
                begun.notify_one();
                go_on.notified().await;
            }
            Ok(body)
        }
    });
    let _upstream = Server::builder(slow).serve(listen(&path).await).unwrap();
    let client = Client::builder(endpoint(&path)).pool(|pool| pool.max_size(1));
    let route = Route::to(client.build().unwrap());
    let (path, _running) = serve(&route).await;
    let mut leaves = Plain::connect(&path).await;
    leaves.write(crate::framed("\"slow\"").as_bytes()).await;
    begun.notified().await;
    let mut waits = Plain::connect(&path).await;
    waits.write(crate::framed("\"quick\"").as_bytes()).await;
    // Over a Unix socket a departure is seen at once.
    drop(leaves);
    assert_eq!(waits.json().await, "\"quick\"");
    go_on.notify_one();
    let shown = route.snapshot();
    assert_eq!((shown.totals.abandoned, shown.totals.answered), (1, 1));
    let evicted = shown.upstream.pool.totals;
    assert_eq!(evicted.evicted(Eviction::UnfinishedExchange), 1);
}
