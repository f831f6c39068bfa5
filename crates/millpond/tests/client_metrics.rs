//! What a client tells the `metrics` facade: every end that an exchange can have, and what goes on
//! meanwhile.

#![cfg(all(unix, feature = "metrics"))]

use std::{future::Future, time::Duration};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use millpond::{
    client::{Client, ClientBuilder, ClientSnapshot, Pipelining, RequestError},
    pool::Eviction,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn start() -> (TcpListener, ClientBuilder) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let client = Client::to(&format!("tcp://{address}")).expect("an endpoint");
    let client = client.pool(|pool| pool.name("orders").max_size(1).max_waiting(1));
    (listener, client)
}

/// A client whose metrics are told here.
fn recorded(builder: ClientBuilder) -> (Client, Snapshotter) {
    let recorder = DebuggingRecorder::new();
    let client = metrics::with_local_recorder(&recorder, || builder.build().unwrap());
    (client, recorder.snapshotter())
}

/// What was told, by name and the label that isn't the pool's. At each snapshot the recorder begins
/// anew: a gauge that goes up and down tells how it has changed.
struct Told(Vec<(String, String, i64)>);

impl Told {
    fn by(snapshotter: &Snapshotter) -> Told {
        let all = snapshotter.snapshot().into_vec().into_iter();
        let clients = all.filter(|(key, ..)| key.key().name().starts_with("millpond_client_"));
        Told(
            clients
                .map(|(key, _, _, value)| {
                    let labels: Vec<_> = key.key().labels().collect();
                    let pool = labels.iter().find(|label| label.key() == "pool");
                    assert_eq!(pool.map(|label| label.value()), Some("orders"));
                    let other = labels.iter().find(|label| label.key() != "pool");
                    let value = match value {
                        DebugValue::Counter(count) => count as i64,
                        DebugValue::Gauge(value) => value.0 as i64,
                        DebugValue::Histogram(_) => panic!("no histogram"),
                    };
                    let other = other.map_or(String::new(), |label| label.value().to_owned());
                    (key.key().name().to_owned(), other, value)
                })
                .collect(),
        )
    }

    fn of(&self, name: &str, label: &str) -> i64 {
        let found = self.0.iter().find(|(its, other, _)| {
            its.strip_prefix("millpond_client_") == Some(name) && other == label
        });
        found
            .unwrap_or_else(|| panic!("{name} {label}: {:?}", self.0))
            .2
    }

