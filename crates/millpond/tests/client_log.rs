//! What the log tells of connections that are lost under requests: the first, and then sums. The
//! only test of its process.

#![cfg(unix)]

#[path = "../../millpond-pool/tests/warnings/mod.rs"]
mod warnings;

use std::time::Duration;

use millpond::{
    client::{Client, Pipelining, RequestError},
    pool::Eviction,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use warnings::Warnings;

const PATIENCE: Duration = Duration::from_secs(30);

/// How many losses these sums count.
fn told_in_sums(lines: &[String]) -> u64 {
    let others = |line: &String| {
        assert!(line.contains("more connections were lost"), "{line}");
        let (_, count) = line.split_once("others=").expect("a sum");
        let count = count.split(' ').next().expect("a number");
        count.parse::<u64>().expect("a number")
    };
    lines.iter().map(others).sum()
}

#[test]
fn a_lost_connection_is_told_with_its_cause_and_a_storm_of_them_in_sums_that_add_up() {
    let heard = Warnings::of("millpond::client");
    tracing::subscriber::set_global_default(heard.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for (name, pipelined) in [("orders", false), ("events", true)] {
            let begun = heard.heard().len();
            // A connection that ends behind its last reply is no loss.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
            let client = Client::to(&endpoint).unwrap();
            let client = match pipelined {
                true => client.pipelined(Pipelining::default()),
                false => client,
            };
            let client = client.build().unwrap();
            let (reply, ()) = tokio::join!(client.request::<_, u64>(&1), async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_exact(&mut [0; 21]).await.unwrap();
                stream.write_all(b"length:00000000000011").await.unwrap();
            });
            assert_eq!(reply.unwrap(), 1);
            let until_closed = async {
                while client
                    .pool()
                    .snapshot()
                    .totals
                    .evicted(Eviction::PeerClosed)
                    == 0
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(PATIENCE, until_closed)
                .await
                .expect("its end is seen");
            drop(client);
            assert_eq!(heard.heard().len(), begun, "{:#?}", heard.heard());

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
            let server = tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    // Answers one request, reads another, and hangs up.
                    if stream.read_exact(&mut [0; 21]).await.is_ok() {
                        stream.write_all(b"length:00000000000011").await.unwrap();
                        let _ = stream.read_exact(&mut [0; 21]).await;
                    }
                }
            });
            let client = Client::to(&endpoint)
                .unwrap()
                .pool(move |pool| pool.name(name));
            let client = match pipelined {
                true => client.pipelined(Pipelining::default()),
                false => client,
            };
            let client = client.build().unwrap();
            let lose = async || {
                assert_eq!(client.request::<_, u64>(&1).await.unwrap(), 1);
                let lost = client.request::<_, u64>(&1).await;
                assert!(matches!(lost, Err(RequestError::Lost { .. })), "{lost:?}");
            };
            for _ in 0..20 {
                lose().await;
            }
            let told = heard.heard().split_off(begun);
            assert!(
                told[0].contains("a connection was lost with requests on it")
                    && told[0].contains("cause=the peer closed it")
                    && told[0].contains(&format!("pool=\"{name}\"")),
                "{told:?}"
            );
            // Sums come by themselves; what is left then, when the client goes.
            let until_told = async |others| {
                while told_in_sums(&heard.heard()[begun + 1..]) < others {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(PATIENCE, until_told(19)).await.expect("a sum");
            lose().await;
            drop(client);
            timeout(PATIENCE, until_told(20)).await.expect("the rest");
            server.abort();
            let told = heard.heard().split_off(begun);
            assert_eq!(told_in_sums(&told[1..]), 20, "{told:#?}");
            // The first, its sum, and the rest; more only where this test was made to stand still.
            assert!(told.len() <= 6, "{told:#?}");
        }
    });
}
