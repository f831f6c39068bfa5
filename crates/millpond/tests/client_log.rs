//! What the log tells of connections that are lost under requests: the first, and then sums. The only test of its process.

#![cfg(unix)]

mod warnings;

use std::time::Duration;

use millpond::client::{Client, Pipelining, RequestError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use warnings::Warnings;

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
            let client = Client::to(&endpoint).unwrap().pool(move |pool| pool.name(name));
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
            assert_eq!(told.len(), 1, "{told:#?}");
            assert!(
                told[0].contains("a connection was lost with requests on it")
                    && told[0].contains("cause=the peer closed it")
                    && told[0].contains(&format!("pool=\"{name}\"")),
                "{told:?}"
            );
            // The sum comes by itself; what is left then, when the client goes.
            while heard.heard().len() < begun + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            lose().await;
            drop(client);
            while heard.heard().len() < begun + 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            server.abort();
            let told = heard.heard().split_off(begun);
            for (sum, others) in told[1..].iter().zip([19, 1]) {
                assert!(
                    sum.contains("more connections were lost") && sum.contains(&format!("others={others} ")),
                    "{sum}"
                );
            }
        }
    });
}
