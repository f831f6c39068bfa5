//! What one client sends is executed in the order in which it was sent, and answered so.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    client::{Client, Pipelining},
    proxy::Route,
    server::{Server, raw},
};

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
