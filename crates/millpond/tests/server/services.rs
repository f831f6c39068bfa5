//! Clients and handlers as tower services, with tower's own layers around them.

use std::{
    future::{pending, poll_fn, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    client::{Client, Execution, RequestError},
    framing::{ApplicationCode, Failure},
    server::{Request, Server, json, raw, service},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, timeout::error::Elapsed};

use crate::serving::{Site, serve, serve_with, until};

const SECOND: Duration = Duration::from_secs(1);

fn client(site: &Site) -> Client {
    let client = Client::to(&site.running.endpoint().to_string()).expect("an endpoint");
    client.build().expect("a client")
}

#[tokio::test(start_paused = true)]
async fn a_client_is_a_service_that_is_always_ready_and_whose_clones_share_its_pool() {
    let site = serve(raw(async |body: Bytes| Ok(body))).await;
    let mut client = client(&site);
    poll_fn(|cx| Service::<Bytes>::poll_ready(&mut client, cx))
        .await
        .expect("ready");
    let mut clone = client.clone();
    for number in ["1", "2", "3"] {
        let reply = client.call(Bytes::from(number)).await.expect("a reply");
        assert_eq!(reply, number);
        let reply = clone.call(Bytes::from(number)).await.expect("a reply");
        assert_eq!(reply, number);
    }
    assert_eq!(site.snapshot().totals.accepted, 1);
}

/// The layer drops the call. Its connection goes with it, so its late reply is nobody else's.
#[tokio::test(start_paused = true)]
async fn a_call_that_a_timeout_layer_drops_leaves_no_reply_to_the_next_one() {
    let site = serve(json(async |seconds: u64| -> Result<u64, String> {
        sleep(seconds as u32 * SECOND).await;
        Ok(seconds)
    }))
    .await;
    let mut limited = ServiceBuilder::new()
        .timeout(3 * SECOND)
        .service(client(&site).json_service::<u64, u64>());
    let since = Instant::now();
    let late = limited.ready().await.expect("ready").call(10).await;
    assert!(late.expect_err("it was late").is::<Elapsed>());
    assert_eq!(since.elapsed().as_secs(), 3);
    let reply = limited.ready().await.expect("ready").call(1).await;
    assert_eq!(reply.expect("a reply"), 1);
    assert_eq!(site.snapshot().totals.accepted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_around_a_client_holds() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let site = serve(raw(move |body: Bytes| {
        let opened = Arc::clone(&opened);
        async move {
            opened.acquire().await.expect("it stays open").forget();
            Ok(body)
        }
    }))
    .await;
    let limited = ServiceBuilder::new()
        .concurrency_limit(2)
        .service(client(&site));
    let calls: Vec<_> = (0..5)
        .map(|number: u8| tokio::spawn(limited.clone().oneshot(Bytes::from(vec![b'0' + number]))))
        .collect();
    until(|| (site.snapshot().handled == 2).then_some(())).await;
    sleep(SECOND).await;
    assert_eq!(site.snapshot().handled, 2);
    gate.add_permits(5);
    for (number, call) in (0..).zip(calls) {
        let reply = call.await.expect("no panic").expect("a reply");
        assert_eq!(reply, vec![b'0' + number]);
    }
    assert_eq!(site.snapshot().totals.accepted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_clients_own_deadline_tells_what_became_of_the_request_through_a_service_too() {
    let site = serve(raw(async |_: Bytes| {
        pending::<Result<Bytes, Failure>>().await
    }))
    .await;
    let late = client(&site).oneshot(Bytes::from("1")).await;
    match late.expect_err("no reply") {
        RequestError::TimedOut { execution, .. } => assert_eq!(execution, Execution::Possible),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_with_a_layer_is_a_handler_and_its_failures_are_told() {
    const NO: ApplicationCode = ApplicationCode::new(1).unwrap();
    let answer = service_fn(async |request: Request| match request.body() {
        b"1" => Err(Failure::application(NO, "no")),
        b"2" => pending().await,
        _ => Ok(request.into_body()),
    });
    let limited = ServiceBuilder::new().timeout(SECOND).service(answer);
    let site = serve(service(limited)).await;
    let mut client = site.connect().await;
    assert_eq!(client.ask("0").await, "0");
    assert_eq!(
        client.ask("1").await,
        r#"{"error":{"code":1,"message":"no"}}"#
    );
    assert_eq!(
        client.ask("2").await,
        r#"{"error":{"code":-32603,"message":"request timed out"}}"#
    );
}

/// Counts how often it was called without having been ready.
#[derive(Clone)]
struct Particular {
    readied: bool,
    unready_calls: Arc<AtomicUsize>,
    opened: Arc<Semaphore>,
}

impl Service<Request> for Particular {
    type Response = Bytes;
    type Error = Failure;
    type Future = std::future::Ready<Result<Bytes, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let acquired = std::pin::pin!(self.opened.acquire());
        let opened = std::future::Future::poll(acquired, cx);
        if opened.is_pending() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.readied = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let was_ready = std::mem::take(&mut self.readied);
        self.unready_calls
            .fetch_add(usize::from(!was_ready), SeqCst);
        ready(Ok(request.into_body()))
    }
}

#[tokio::test]
async fn a_service_is_waited_for_until_it_is_ready_within_the_handlers_deadline() {
    let particular = Particular {
        readied: false,
        unready_calls: Arc::default(),
        opened: Arc::new(Semaphore::new(1)),
    };
    let (unready_calls, opened) = (
        Arc::clone(&particular.unready_calls),
        Arc::clone(&particular.opened),
    );
    let builder = Server::builder(service(particular)).handler_deadline(Some(SECOND / 20));
    let site = serve_with(builder).await;
    let mut client = site.connect().await;
    assert_eq!(client.ask("1").await, "1");
    assert_eq!(client.ask("2").await, "2");
    opened.forget_permits(1);
    client.send("3").await;
    assert_eq!(client.code().await, -32002, "it wasn't ready in time");
    assert_eq!(unready_calls.load(SeqCst), 0);
}
