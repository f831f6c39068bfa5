//! Many exchanges in flight over TLS: a record may carry many frames, a frame many records.

use std::time::Duration;

use crate::certificates::Authority;
use millpond::{
    client::{Client, Pipelining},
    net::{Dialer, Endpoint, ListenOptions, Listener},
    server::{Server, json},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_over_tls_go_to_their_requests() {
    let authority = Authority::new("tests");
    let tls = authority
        .issue(&["127.0.0.1"])
        .server()
        .build()
        .expect("settings");
    let any: Endpoint = "tls://127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&any, ListenOptions::default().tls(tls))
        .await
        .expect("a listener");
    let echo = json(async |pair: (u64, String)| Ok::<_, &str>(pair));
    let server = Server::builder(echo).serve(listener).expect("a server");

    let dialer =
        Dialer::new(server.endpoint().clone()).tls(authority.client().build().expect("settings"));
    let client = Client::dialled_by(dialer)
        .pipelined(Pipelining::default().depth(16))
        .pool(|pool| pool.max_size(2))
        .build()
        .expect("valid settings");
    let callers: Vec<_> = (0..64_u64)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in caller * 100..(caller + 1) * 100 {
                    // Some are longer than a record of TLS, or than what a socket takes at once.
                    let length = match number % 97 {
                        0 => 300_000,
                        1..10 => 20_000,
                        _ => 50,
                    };
                    let asked = (number, "x".repeat(length));
                    let answer: (u64, String) = client.request(&asked).await.expect("a reply");
                    assert!(answer == asked, "{} instead of {number}", answer.0);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    let opened = client.pool().snapshot().totals.opened;
    assert!(opened <= 2, "{opened} connections");
    drop(client);
    server.drain(Duration::from_secs(5)).await;
}
