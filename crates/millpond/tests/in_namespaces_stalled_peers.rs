//! Peers that stall and whose kernel goes on: a process that is suspended, a client that reads no
//! replies, a server that reads no requests. Everything is acknowledged, no packet is lost, and TCP
//! sees nothing wrong.
//!
//! Our client and our server, each in a process and a network namespace of its own. Where
//! namespaces aren't allowed these tests are skipped, loudly; `.ci/namespaces` insists on them.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use millpond::{
    client::{Client, RequestError},
    framing::LengthJson,
    net::{ListenOptions, Listener, TcpOptions},
    pool::{AcquireError, Eviction},
    server::{Closed, Server, json},
};
use millpond_rig::{Console, Flow, Result, Scene, Side, servers};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::sleep,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const BEAT: Duration = Duration::from_millis(300);
/// For what must come about, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(15);
const HERE: &str = "10.77.0.2:7000";

/// The token whose request is never answered.
const NEVER: u64 = 0;
/// The token of those who don't listen for the reply.
const UNHEARD: u64 = 1;
static UNHEARD_REQUESTS: AtomicU64 = AtomicU64::new(0);

/// How many requests of a connection the server handles at once.
const MAX_IN_FLIGHT: usize = 4;
/// What the server's kernel is asked to hold of replies, and the mute clients' of the same; each
/// doubles it.
const SOCKET_BUFFER: u32 = 32 << 10;
/// The length of what those send who don't listen, and of the replies that they don't hear.
const LONG: usize = 16 << 10;

fn scene(test: &str) -> Scene {
    Scene::of_test(test)
        .server("millpond", millpond_server)
        .server("deaf", deaf_to_long_requests)
        .limit(60 * SECOND)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Our server. It sends tokens and texts back. Argument: its address.
fn millpond_server(console: Console) -> Result {
    let endpoint = console.argument::<SocketAddr>(0)?.into();
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let handler = json(async |(token, text): (u64, String)| {
        match token {
            NEVER => std::future::pending().await,
            UNHEARD => drop(UNHEARD_REQUESTS.fetch_add(1, Relaxed)),
            _ => {}
        }
        Ok::<_, String>((token, text))
    });
    let options = ListenOptions::default().tcp_options(TcpOptions {
        send_buffer: Some(SOCKET_BUFFER),
        ..TcpOptions::default()
    });
    let running = Server::builder(handler)
        .heartbeat_interval(BEAT)
        .max_in_flight(MAX_IN_FLIGHT)
        .max_batch(LONG)
        .write_timeout(2 * SECOND)
        .least_rate(1 << 20)
        .handler_deadline(None)
        .serve(runtime.block_on(Listener::bind(&endpoint, options))?)?;
    console.ready(console.argument(0)?);
    console.answer_until_closed(|command| {
        let snapshot = running.snapshot();
        let closed = |reason| {
            snapshot
                .totals
                .closed
                .get(&reason)
                .copied()
                .unwrap_or_default()
        };
        match command {
            "open" => snapshot.open.to_string(),
            "handled" => snapshot.handled.to_string(),
            "unheard" => UNHEARD_REQUESTS.load(Relaxed).to_string(),
            "write timeouts" => closed(Closed::WriteTimeout).to_string(),
            "resident" => resident().to_string(),
            _ => format!("what is {command:?}?"),
        }
    });
    Ok(())
}

/// A server that sends short requests back, and never reads on once a long one has begun. Argument:
/// its address.
fn deaf_to_long_requests(console: Console) -> Result {
    servers::accepting(console, |mut stream| {
        thread::spawn(move || {
            let mut head = [0; 20];
            while stream.read_exact(&mut head).is_ok() {
                let digits = String::from_utf8_lossy(&head[7..]).into_owned();
                let length: usize = digits.parse().unwrap_or(usize::MAX);
                if length > 1_000 {
                    loop {
                        thread::park(); // and the socket stays open
                    }
                }
                let mut body = vec![0; length];
                let reply = stream
                    .read_exact(&mut body)
                    .and_then(|()| stream.write_all(&[&head[..], &body].concat()));
                if reply.is_err() {
                    return;
                }
            }
        });
    })
}

/// How many bytes of memory this process occupies.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("Linux says") << 10
}

/// Waits until `holds`, which must come about soon; how long it took.
async fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    while !holds()? {
        assert!(start.elapsed() < SOON, "it didn't come about that {what}");
        sleep(5 * MS).await;
    }
    Ok(start.elapsed())
}

