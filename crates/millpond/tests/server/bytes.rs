//! How many bytes a server holds for its clients: the limit for all of them, which requests still
//! get through when it is reached, and that everything is given back.

use std::{future::pending, time::Duration};

use crate::serving::{Site, frame, serve_with, until};
use bytes::Bytes;
use millpond::{
    framing::{Context, Extent, FrameError, Framing, LengthJson, Scan, Step},
    server::{Closed, Handler, Server, ServerBuilder, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

const MIB: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

fn echo() -> impl Handler {
    raw(async |body: Bytes| Ok(body))
}

/// With room for four of the longest requests.
fn small(handler: impl Handler) -> ServerBuilder<impl Handler, LengthJson> {
    Server::builder(handler).max_bytes(4 * MIB)
}

async fn until_nothing_is_held(site: &Site) {
    until(|| (site.snapshot().bytes == 0).then_some(())).await;
    assert_eq!(site.snapshot().waiting_for_bytes, 0);
}

/// Clients that send requests of 1 MiB for as long as they are taken, and read nothing.
async fn flood(site: &Site, clients: usize) -> Vec<JoinHandle<()>> {
    let mut flood = Vec::new();
    for _ in 0..clients {
        let mut client = site.connect().await;
        let wire = frame(vec![b'1'; MIB]);
        flood.push(tokio::spawn(async move {
            while client.stream.write_all(&wire).await.is_ok() {}
        }));
    }
    // The floods are stuck where the server isn't: nothing but time moves.
    sleep(SECOND).await;
    flood
}

#[tokio::test(start_paused = true)]
async fn clients_that_never_read_hold_no_more_than_the_limit_and_small_requests_get_through() {
    let site = serve_with(small(echo())).await;
    let flood = flood(&site, 20).await;
    let snapshot = site.snapshot();
    assert!(snapshot.bytes <= 4 * MIB, "{} bytes", snapshot.bytes);
    assert!(
        snapshot.bytes >= 2 * MIB,
        "{} bytes: it isn't used",
        snapshot.bytes
    );
    assert!(snapshot.waiting_for_bytes > 0 && snapshot.totals.paused_for_bytes > 0);
    let began = Instant::now();
    let mut honest = site.connect().await;
    for length in [1, 100, 3_000] {
        let body = "x".repeat(length);
        assert_eq!(honest.ask(&body).await, body);
    }
    // All at once as well.
    honest.write(frame("2").repeat(10)).await;
    for _ in 0..10 {
        assert_eq!(honest.reply().await, "2");
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert!(site.snapshot().bytes <= 4 * MIB);
    for client in flood {
        client.abort();
    }
    until_nothing_is_held(&site).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_request_gets_its_room_once_those_who_do_not_read_have_been_closed() {
    let site = serve_with(small(echo()).heartbeat_interval(Duration::ZERO)).await;
    let _flood = flood(&site, 8).await;
    let mut honest = site.connect().await;
    let body = "x".repeat(MIB);
    let (mut read, mut write) = honest.stream.split();
    let wire = frame(&body);
    let mut reply = vec![0; wire.len()];
    let exchange = async { tokio::join!(write.write_all(&wire), read.read_exact(&mut reply)) };
    let (written, received) = timeout(600 * SECOND, exchange)
        .await
        .expect("its turn comes");
    written.expect("a request");
    received.expect("a reply");
    assert!(reply == wire);
}

#[tokio::test(start_paused = true)]
async fn requests_that_have_half_arrived_do_not_block_each_other() {
    let site = serve_with(small(echo())).await;
    let wire = frame(vec![b'1'; MIB]);
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = site.connect().await;
        let wire = wire.clone();
        clients.push(tokio::spawn(async move {
            let (begin, rest) = wire.split_at(wire.len() * 3 / 4);
            let (mut read, mut write) = client.stream.split();
            let sending = async {
                write.write_all(begin).await.expect("the beginning");
                sleep(SECOND).await;
                write.write_all(rest).await.expect("the rest");
            };
            let mut reply = vec![0; wire.len()];
            let (received, ()) = tokio::join!(read.read_exact(&mut reply), sending);
            received.expect("a reply");
            assert!(reply == wire);
        }));
    }
    for client in clients {
        timeout(60 * SECOND, client)
            .await
            .expect("in time")
            .expect("an exchange");
    }
    assert!(
        site.snapshot().totals.paused_for_bytes > 0,
        "there was room for all"
    );
    until_nothing_is_held(&site).await;
}

#[tokio::test(start_paused = true)]
async fn one_connection_holds_its_share_and_a_request_longer_than_that() {
    let handler = raw(async |_: Bytes| pending::<Result<Bytes, _>>().await);
    let builder = Server::builder(handler).max_bytes_per_connection(MIB / 2);
    let site = serve_with(builder.handler_deadline(None)).await;
    let mut client = site.connect().await;
    let wire = [frame(vec![b'1'; MIB / 5]).repeat(10), frame("1").repeat(2)].concat();
    let _ = timeout(SECOND, client.stream.write_all(&wire)).await;
    assert_eq!(site.snapshot().handled, 2, "two fit, and the third doesn't");
    drop(client);
    until_nothing_is_held(&site).await;

    let mut long = site.connect().await;
    long.send(vec![b'1'; MIB]).await;
    until(|| (site.snapshot().handled == 1).then_some(())).await;
    assert!(
        site.snapshot().bytes >= MIB - (16 << 10),
        "{}",
        site.snapshot().bytes
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_longer_than_the_limit_is_received_when_nothing_else_is_held() {
    let site = serve_with(small(echo()).framing(LengthJson::with_max_body(8 * MIB))).await;
    let mut neighbour = site.connect().await;
    neighbour.write(&frame(vec![b'1'; MIB])[..MIB / 2]).await;
    until(|| (site.snapshot().bytes > 0).then_some(())).await;
    let mut client = site.connect().await;
    let wire = frame(vec![b'2'; 6 * MIB]);
    let (mut read, mut write) = client.stream.split();
    let mut reply = vec![0; wire.len()];
    let exchange = async { tokio::join!(write.write_all(&wire), read.read_exact(&mut reply)) };
    // The neighbour's time for a body has passed by then.
    let (written, received) = timeout(200 * SECOND, exchange)
        .await
        .expect("its turn comes");
    written.expect("a request");
    received.expect("a reply");
    assert_eq!(site.snapshot().totals.closed[&Closed::BodyTimeout], 1);
    until_nothing_is_held(&site).await;
}

#[tokio::test(start_paused = true)]
async fn replies_that_wait_are_counted_however_long_they_are() {
    let handler = raw(async |_: Bytes| Ok(Bytes::from(vec![b'1'; MIB / 2])));
    let site = serve_with(small(handler).write_timeout(5 * SECOND)).await;
    let mut client = site.connect().await;
    client.write(frame("1").repeat(100)).await;
    sleep(SECOND).await;
    let bytes = site.snapshot().bytes;
    // Those that are under way when the first don't fit any more.
    assert!((MIB / 4..9 * MIB).contains(&bytes), "{bytes}");
    assert_eq!(site.closed().await, Closed::WriteTimeout);
    until_nothing_is_held(&site).await;
}

#[tokio::test(start_paused = true)]
async fn however_a_connection_ends_its_bytes_are_given_back() {
    let handler = raw(async |body: Bytes| {
        assert!(body[0] != b'p', "told to");
        match body[0] {
            b'w' => pending().await,
            _ => Ok(body),
        }
    });
    let builder = small(handler).handler_deadline(Some(SECOND));
    let site = serve_with(builder.body_timeout(SECOND).least_rate(u32::MAX)).await;
    let of = |first: u8| frame([vec![first], vec![b'1'; MIB / 2]].concat());
    let mut panics = site.connect().await;
    panics.write(of(b'p')).await;
    assert_eq!(panics.code().await, -32603);
    until_nothing_is_held(&site).await;
    let mut waits = site.connect().await;
    waits.write(of(b'w')).await;
    assert!(site.snapshot().bytes > 0);
    assert_eq!(waits.code().await, -32002);
    until_nothing_is_held(&site).await;
    let mut goes = site.connect().await;
    goes.write(of(b'w')).await;
    drop(goes);
    until_nothing_is_held(&site).await;
    let mut stops = site.connect().await;
    stops.write(&of(b'w')[..MIB / 3]).await;
    assert_eq!(stops.rest().await, b"");
    until_nothing_is_held(&site).await;
    let mut wrong = site.connect().await;
    wrong.write([&of(b'w')[..], b"no frame"].concat()).await;
    assert_eq!(wrong.code().await, -32002);
    assert_eq!(wrong.rest().await, b"");
    until_nothing_is_held(&site).await;
    let mut forced = site.connect().await;
    forced.write(of(b'w')).await;
    until(|| (site.snapshot().bytes > 0).then_some(())).await;
    site.running.close().await;
    until_nothing_is_held(&site).await;
}

/// Frames of any length that end with a zero byte.
struct Zeros;

impl Framing for Zeros {
    fn max_frame(&self) -> usize {
        usize::MAX
    }

    fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let searched = scan.searched();
        scan.set_searched(bytes.len());
        Ok(match bytes[searched..].iter().position(|&byte| byte == 0) {
            Some(at) => Step::Frame(Extent {
                head: 0,
                body: searched + at,
                tail: 1,
            }),
            None => Step::More { missing: 1 },
        })
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        out.push(0);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_unknown_length_that_hold_all_the_room_are_ended_by_their_deadlines() {
    let site = serve_with(small(echo()).framing(Zeros)).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = site.connect().await;
        clients.push(tokio::spawn(async move {
            let endless = vec![b'1'; MIB];
            while client.stream.write_all(&endless).await.is_ok() {}
        }));
    }
    sleep(SECOND).await;
    let snapshot = site.snapshot();
    assert!(
        snapshot.bytes <= 4 * MIB && snapshot.waiting_for_bytes > 0,
        "{snapshot:?}"
    );
    let mut honest = site.connect().await;
    honest.write(b"short\0").await;
    let mut reply = [0; 6];
    honest.stream.read_exact(&mut reply).await.expect("a reply");
    assert_eq!(&reply, b"short\0");
    for client in clients {
        timeout(3_600 * SECOND, client)
            .await
            .expect("an end")
            .expect("no panic");
    }
    drop(honest);
    until_nothing_is_held(&site).await;
    assert_eq!(site.snapshot().totals.closed[&Closed::BodyTimeout], 6);
}