    /// How many exchanges have ended in each way: only those that have.
    fn ends(&self) -> Vec<(&str, i64)> {
        let exchanges = self
            .0
            .iter()
            .filter(|(name, ..)| name == "millpond_client_exchanges_total");
        let mut ends: Vec<_> = exchanges
            .filter(|(.., count)| *count > 0)
            .map(|(_, outcome, count)| (outcome.as_str(), *count))
            .collect();
        ends.sort_unstable();
        ends
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("a connection").0
}

/// Reads a request with a body of one byte, and answers it with this.
async fn answer(stream: &mut TcpStream, body: &str) {
    stream.read_exact(&mut [0; 21]).await.expect("a request");
    let frame = format!("length:{:013}{body}", body.len());
    stream.write_all(frame.as_bytes()).await.expect("a reader");
}

fn ask(client: &Client) -> impl Future<Output = Result<u64, RequestError>> + use<> {
    let client = client.clone();
    async move { client.request(&1).await }
}

#[tokio::test]
async fn every_end_of_an_exchange_is_counted_by_its_name() {
    let pipelining = Pipelining::default().depth(1);
    for pipelined in [None, Some(pipelining)] {
        let (listener, builder) = start().await;
        let builder = match pipelined {
            Some(pipelining) => builder.pipelined(pipelining),
            None => builder,
        };
        let (client, snapshotter) = recorded(builder);
        // Each outcome alone, from which the next begins anew.
        let ends = || {
            let told = Told::by(&snapshotter);
            assert_eq!(told.of("in_flight", ""), 0);
            told.ends()
                .into_iter()
                .map(|(end, count)| (end.to_owned(), count))
                .collect::<Vec<_>>()
        };
        let once = |end: &str| vec![(end.to_owned(), 1)];

        let (replied, mut stream) = tokio::join!(ask(&client), async {
            let mut stream = accept(&listener).await;
            answer(&mut stream, "1").await;
            stream
        });
        replied.expect("a reply");
        assert_eq!(ends(), once("replied"));

        let refusal = r#"{"error":{"code":1,"message":"no"}}"#;
        let (refused, ()) = tokio::join!(ask(&client), answer(&mut stream, refusal));
        assert!(
            matches!(refused, Err(RequestError::Refused(_))),
            "{refused:?}"
        );
        assert_eq!(ends(), once("failure_reply"));

        let (wrong, ()) = tokio::join!(ask(&client), answer(&mut stream, "[]"));
        assert!(matches!(wrong, Err(RequestError::Reply(_))), "{wrong:?}");
        assert_eq!(ends(), once("replied"), "a reply all the same");

        let (lost, ()) = tokio::join!(ask(&client), async move {
            stream.read_exact(&mut [0; 21]).await.expect("a request");
        });
        assert!(matches!(lost, Err(RequestError::Lost { .. })), "{lost:?}");
        assert_eq!(ends(), once("lost"));

        let late = client
            .within(Duration::from_millis(300))
            .request::<_, u64>(&1)
            .await;
        assert!(
            matches!(late, Err(RequestError::TimedOut { .. })),
            "{late:?}"
        );
        assert_eq!(ends(), once("timed_out"));

        // One is on its way, another waits, the third is turned away; then both are dropped.
        let sent = tokio::spawn(ask(&client));
        until(&client, |now| now.pool.active == 1 && now.waiting == 0).await;
        let waits = tokio::spawn(ask(&client));
        until(&client, |now| now.waiting == 1).await;
        let turned_away = ask(&client).await;
        assert!(
            matches!(turned_away, Err(RequestError::Acquire(_))),
            "{turned_away:?}"
        );
        let told = Told::by(&snapshotter);
        assert_eq!(
            (told.ends(), told.of("in_flight", "")),
            (vec![("refused", 1)], 2)
        );
        if pipelined.is_some() {
            assert_eq!(
                (told.of("waiting", ""), told.of("waiting_bytes", "")),
                (1, 21)
            );
        }
        for asked in [sent, waits] {
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
        }
        let told = Told::by(&snapshotter);
        assert_eq!(
            (told.ends(), told.of("in_flight", "")),
            (vec![("cancelled", 2)], -2)
        );
        assert_eq!(told.of("waiting", ""), 0);
    }
}

#[tokio::test]
async fn nobody_waits_any_more_once_all_were_told_that_there_is_no_connection() {
    let (listener, builder) = start().await;
    drop(listener);
    let refused_soon = builder.pool(|pool| pool.outage_grace(Duration::from_millis(10)));
    let (client, snapshotter) = recorded(refused_soon.pipelined(Pipelining::default()));
    let told = ask(&client).await;
    assert!(matches!(told, Err(RequestError::Acquire(_))), "{told:?}");
    let told = Told::by(&snapshotter);
    assert_eq!(
        (told.of("waiting", ""), told.of("waiting_bytes", "")),
        (0, 0)
    );
}

/// Looks, after everybody has had a turn, until it is so.
async fn until(client: &Client, is_so: impl Fn(&ClientSnapshot) -> bool) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if is_so(&client.snapshot()) {
            return;
        }
    }
}

#[tokio::test]
async fn requests_that_are_sent_again_and_heartbeats_are_counted() {
    let (listener, builder) = start().await;
    let (client, snapshotter) = recorded(builder.heartbeat_interval(Duration::from_millis(150)));
    let (replied, mut stream) = tokio::join!(ask(&client), async {
        let mut stream = accept(&listener).await;
        answer(&mut stream, "1").await;
        stream
    });
    replied.expect("a reply");
    // An idempotent one, on a connection that dies under it.
    let client = &client;
    let (replied, mut stream) = tokio::join!(
        async { client.idempotent().request::<_, u64>(&1).await },
        async {
            let mut request = Vec::new();
            while !request.ends_with(b"length:00000000000011") {
                request.push(stream.read_u8().await.expect("heartbeats and a request"));
            }
            drop(stream);
            let mut stream = accept(&listener).await;
            answer(&mut stream, "1").await;
            stream
        }
    );
    replied.expect("a reply");
    stream.write_all(b"HeartBeat").await.expect("a reader");
    stream
        .read_exact(&mut [0; 9])
        .await
        .expect("a heartbeat of theirs");
    // After that one there are no more of ours.
    until(client, |now| {
        now.pool.totals.evicted(Eviction::HeartbeatMissed) == 1
    })
    .await;
    let told = Told::by(&snapshotter);
    assert_eq!(told.ends(), [("replied", 2)]);
    assert_eq!(
        (
            told.of("retries_total", "granted"),
            told.of("retries_total", "refused")
        ),
        (1, 0)
    );
    let beats = client.pool().connector().heartbeats();
    assert_eq!(told.of("heartbeats_sent_total", ""), beats.sent as i64);
    assert!(beats.sent > 0);
    assert_eq!(told.of("heartbeats_received_total", ""), 1);
    assert_eq!(told.of("heartbeats_missed_total", ""), 1);
}