/// Asks for this token's reply, and sees that it is this token's.
async fn exchange(
    client: &Client,
    token: u64,
    within: Duration,
) -> std::result::Result<(), RequestError> {
    let (came, text): (u64, String) = client.within(within).request(&(token, "xxx")).await?;
    assert_eq!((came, text.as_str()), (token, "xxx"), "another's reply");
    Ok(())
}

#[test]
fn a_suspended_server_is_found_dead_by_its_heartbeats_and_not_by_keepalive() {
    scene("a_suspended_server_is_found_dead_by_its_heartbeats_and_not_by_keepalive")
        .check(|rig| {
            runtime()?.block_on(async {
                let server = rig.start("millpond", &[HERE])?;
                let client = Client::builder(server.address().into())
                    .heartbeat_interval(BEAT)
                    .pool(|pool| pool.max_size(4).min_idle(3))
                    .build()?;
                let missed = || client.pool().snapshot().totals.evicted(Eviction::HeartbeatMissed);
                let waits = tokio::spawn({
                    let client = client.clone();
                    async move { exchange(&client, NEVER, 60 * SECOND).await }
                });
                until("a request is being handled beside three idle connections", || {
                    Ok(client.pool().snapshot().idle == 3 && server.ask_for_number("handled")? == 1)
                })
                .await?;
                let plain = KeptAlive::dial(server.address())?;
                let before = client.pool().connector().heartbeats().received;
                // Each of the four has sent several then.
                until("the server's heartbeats come", || {
                    Ok(client.pool().connector().heartbeats().received >= before + 16)
                })
                .await?;
                assert_eq!(missed(), 0);

                server.suspend()?;
                let suspended = Instant::now();
                until("all four are found dead", || Ok(missed() == 4)).await?;
                let found = suspended.elapsed();
                assert!(found < KeptAlive::TAKES, "that took {found:?}");
                let error = waits.await?.expect_err("nobody answered it");
                assert_eq!(
                    millpond::Chain(&error).to_string(),
                    "the connection was lost before the reply came; it may have been executed: the peer has stopped sending heartbeats"
                );

                let late = calls_in_vain(&client, 500 * MS).await;
                assert!(late < 2 * SECOND, "a caller with half a second was told after {late:?}");

                // Twice as long as the probes take where nobody acknowledges them.
                sleep((2 * KeptAlive::TAKES).saturating_sub(suspended.elapsed())).await;
                assert!(rig.connections(server.address())?.contains(&plain.flow));
                assert_eq!(plain.seen(), ErrorKind::WouldBlock, "keepalive found it dead");

                server.resume()?;
                let resumed = Instant::now();
                while let Err(error) = exchange(&client, 20, 500 * MS).await {
                    assert!(resumed.elapsed() < SOON, "it doesn't recover: {error}");
                }
                let recovered = resumed.elapsed();
                for token in 21..100 {
                    exchange(&client, token, SOON).await?;
                }
                // That it is armed shows when the kernel is silent as well.
                rig.lose_connections(&[plain.flow])?;
                let took = until("keepalive finds a lost connection", || {
                    Ok(plain.seen() == ErrorKind::TimedOut)
                })
                .await?;
                println!(
                    "found dead after {found:?}, told after {late:?}, recovered after {recovered:?}; keepalive after {took:?}"
                );
                Ok(())
            })
        });
}

/// A connection that nothing but TCP's keepalive watches over.
struct KeptAlive {
    stream: TcpStream,
    flow: Flow,
}

impl KeptAlive {
    /// After a second of silence, two probes, a second each.
    const TAKES: Duration = Duration::from_secs(3);

    fn dial(to: SocketAddr) -> io::Result<KeptAlive> {
        let stream = TcpStream::connect(to)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(SECOND)
            .with_interval(SECOND)
            .with_retries(2);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        stream.set_nonblocking(true)?;
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(KeptAlive {
            stream,
            flow: Flow { local, peer },
        })
    }

    /// How reading ends: the server's heartbeats to it come first.
    fn seen(&self) -> ErrorKind {
        loop {
            match (&self.stream).read(&mut [0; 1024]) {
                Ok(0) => return ErrorKind::UnexpectedEof,
                Ok(_) => {}
                Err(error) => return error.kind(),
            }
        }
    }
}

