//! What one client sends is executed in the order in which it was sent, and answered so.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    client::{Client, Pipelining},
    connectors::{StreamConnector, Upstream},
    framed::FramedStream,
    framing::LengthJson,
    net::Dialer,
    proxy::Route,
    server::{Server, raw},
};
use tokio::net::UnixListener;

use crate::{Plain, endpoint, framed, listen, path, serve};

#[tokio::test]
async fn many_requests_in_one_write_keep_their_order() {
    for pipelined in [false, true] {
        for session in [false, true] {
            let path = path();
            let executed = Arc::new(Mutex::new(Vec::new()));
            let executing = Arc::clone(&executed);
            // As they are handled at once, only what waits for the reply before keeps the order.
            let record = raw(move |body: Bytes| {
                let executed = Arc::clone(&executing);
                async move {
                    tokio::time::sleep(Duration::from_micros(fastrand::u64(..300))).await;
                    if !pipelined {
                        executed.lock().unwrap().push(body.clone());
                    }
                    Ok(body)
                }
            });
            let _upstream = Server::builder(record).serve(listen(&path).await).unwrap();
            let builder = Client::builder(endpoint(&path)).pool(|pool| pool.max_size(4));
            let client = match pipelined {
                true => builder.pipelined(Pipelining::default()),
                false => builder,
            };
            let route = Route::builder(client.build().unwrap()).session(session);
            let route = route.build();
            let (path, _running) = serve(&route).await;
            let mut client = Plain::connect(&path).await;
            let bodies: Vec<String> = (0..100).map(|number| number.to_string()).collect();
            let all: String = bodies.iter().map(|body| framed(body)).collect();
            client.write(all.as_bytes()).await;
            for body in &bodies {
                assert_eq!(&client.json().await, body);
            }
            let executed = executed.lock().unwrap();
            assert!(pipelined || *executed == bodies, "{executed:?}");
        }
    }
}

/// Which bodies were executed, in that order.
type Executed = Arc<Mutex<Vec<String>>>;

/// Executes what comes on a connection in its order, and answers so. Now and then it cuts the
/// connection: before a request, behind it, or within its reply.
async fn upstream(executed: Executed) -> PathBuf {
    let path = path();
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let executed = Arc::clone(&executed);
            tokio::spawn(async move {
                let framing = LengthJson::default();
                let mut stream = FramedStream::accepted(stream.into(), framing);
                while let Ok(Some(request)) = stream.receive_frame().await {
                    let dies = fastrand::u32(..60);
                    if dies == 0 {
                        return;
                    }
                    let body = Bytes::copy_from_slice(request.body());
                    let text = String::from_utf8(body.to_vec()).expect("text");
                    executed.lock().unwrap().push(text);
                    if fastrand::u8(..4) == 0 {
                        tokio::task::yield_now().await;
                    }
                    if dies == 1 || stream.queue(&body).is_err() {
                        return;
                    }
                    // Now and then several replies are one write.
                    if fastrand::bool() && stream.flush().await.is_err() {
                        return;
                    }
                    if stream.buffered().is_empty() && stream.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    path
}

/// Clients that each send up to sixteen requests at once, through a route in pipeline mode over two
/// upstreams that die all the time: each of a client's requests is executed at most once, after all
/// that it has sent before, and each reply is that of its request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_clients_keep_their_order_while_upstreams_die() {
    let executed = Executed::default();
    let paths = [
        upstream(Arc::clone(&executed)).await,
        upstream(Arc::clone(&executed)).await,
    ];
    let among = paths.map(|path| Upstream::new(Dialer::new(endpoint(&path))));
    let client = Client::over(StreamConnector::among(among))
        .pool(|pool| pool.max_size(4).outage_grace(Duration::from_secs(30)))
        // Full pipelines: requests wait for the one that has others of their client.
        .pipelined(Pipelining::default().depth(12));
    let route = Route::to(client.build().expect("valid settings"));
    let (path, _running) = serve(&route).await;
    let clients = (0..8).map(|client| {
        let path = path.clone();
        tokio::spawn(async move {
            let mut plain = Plain::connect(&path).await;
            let (mut right, mut failed, mut next) = (0, 0, 0);
            while next < 600 {
                let many = fastrand::u32(1..=16);
                let bodies: Vec<String> = (next..next + many)
                    .map(|number| format!("[{client},{number}]"))
                    .collect();
                next += many;
                let all: String = bodies.iter().map(|body| framed(body)).collect();
                plain.write(all.as_bytes()).await;
                for body in &bodies {
                    let told = plain.json().await;
                    match told == *body {
                        true => right += 1,
                        false => {
                            assert!(told.contains("executed"), "{told} for {body}");
                            failed += 1;
                        }
                    }
                }
            }
            (right, failed)
        })
    });
    let (mut right, mut failed) = (0, 0);
    for client in clients.collect::<Vec<_>>() {
        let (some, others) = client.await.expect("its own replies");
        right += some;
        failed += others;
    }
    assert!(
        right > failed && failed > 0,
        "{right} right, {failed} failed"
    );
    let mut last = HashMap::new();
    for body in executed.lock().unwrap().iter() {
        let numbers = body.trim_matches(['[', ']']).split_once(',');
        let (client, number) = numbers.expect("two numbers");
        let number: u32 = number.parse().expect("a number");
        let before = last.insert(client.to_owned(), number);
        assert!(
            before.is_none_or(|before| before < number),
            "{body} after {before:?}"
        );
    }
}
