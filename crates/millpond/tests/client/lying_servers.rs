//! Servers that break the protocol: one that sends a frame that nobody has asked for as soon as it
//! has accepted, one that sends each reply twice, one that swaps replies. Every reply carries its
//! request's token, so a reply that was delivered as right and is another's is counted.
//!
//! A protocol without ids can't tell all of them from an honest server, so the counts are printed
//! (`--nocapture`), and only what can be told is asserted: honest servers are never suspected; what
//! is there before a request is written is never its reply; two frames for one request that come
//! together are no reply to anything; and a shift is found as soon as nothing is owed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use millpond::{
    client::{Client, Pipelining},
    pool::{Backoff, Eviction},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

const REQUESTS: u64 = 96;
const CONNECTIONS: u32 = 4;
/// After connections that died before they had served: a server that lies has many.
const SHORT: Backoff = Backoff {
    base: Duration::from_millis(1),
    max: Duration::from_millis(10),
    max_while_waiting: Duration::from_millis(10),
    max_when_reached: Duration::from_millis(10),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Honest,
    /// A frame at once, before any request.
    Greets,
    /// Each reply twice, in one write.
    Twice,
    /// Each reply twice, in two writes.
    TwiceApart,
    /// Answers all requests that it finds together in the opposite order.
    Reverses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Exclusive,
    Pipelined,
}

fn frame(body: &[u8]) -> Vec<u8> {
    [format!("length:{:013}", body.len()).as_bytes(), body].concat()
}

/// Takes the whole requests out of what was received.
fn requests(received: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while received.len() >= 20 {
        let length = std::str::from_utf8(&received[7..20]).expect("digits");
        let length: usize = length.parse().expect("a number");
        if received.len() < 20 + length {
            break;
        }
        all.push(received[20..20 + length].to_vec());
        received.drain(..20 + length);
    }
    all
}

impl Server {
    async fn serve(self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        if self == Server::Greets {
            stream.write_all(&frame(b"\"welcome\"")).await?;
        }
        let (mut received, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        loop {
            let mut all = requests(&mut received);
            if self == Server::Reverses {
                all.reverse();
            }
            for reply in all.iter().map(|body| frame(body)) {
                match self {
                    Server::Twice => stream.write_all(&reply.repeat(2)).await?,
                    Server::TwiceApart => {
                        stream.write_all(&reply).await?;
                        stream.write_all(&reply).await?;
                    }
                    _ => stream.write_all(&reply).await?,
                }
            }
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                arrived => received.extend_from_slice(&buffer[..arrived]),
            }
        }
    }

    /// On a thread of its own, as servers are.
    fn start(self) -> std::net::SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(self.serve(stream));
                }
            });
        });
        address
    }
}

#[derive(Default)]
struct Counts {
    right: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    right: u64,
    wrong: u64,
    failed: u64,
    /// Connections that were ended for what came unasked.
    unsolicited: u64,
    opened: u64,
    /// Once nothing was owed for a while, a request got its own reply or none.
    recovered: bool,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>3} right {:>3} wrong {:>3} failed, {:>3} of {:>3} connections evicted for unsolicited bytes, recovered: {}",
            self.right, self.wrong, self.failed, self.unsolicited, self.opened, self.recovered
        )
    }
}

fn client(server: Server, mode: Mode) -> Client {
    let client = Client::to(&format!("tcp://{}", server.start())).expect("an endpoint");
    let client = client
        .heartbeat_interval(Duration::ZERO)
        .deadline(Duration::from_secs(2))
        .pool(|pool| pool.max_size(CONNECTIONS).backoff(SHORT));
    let client = match mode {
        Mode::Exclusive => client,
        Mode::Pipelined => client.pipelined(Pipelining::default()),
    };
    client.build().expect("a client")
}

async fn ask(client: &Client, token: u64, counts: &Counts) {
    let count = match client.request::<_, u64>(&token).await {
        Ok(reply) if reply == token => &counts.right,
        Ok(_) | Err(millpond::client::RequestError::Reply(_)) => &counts.wrong,
        Err(_) => &counts.failed,
    };
    count.fetch_add(1, Relaxed);
}

async fn load(server: Server, mode: Mode, callers: u64) -> Seen {
    let client = client(server, mode);
    let counts = Arc::new(Counts::default());
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (client, counts) = (client.clone(), Arc::clone(&counts));
        tasks.spawn(async move {
            for token in (0..REQUESTS).filter(|token| token % callers == caller) {
                ask(&client, token, &counts).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    // One that greets does so on the next connection as well.
    let recovered = server != Server::Greets && recovers(&client).await;
    let totals = client.pool().snapshot().totals;
    Seen {
        right: counts.right.load(Relaxed),
        wrong: counts.wrong.load(Relaxed),
        failed: counts.failed.load(Relaxed),
        unsolicited: totals.evicted(Eviction::UnsolicitedBytes),
        opened: totals.opened,
        recovered,
    }
}

/// Whether a request gets no other's reply any more. What is still on its way must first arrive and
/// be seen, which may take a busy machine a while: so this asks again, each time after a rest.
async fn recovers(client: &Client) -> bool {
    for token in 1_000..1_500 {
        sleep(Duration::from_millis(10)).await;
        let alone = Counts::default();
        ask(client, token, &alone).await;
        if alone.wrong.load(Relaxed) == 0 {
            return true;
        }
    }
    false
}

fn runtime(workers: usize) -> Runtime {
    let runtime = match workers {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build(),
    };
    runtime.expect("a runtime")
}

fn each(mut see: impl FnMut(usize, Mode, u64)) {
    for workers in [1, 2] {
        for mode in [Mode::Exclusive, Mode::Pipelined] {
            for callers in [1, 16] {
                see(workers, mode, callers);
            }
        }
    }
}

fn play(server: Server, workers: usize, mode: Mode, callers: u64) -> Seen {
    runtime(workers).block_on(async {
        let ended = timeout(Duration::from_secs(60), load(server, mode, callers)).await;
        ended.expect("every request ends")
    })
}

#[test]
fn an_honest_server_is_never_suspected() {
    each(|workers, mode, callers| {
        let seen = play(Server::Honest, workers, mode, callers);
        assert_eq!(
            (seen.right, seen.unsolicited, seen.recovered),
            (REQUESTS, 0, true),
            "{workers} {mode:?} {callers}: {seen}"
        );
    });
}

// A test for each, so that they run side by side.

#[test]
fn who_is_greeted_has_an_outcome_for_every_request() {
    is_found(Server::Greets);
}

#[test]
fn a_shift_by_replies_sent_twice_is_found_as_soon_as_nothing_is_owed() {
    is_found(Server::Twice);
}

#[test]
fn a_shift_by_replies_sent_twice_and_apart_is_found_as_soon_as_nothing_is_owed() {
    is_found(Server::TwiceApart);
}

#[test]
fn a_shift_by_replies_in_the_opposite_order_is_found_as_soon_as_nothing_is_owed() {
    is_found(Server::Reverses);
}

fn is_found(server: Server) {
    each(|workers, mode, callers| {
        let seen = play(server, workers, mode, callers);
        println!("{server:?}, {workers} workers, {mode:?}, {callers:>2} callers: {seen}");
        assert_eq!(seen.right + seen.wrong + seen.failed, REQUESTS);
        if server != Server::Greets {
            assert!(
                seen.recovered,
                "{server:?} {workers} {mode:?} {callers}: {seen}"
            );
        }
    });
}