/// Twice as many callers as there is room for, while nobody answers: the longest that one took to
/// be told so.
async fn calls_in_vain(client: &Client, within: Duration) -> Duration {
    let mut callers = JoinSet::new();
    for token in 11..19 {
        let client = client.clone();
        callers.spawn(async move {
            let begun = Instant::now();
            (exchange(&client, token, within).await, begun.elapsed())
        });
    }
    let told = callers.join_all().await;
    for (ended, _) in &told {
        let error = ended.as_ref().expect_err("nobody answers");
        assert!(
            matches!(
                error,
                RequestError::TimedOut { .. }
                    | RequestError::Acquire(AcquireError::TimedOut { .. })
            ),
            "{error}"
        );
    }
    told.into_iter()
        .map(|(_, took)| took)
        .max()
        .unwrap_or_default()
}

/// Callers who go on exchanging, whatever happens beside them, each with tokens of its own.
struct Neighbours {
    callers: JoinSet<std::result::Result<(), RequestError>>,
    exchanges: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
}

impl Neighbours {
    fn of(client: &Client) -> Neighbours {
        let mut neighbours = Neighbours {
            callers: JoinSet::new(),
            exchanges: Arc::default(),
            enough: Arc::default(),
        };
        for caller in 1..=2 {
            let (exchanges, enough) = (neighbours.exchanges.clone(), neighbours.enough.clone());
            let client = client.clone();
            neighbours.callers.spawn(async move {
                let mut token = caller << 32;
                while !enough.load(Relaxed) {
                    exchange(&client, token, SOON).await?;
                    exchanges.fetch_add(1, Relaxed);
                    token += 1;
                }
                Ok(())
            });
        }
        neighbours
    }

    fn exchanges(&self) -> u64 {
        self.exchanges.load(Relaxed)
    }

    /// How many exchanges there are in half a second, once they go on.
    async fn rate(&self) -> Result<u64> {
        let before = self.exchanges();
        until("neighbours exchange", || Ok(self.exchanges() > before + 10)).await?;
        let before = self.exchanges();
        sleep(500 * MS).await;
        Ok(self.exchanges() - before)
    }

    /// None of them failed.
    async fn end(self) -> Result {
        self.enough.store(true, Relaxed);
        for ended in self.callers.join_all().await {
            ended?;
        }
        Ok(())
    }
}

/// A client that sends requests for as long as the socket takes them, and reads nothing.
struct Mute {
    stream: TcpStream,
    offered: usize,
}

