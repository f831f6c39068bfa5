//! Clients of different framings in one list, as a page or a tool holds them.

use std::time::Duration;

use bytes::Bytes;
use millpond::{
    client::{AnyClient, Client, RequestError},
    framing::{Context, Extent, FrameError, Framing, Scan, Step},
    net::{ListenOptions, Listener},
    pool::AcquireError,
    server::{Running, Server, raw},
};

const SECOND: Duration = Duration::from_secs(1);

/// Frames that end with a newline.
#[derive(Clone)]
struct Lines;

impl Framing for Lines {
    fn next(&self, _: Context<'_>, bytes: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
        Ok(match bytes.iter().position(|&byte| byte == b'\n') {
            Some(body) => Step::Frame(Extent {
                head: 0,
                body,
                tail: 1,
            }),
            None => Step::More { missing: 1 },
        })
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        out.push(b'\n');
        Ok(())
    }
}

async fn listener() -> Listener {
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let listening = Listener::bind(&any, ListenOptions::default()).await;
    listening.expect("a listener")
}

#[tokio::test]
async fn clients_of_different_framings_are_shown_used_and_steered_from_one_list() {
    let echo = || raw(async |body: Bytes| Ok(body));
    let servers: Vec<Running> = vec![
        Server::builder(echo())
            .serve(listener().await)
            .expect("a server"),
        Server::builder(echo())
            .framing(Lines)
            .serve(listener().await)
            .expect("a server"),
    ];
    let to = |server: &Running| Client::builder(server.endpoint().clone());
    let clients: Vec<Box<dyn AnyClient>> = vec![
        Box::new(
            to(&servers[0])
                .pool(|pool| pool.name("json"))
                .build()
                .expect("a client"),
        ),
        Box::new(
            to(&servers[1])
                .framing(Lines)
                .pool(|pool| pool.name("lines"))
                .build()
                .expect("a client"),
        ),
    ];
    for (name, client) in ["json", "lines"].into_iter().zip(&clients) {
        let pool = client.pool();
        assert_eq!((pool.name(), pool.is_closed()), (name, false));
        assert_eq!(pool.settings().name.as_deref(), Some(name));
        for _ in 0..2 {
            assert_eq!(client.exchange(b"1").await.expect("a reply"), "1");
        }
        let totals = client.pool().snapshot().totals;
        assert_eq!(totals.opened, 1);
        client.pool().retire();
        assert_eq!(client.exchange(b"2").await.expect("a reply"), "2");
        assert_eq!(
            client.pool().snapshot().totals.opened,
            2,
            "the first one is gone"
        );
        assert_eq!(client.retries().granted + client.heartbeats().sent, 0);
    }

    clients[0].pool().pause();
    assert!(
        tokio::time::timeout(SECOND / 20, clients[0].exchange(b"3"))
            .await
            .is_err(),
        "it is paused"
    );
    clients[0].pool().resume();
    assert_eq!(clients[0].exchange(b"3").await.expect("a reply"), "3");

    clients[0]
        .pool()
        .drain(SECOND)
        .await
        .expect("all has come back");
    // Whether or not the future is awaited.
    drop(clients[1].pool().close(SECOND));
    for client in &clients {
        assert!(client.pool().is_closed());
        let refused = client.exchange(b"4").await.expect_err("it is closed");
        assert!(
            matches!(refused, RequestError::Acquire(AcquireError::Closed)),
            "{refused}"
        );
    }
}
