//! What clients are told while a server drains, over real sockets: no request is lost silently, and
//! no reply by a reset.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::serving::{connect_tcp, frame, serve_tcp, serve_with, until};
use bytes::Bytes;
use millpond::{
    client::{Client, Execution, Pipelining, RequestError},
    framing::{Context, FrameError, Framing, LengthJson, Scan, Step},
    net::{Endpoint, ListenOptions, Listener},
    server::{Closed, Handler, Running, Server, ServerStatus, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};

const SECOND: Duration = Duration::from_secs(1);

/// The code by which a server that drains turns requests away.
const NOT_TAKEN: i64 = -32_003;

/// Repeats requests, once a gate has been opened; counts those that it has begun.
#[derive(Clone)]
struct Gate {
    opened: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
}

impl Gate {
    fn closed() -> Gate {
        Gate {
            opened: Arc::new(Semaphore::new(0)),
            begun: Arc::default(),
        }
    }

    fn open(&self) {
        self.opened.close();
    }

    fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    fn handler(&self) -> impl Handler {
        let gate = self.clone();
        raw(move |body: Bytes| {
            let gate = gate.clone();
            async move {
                gate.begun.fetch_add(1, SeqCst);
                let _ = gate.opened.acquire().await;
                Ok(body)
            }
        })
    }
}

async fn draining(running: &Running) {
    until(|| (running.snapshot().status == ServerStatus::Draining).then_some(())).await;
}

/// Opens the gate once the server drains.
async fn drain(running: &Running, gate: &Gate) -> millpond::server::Ended {
    let opening = async {
        draining(running).await;
        gate.open();
    };
    timeout(60 * SECOND, async {
        tokio::join!(running.drain(30 * SECOND), opening).0
    })
    .await
    .expect("nothing holds it up")
}

type Request = JoinHandle<(u64, Result<u64, RequestError>)>;

/// As many requests at once.
fn ask(client: &Arc<Client>, count: u64) -> Vec<Request> {
    let one = |number| {
        let client = Arc::clone(client);
        tokio::spawn(async move { (number, client.request(&number).await) })
    };
    (0..count).map(one).collect()
}

/// What became of requests: how many were answered, and how many were certainly not executed; all
/// others are an error.
async fn outcomes(requests: Vec<Request>) -> (usize, usize) {
    let (mut answered, mut not_executed) = (0, 0);
    for request in requests {
        match request.await.expect("no panic") {
            (number, Ok(reply)) => {
                assert_eq!(reply, number);
                answered += 1;
            }
            (number, Err(error)) => {
                assert_eq!(
                    error.execution(),
                    Execution::Impossible,
                    "request {number}: {error:?}"
                );
                not_executed += 1;
            }
        }
    }
    (answered, not_executed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_128_requests_in_flight_on_a_pipeline_none_is_lost() {
    let mut all_had_arrived = 0;
    for _ in 0..25 {
        let gate = Gate::closed();
        let (running, port) = serve_tcp(Server::builder(gate.handler())).await;
        let client = Client::to(&format!("tcp://127.0.0.1:{port}"))
            .expect("an endpoint")
            .pipelined(Pipelining::default())
            .pool(|pool| pool.max_size(1).outage_grace(SECOND / 10))
            .build()
            .expect("a client");
        let client = Arc::new(client);
        // Some are answered first, by which the client learns that this server reads frames.
        gate.opened.add_permits(64);
        outcomes(ask(&client, 64)).await;
        gate.opened.forget_permits(64);
        let requests = ask(&client, 128);
        until(|| {
            let pipelines = client.snapshot().pipelines.expect("it is pipelined");
            let in_flight: usize = pipelines.in_flight.values().sum();
            (in_flight == 128 && running.snapshot().handled == 16).then_some(())
        })
        .await;
        let ended = drain(&running, &gate).await;
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
        let (answered, not_executed) = outcomes(requests).await;
        assert_eq!(answered + not_executed, 128);
        assert!((16..=32).contains(&answered), "{answered}");
        assert_eq!(
            gate.begun(),
            64 + answered,
            "what was executed was answered"
        );
        // A client whose thread stands still has taken some of them for in flight, and not written
        // them.
        let refused = running.snapshot().totals.failures.draining;
        all_had_arrived += usize::from((answered, refused) == (32, 96));
    }
    assert!(
        all_had_arrived > 0,
        "16 are answered, 16 more are taken, and 96 refused"
    );
}

/// Where a server is restarted, its successor listens while it drains. Clients notice nothing: what
/// was turned away is sent again, and so is what was never written, for which the budget of retries
/// has been filled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_draining_server_does_not_take_its_successor_answers() {
    let mut turned_away = 0;
    for pipelined in [true, false].repeat(10) {
        let gate = Gate::closed();
        let (running, port) = serve_tcp(Server::builder(gate.handler())).await;
        let builder = Client::to(&format!("tcp://127.0.0.1:{port}")).expect("an endpoint");
        let builder = match pipelined {
            true => builder
                .pipelined(Pipelining::default())
                .pool(|pool| pool.max_size(1)),
            false => builder.pool(|pool| pool.max_size(8)),
        };
        let client = Arc::new(builder.build().expect("a client"));
        gate.opened.add_permits(150);
        outcomes(ask(&client, 150)).await;
        gate.opened.forget_permits(150);
        let requests = ask(&client, 60);
        let handled = if pipelined { 16 } else { 8 };
        until(|| (running.snapshot().handled == handled).then_some(())).await;
        let successor = async {
            draining(&running).await;
            let listener = until_bound(running.endpoint()).await;
            let successor = Server::builder(raw(async |body: Bytes| Ok(body))).serve(listener);
            gate.open();
            successor.expect("a server")
        };
        let (ended, successor) = tokio::join!(running.drain(30 * SECOND), successor);
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
        assert_eq!(outcomes(requests).await, (60, 0), "pipelined: {pipelined}");
        turned_away += client.retries().turned_away;
        drop(successor);
    }
    assert!(
        turned_away > 0,
        "a pipeline has more in flight than a server takes"
    );
}

/// Listens there as soon as nobody else does.
async fn until_bound(endpoint: &Endpoint) -> Listener {
    let bound = async {
        loop {
            match Listener::bind(endpoint, ListenOptions::default()).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(60 * SECOND, bound)
        .await
        .expect("the drain stops listening")
}

#[tokio::test(start_paused = true)]
async fn whoever_was_refused_is_listened_to_until_it_is_silent_but_not_for_long() {
    for (pause, heard) in [(90, 5), (20, 25), (110, 0)] {
        let gate = Gate::closed();
        let site = serve_with(Server::builder(gate.handler())).await;
        let mut client = site.connect().await;
        client.write(frame("1").repeat(40)).await;
        until(|| (site.snapshot().handled == 16).then_some(())).await;
        let clients = async {
            for _ in 0..40 {
                client.reply().await;
            }
            // More comes, at intervals.
            let mut refused = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                client.write(frame("2")).await;
                match client.next_reply().await {
                    Some(reply) if is_refusal(reply.as_bytes()) => refused += 1,
                    other => break assert_eq!((refused, other), (heard, None), "every {pause} ms"),
                }
            }
            drop(client);
        };
        let (ended, ()) = tokio::join!(drain(&site.running, &gate), clients);
        assert_eq!((ended.forced, ended.unanswered, gate.begun()), (0, 0, 32));
    }
}

/// Its request may be on its way already: one that crossed the end would be lost.
#[tokio::test(start_paused = true)]
async fn who_has_just_connected_or_had_a_reply_may_ask_once_more() {
    for (had_a_reply, pause, reply) in [
        (false, 90, Some("[2]")),
        (true, 90, Some("[2]")),
        (false, 110, None),
        (true, 110, None),
    ] {
        let site = serve_with(Server::builder(raw(async |body: Bytes| Ok(body)))).await;
        let mut client = site.connect().await;
        if had_a_reply {
            client.write(frame("[1]")).await;
            assert_eq!(client.reply().await, "[1]");
        }
        until(|| (site.snapshot().open == 1).then_some(())).await;
        let clients = async {
            draining(&site.running).await;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            client.write(frame("[2]")).await;
            assert_eq!(
                client.next_reply().await.as_deref(),
                reply,
                "{had_a_reply}, after {pause} ms"
            );
            drop(client);
        };
        let (ended, ()) = tokio::join!(site.running.drain(60 * SECOND), clients);
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
    }
}

/// The bodies of the frames.
fn replies(bytes: &[u8]) -> Vec<Bytes> {
    let (framing, mut rest, mut bodies) = (LengthJson::default(), bytes, Vec::new());
    while !rest.is_empty() {
        let step = framing.next(Context::REPLY, rest, &mut Scan::default());
        let length = match step.expect("frames") {
            Step::Frame(extent) => {
                bodies.push(Bytes::copy_from_slice(
                    &rest[extent.head..extent.head + extent.body],
                ));
                extent.length()
            }
            Step::Heartbeat { length } => length,
            Step::More { .. } => panic!("half a frame"),
        };
        rest = &rest[length..];
    }
    bodies
}

fn is_refusal(reply: &[u8]) -> bool {
    millpond::framing::json::as_error_reply(reply).is_some_and(|error| error.code == NOT_TAKEN)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_exclusive_requests_none_is_lost() {
    for max_in_flight in [16, 1].repeat(25) {
        let gate = Gate::closed();
        let (running, port) =
            serve_tcp(Server::builder(gate.handler()).max_in_flight(max_in_flight)).await;
        let client = Client::to(&format!("tcp://127.0.0.1:{port}"))
            .expect("an endpoint")
            .pool(|pool| pool.max_size(8).outage_grace(SECOND / 10))
            .build()
            .expect("a client");
        let client = Arc::new(client);
        let requests = ask(&client, 64);
        until(|| (running.snapshot().handled == 8).then_some(())).await;
        let ended = drain(&running, &gate).await;
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
        let (answered, not_executed) = outcomes(requests).await;
        assert_eq!(answered + not_executed, 64);
        assert_eq!(answered, gate.begun(), "what was executed was answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_closed_its_side_gets_all_replies_and_refusals_in_order() {
    for _ in 0..25 {
        let gate = Gate::closed();
        let (running, port) = serve_tcp(Server::builder(gate.handler())).await;
        let mut client = connect_tcp(port).await;
        let requests: Vec<_> = (0..200)
            .flat_map(|number| frame(number.to_string()))
            .collect();
        client.write(requests).await;
        client.stream.shutdown().await.expect("a half-close");
        until(|| (running.snapshot().handled == 16).then_some(())).await;
        let ended = drain(&running, &gate).await;
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
        let mut bytes = Vec::new();
        client
            .stream
            .read_to_end(&mut bytes)
            .await
            .expect("no reset");
        let replies = replies(&bytes);
        assert_eq!(replies.len(), 200);
        for (number, reply) in replies.iter().enumerate() {
            match number < 32 {
                true => assert_eq!(reply, &number.to_string()),
                false => assert!(is_refusal(reply), "{number}: {reply:?}"),
            }
        }
        assert_eq!(running.snapshot().totals.closed[&Closed::ByPeer], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_cross_the_close_reset_nothing() {
    for _ in 0..25 {
        let gate = Gate::closed();
        let (running, port) = serve_tcp(Server::builder(gate.handler())).await;
        let mut client = connect_tcp(port).await;
        client.write(frame("1").repeat(100)).await;
        until(|| (running.snapshot().handled == 16).then_some(())).await;
        let reading = async {
            // The server has closed its side; the client has read nothing of it, and doesn't know.
            while !client
                .stream
                .ready(Interest::READABLE)
                .await
                .expect("open")
                .is_read_closed()
            {
                tokio::task::yield_now().await;
            }
            // A server that had closed its socket would answer the first with a reset, and the next
            // couldn't be written.
            for _ in 0..3 {
                client.write(frame("2").repeat(100)).await;
            }
            let mut bytes = Vec::new();
            client
                .stream
                .read_to_end(&mut bytes)
                .await
                .expect("no reset");
            assert_eq!(replies(&bytes).len(), 100);
            drop(client);
        };
        let (ended, ()) = tokio::join!(drain(&running, &gate), reading);
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
        assert_eq!(gate.begun(), 32);
        assert_eq!(running.snapshot().totals.closed[&Closed::Drained], 1);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_last_reply_sees_the_end_as_well() {
    // With one in flight at most, the server doesn't read while it answers.
    for max_in_flight in [16, 1].repeat(50) {
        let gate = Gate::closed();
        let (running, port) =
            serve_tcp(Server::builder(gate.handler()).max_in_flight(max_in_flight)).await;
        let client = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut client =
                std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            client.write_all(&frame("1")).expect("a write");
            let mut reply = [0; 21];
            client.read_exact(&mut reply).expect("a reply");
            client.set_nonblocking(true).expect("an option");
            let read = client.read(&mut reply);
            assert!(matches!(read, Ok(0)), "{read:?}");
        });
        until(|| (running.snapshot().handled == 1).then_some(())).await;
        assert_eq!(drain(&running, &gate).await.unanswered, 0);
        client.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_the_end_can_connect_no_more() {
    // Else the kernel would reset the new connection, with the request that it brings, as the
    // listener is closed.
    for _ in 0..100 {
        let gate = Gate::closed();
        let (running, port) = serve_tcp(Server::builder(gate.handler())).await;
        let client = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut client =
                std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            client.write_all(&frame("1")).expect("a write");
            client
                .read_to_end(&mut Vec::new())
                .expect("a reply, and the end");
            std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.kind())
        });
        until(|| (running.snapshot().handled == 1).then_some(())).await;
        drain(&running, &gate).await;
        let again = client.await.expect("no panic");
        assert!(
            matches!(again, Err(ErrorKind::ConnectionRefused)),
            "{again:?}"
        );
    }
}

#[tokio::test]
async fn who_is_in_the_backlog_is_served_and_not_reset() {
    let (running, port) = serve_tcp(Server::builder(raw(async |body: Bytes| Ok(body)))).await;
    let mut clients = Vec::new();
    // Nothing is awaited, so the server has no turn to accept them.
    for _ in 0..20 {
        let mut client =
            std::net::TcpStream::connect(("127.0.0.1", port)).expect("the kernel accepts");
        std::io::Write::write_all(&mut client, &frame("1")).expect("the kernel takes it");
        client.set_nonblocking(true).expect("an option");
        clients.push(TcpStream::from_std(client).expect("a reactor"));
    }
    let reading = async {
        for mut client in clients {
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).await.expect("no reset");
            assert_eq!(replies(&bytes), ["1"]);
        }
    };
    let (ended, ()) = tokio::join!(running.drain(30 * SECOND), reading);
    assert_eq!((ended.forced, ended.unanswered), (0, 0));
}

#[tokio::test]
async fn a_flood_that_is_never_read_costs_a_drain_a_bounded_number_of_refusals() {
    let gate = Gate::closed();
    let site = serve_with(Server::builder(gate.handler())).await;
    let mut client = site.connect().await;
    let sending = tokio::spawn(async move {
        let flood = frame("1").repeat(1_000);
        while client.stream.write_all(&flood).await.is_ok() {}
        client
    });
    until(|| (site.snapshot().handled == 16).then_some(())).await;
    let opening = async {
        draining(&site.running).await;
        gate.open();
    };
    let (ended, ()) = tokio::join!(site.running.drain(2 * SECOND), opening);
    let totals = site.snapshot().totals;
    assert_eq!(ended.forced, 1, "{totals:?}");
    assert!(ended.unanswered > 0);
    assert_eq!(gate.begun(), 32);
    assert!(totals.requests <= 32 + 4_096, "{}", totals.requests);
    drop(sending.await.expect("no panic"));
}

/// `length:`, but without a reply for failures.
struct Mute(LengthJson);

impl Framing for Mute {
    fn next(
        &self,
        direction: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.0.next(direction, bytes, scan)
    }

    fn encode(
        &self,
        direction: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        self.0.encode(direction, body, out)
    }
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_words_for_failures_closes_behind_the_last_reply_and_resets_nothing() {
    let gate = Gate::closed();
    let site =
        serve_with(Server::builder(gate.handler()).framing(Mute(LengthJson::default()))).await;
    let mut client = site.connect().await;
    client.write(frame("1").repeat(100)).await;
    until(|| (site.snapshot().handled == 16).then_some(())).await;
    let clients = async {
        let mut bytes = Vec::new();
        let read = client.stream.read_to_end(&mut bytes).await;
        assert!(read.is_ok(), "{read:?}");
        assert_eq!(replies(&bytes).len(), 32);
        let error = client.stream.try_write(b"x").map_err(|error| error.kind());
        assert_ne!(error, Err(ErrorKind::ConnectionReset), "it still listens");
        drop(client);
    };
    let (ended, ()) = tokio::join!(drain(&site.running, &gate), clients);
    assert_eq!(gate.begun(), 32);
    assert_eq!(ended.forced, 0);
    assert!(ended.unanswered > 0, "they were told by the close alone");
}