impl Mute {
    fn dial(to: SocketAddr) -> io::Result<Mute> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Before it connects: the window's size is agreed upon then.
        socket.set_recv_buffer_size(SOCKET_BUFFER as usize)?;
        socket.connect(&to.into())?;
        socket.set_nonblocking(true)?;
        Ok(Mute {
            stream: socket.into(),
            offered: 0,
        })
    }

    /// Sends what the socket takes. Whether the server has ended it.
    fn talk(&mut self, bytes: &[u8]) -> bool {
        loop {
            match self.stream.write(&bytes[self.offered % bytes.len()..]) {
                Ok(taken) => self.offered += taken,
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

const MUTES: usize = 8;

#[test]
fn clients_that_never_read_are_closed_at_the_write_deadline_and_cost_bounded_memory() {
    scene("clients_that_never_read_are_closed_at_the_write_deadline_and_cost_bounded_memory")
        .check(|rig| {
            runtime()?.block_on(async {
                let server = rig.start("millpond", &[HERE])?;
                let client = Client::builder(server.address().into()).build()?;
                let neighbours = Neighbours::of(&client);
                let undisturbed = neighbours.rate().await?;
                let resident_before = server.ask_for_number("resident")?;

                let request = format!("[{UNHEARD},\"{:y>LONG$}\"]", "");
                let request = format!("length:{:013}{request}", request.len());
                let begun = Instant::now();
                let dial = |_| Mute::dial(server.address());
                let mut mutes = (0..MUTES).map(dial).collect::<io::Result<Vec<_>>>()?;
                let mut talk = || {
                    let ended = mutes.iter_mut().map(|mute| mute.talk(request.as_bytes()));
                    ended.filter(|&ended| ended).count()
                };
                until("their windows are closed, and the server waits", || {
                    talk();
                    Ok(windows_closed(Side::Server)? == MUTES)
                })
                .await?;
                let disturbed = neighbours.rate().await?;
                let mut resident = 0;
                until("all of them are closed", || {
                    resident = resident.max(server.ask_for_number("resident")?);
                    Ok(talk() == MUTES && server.ask_for_number("write timeouts")? == MUTES as u64)
                })
                .await?;
                let took = begun.elapsed();
                let heard = server.ask_for_number("unheard")? / MUTES as u64;
                let grown = resident.saturating_sub(resident_before) >> 10;
                println!(
                    "closed after {took:?}: {heard} requests taken of each, {grown} KiB, neighbours at {undisturbed} and {disturbed} exchanges"
                );
                assert!(took > 2 * SECOND, "that is before the deadline: {took:?}");
                // What is in flight, what leaves, and what two buffers hold that are twice as large as was asked; a kernel may be generous.
                let held = 4 * SOCKET_BUFFER as usize / LONG;
                let bound = (MAX_IN_FLIGHT + 2 + 2 * held) as u64;
                assert!(heard <= bound, "{heard} requests taken of each, and {bound} at most");
                assert!(grown < 8 << 10, "{grown} KiB for {MUTES} clients");
                assert!(disturbed * 10 > undisturbed, "{undisturbed}, and beside them {disturbed}");
                neighbours.end().await?;
                drop(client);
                until("nothing is left of them", || {
                    Ok(server.ask_for_number("open")? == 0 && unsent(Side::Server)? == 0)
                })
                .await?;
                assert_eq!(server.ask_for_number("handled")?, 0);
                Ok(())
            })
        });
}

#[test]
fn requests_to_a_server_that_never_reads_end_at_their_deadlines_and_cost_bounded_memory() {
    const ROUNDS: u64 = 10;
    const LONGEST: usize = 8 << 20;
    scene("requests_to_a_server_that_never_reads_end_at_their_deadlines_and_cost_bounded_memory")
        .check(|rig| {
            runtime()?.block_on(async {
                let server = rig.start("deaf", &[HERE])?;
                let client = Client::builder(server.address().into())
                    .framing(LengthJson::with_max_body(LONGEST))
                    .pool(|pool| pool.max_size(4))
                    .build()?;
                let neighbours = Neighbours::of(&client);
                let undisturbed = neighbours.rate().await?;

                let long = vec![b'1'; LONGEST];
                let (resident_before, mut grown, mut latest) = (resident(), 0, Duration::ZERO);
                let (begun, before) = (Instant::now(), neighbours.exchanges());
                for _ in 0..ROUNDS {
                    let asked = Instant::now();
                    let request = client.within(300 * MS);
                    let (one, other) = tokio::join!(request.exchange(&long), request.exchange(&long));
                    latest = latest.max(asked.elapsed());
                    for ended in [one, other] {
                        let told = ended.expect_err("nobody read it").to_string();
                        assert_eq!(told, "no reply within 300 ms; it may have been executed");
                    }
                    grown = (resident().saturating_sub(resident_before) >> 20).max(grown);
                }
                let halves = begun.elapsed().as_secs_f64() / 0.5;
                let disturbed = ((neighbours.exchanges() - before) as f64 / halves) as u64;
                println!(
                    "told after {latest:?} at most; {grown} MiB more; neighbours at {undisturbed} and {disturbed} exchanges"
                );
                assert!(latest < 2 * SECOND, "one was told after {latest:?}");
                // The two requests that are being sent, and as much again for the allocator; not those of all rounds.
                assert!(grown < 64, "{grown} MiB");
                assert!(disturbed * 10 > undisturbed, "{undisturbed}, and beside them {disturbed}");
                let totals = client.pool().snapshot().totals;
                assert_eq!(totals.evicted(Eviction::UnfinishedExchange), 2 * ROUNDS);
                neighbours.end().await?;
                until("the kernel keeps nothing of them", || {
                    let open = rig.connections(server.address())?.len();
                    Ok(open <= 4 && unsent(Side::Client)? == 0)
                })
                .await?;
                Ok(())
            })
        });
}

/// How many bytes a side's kernel still holds for peers, in connections that their programs may
/// have closed.
fn unsent(side: Side) -> Result<u64> {
    let table = side.run("ss", &["-Htn", "state", "connected"])?;
    // State, received and not read, sent and not acknowledged or not sent at all.
    let column = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    let columns: Option<Vec<_>> = table.lines().map(column).collect();
    Ok(columns
        .ok_or_else(|| format!("ss said {table}"))?
        .iter()
        .sum())
}

/// How many connections of a side have a peer that takes nothing.
fn windows_closed(side: Side) -> Result<usize> {
    let table = side.run("ss", &["-Htno", "state", "established"])?;
    Ok(table
        .lines()
        .filter(|line| line.contains("timer:(persist"))
        .count())
}
