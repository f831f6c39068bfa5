//! Routes whose upstream vanishes, is suspended, reads nothing or can't be dialled. Their clients
//! are on this side of them, and are told in time; nobody is told another's reply, nothing stays
//! pinned, and once the fault is over the same route serves again.
//!
//! The upstream is in a process and a network namespace of its own. Where namespaces aren't allowed
//! these tests are skipped, loudly; `.ci/namespaces` insists on them.

#![cfg(target_os = "linux")]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use millpond::{
    Chain,
    client::{Client, Pipelining},
    framing::LengthJson,
    net::{Endpoint, ListenOptions, Listener},
    proxy::{Mode, Route},
    server::{Running, Server, raw},
};
use millpond_rig::{Console, Result, Rig, Scene, Side, servers};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::sleep,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const BEAT: Duration = Duration::from_millis(200);
/// How long a request may take altogether.
const DEADLINE: Duration = SECOND;
/// For what must come about, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(15);
const HERE: &str = "10.77.0.2:7000";
const MODES: [Mode; 3] = [Mode::Exchange, Mode::Pipeline, Mode::Session];

/// A request that is never answered.
const NEVER: &str = "\"never\"";
/// The longest body.
const LONGEST: usize = 8 << 20;

fn scene(test: &str) -> Scene {
    Scene::of_test(test)
        .server("echo", echo)
        .server("deaf", deaf_to_long_requests)
        .server("never accepts", servers::never_accept)
        .limit(60 * SECOND)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Our server, which sends back what it receives. Argument: its address.
fn echo(console: Console) -> Result {
    let endpoint = console.argument::<SocketAddr>(0)?.into();
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let handler = raw(async |body: Bytes| {
        if body == NEVER {
            std::future::pending::<()>().await;
        }
        Ok(body)
    });
    let listener = runtime.block_on(Listener::bind(&endpoint, ListenOptions::default()))?;
    let running = Server::builder(handler)
        .heartbeat_interval(BEAT)
        .serve(listener)?;
    console.ready(console.argument(0)?);
    console.answer_until_closed(|command| match command {
        "handled" => running.snapshot().handled.to_string(),
        _ => format!("what is {command:?}?"),
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
                let mut body = match digits.parse() {
                    Ok(length @ 0..1_000) => vec![0; length],
                    _ => loop {
                        thread::park(); // and the socket stays open
                    },
                };
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

/// A route on this side.
struct Site {
    route: Route,
    _running: Running,
    path: PathBuf,
}

impl Site {
    async fn of(mode: Mode, to: SocketAddr) -> Result<Site> {
        let path =
            std::env::temp_dir().join(format!("millpond-routes-{}-{mode:?}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let builder = Client::builder(to.into())
            .framing(LengthJson::with_max_body(LONGEST))
            .heartbeat_interval(BEAT)
            .deadline(DEADLINE)
            .pool(|pool| {
                pool.max_size(2)
                    .connect_timeout(500 * MS)
                    .outage_grace(200 * MS)
            });
        let client = match mode {
            Mode::Pipeline => builder.pipelined(Pipelining::default()),
            _ => builder,
        };
        let route = Route::builder(client.build()?)
            .session(mode == Mode::Session)
            .build();
        let front = Endpoint::Unix(path.clone());
        let listener = Listener::bind(&front, ListenOptions::default()).await?;
        let running = route
            .server()
            .max_bytes_per_connection(4 * LONGEST)
            .serve(listener)?;
        Ok(Site {
            route,
            _running: running,
            path,
        })
    }

    /// What a new client is told: the reply, or why there is none. It takes no longer than it may.
    async fn ask(&self, body: &str) -> Result<String> {
        ask(self.path.clone(), body.to_owned()).await
    }

    /// The same, on a task of its own.
    fn asking(&self, body: &str) -> JoinHandle<Result<String>> {
        tokio::spawn(ask(self.path.clone(), body.to_owned()))
    }

    /// Asks until there is a reply. Until then it is told that there is none, and nothing else.
    async fn serves_again(&self) -> Result<Duration> {
        let begun = Instant::now();
        for number in 0.. {
            let body = format!("[{number}]");
            let told = self.ask(&body).await?;
            if told == body {
                break;
            }
            assert!(told.contains("executed"), "{told}");
            assert!(begun.elapsed() < SOON, "it doesn't recover: {told}");
            sleep(10 * MS).await;
        }
        for number in 0..20 {
            let body = format!("[\"again\", {number}]");
            assert_eq!(self.ask(&body).await?, body);
        }
        Ok(begun.elapsed())
    }

    async fn keeps_nothing(&self) -> Result {
        let mode = self.route.mode();
        let what = format!("nothing is lent: {mode:?}");
        until(&what, || {
            let shown = self.route.snapshot();
            let is_lent = mode != Mode::Pipeline && shown.upstream.pool.active > 0;
            Ok(shown.pins.is_empty() && shown.upstream.waiting == 0 && !is_lent)
        })
        .await
    }
}

async fn ask(path: PathBuf, body: String) -> Result<String> {
    let begun = Instant::now();
    let mut stream = UnixStream::connect(path).await?;
    let header = format!("length:{:013}", body.len());
    // Its reply may come before all of it has been taken.
    let (mut reading, mut writing) = stream.split();
    let request = async {
        writing.write_all(header.as_bytes()).await?;
        writing.write_all(body.as_bytes()).await
    };
    let reply = async {
        let mut head = [0; 20];
        reading.read_exact(&mut head).await?;
        let length = String::from_utf8_lossy(&head[7..]).parse();
        let mut told = vec![0; length.map_err(io::Error::other)?];
        reading.read_exact(&mut told).await?;
        String::from_utf8(told).map_err(io::Error::other)
    };
    let (_, told) = tokio::join!(request, reply);
    let took = begun.elapsed();
    // The rest is for a machine that has other things to do.
    assert!(took < DEADLINE + SOON, "{took:?}");
    let told = told?;
    for name in ["10.77", "7000", "ulimit", "sysctl"] {
        assert!(!told.contains(name), "{told}");
    }
    Ok(told)
}

async fn sites(to: SocketAddr) -> Result<Vec<Site>> {
    let mut sites = Vec::new();
    for mode in MODES {
        sites.push(Site::of(mode, to).await?);
    }
    Ok(sites)
}

async fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result {
    let start = Instant::now();
    while !holds()? {
        assert!(start.elapsed() < SOON, "it didn't come about that {what}");
        sleep(5 * MS).await;
    }
    Ok(())
}

/// Each route with a request under way that is never answered; the upstream's server with them.
async fn with_requests_under_way(
    rig: &Rig,
) -> Result<(
    millpond_rig::Server,
    Vec<Site>,
    Vec<JoinHandle<Result<String>>>,
)> {
    let server = rig.start("echo", &[HERE])?;
    let sites = sites(server.address()).await?;
    let mut under_way = Vec::new();
    for site in &sites {
        assert_eq!(site.ask("1").await?, "1");
        under_way.push(site.asking(NEVER));
    }
    until("all are under way", || {
        Ok(server.ask_for_number("handled")? == MODES.len() as u64)
    })
    .await?;
    // The upstream's heartbeats show that it sends some.
    sleep(3 * BEAT).await;
    Ok((server, sites, under_way))
}

/// None of those that were under way hangs, and none is told that it wasn't executed.
async fn are_told(under_way: Vec<JoinHandle<Result<String>>>) -> Result {
    for ended in under_way {
        let told = ended.await??;
        assert!(told.ends_with("it may have been executed\"}}"), "{told}");
    }
    Ok(())
}

#[test]
fn connections_whose_packets_vanish_cost_the_requests_on_them_and_nothing_else() {
    scene("connections_whose_packets_vanish_cost_the_requests_on_them_and_nothing_else").check(
        |rig| {
            runtime()?.block_on(async {
                let (server, sites, under_way) = with_requests_under_way(rig).await?;
                rig.lose_connections(&rig.connections(server.address())?)?;
                for site in &sites {
                    let took = site.serves_again().await?;
                    println!("{:?} serves again after {took:?}", site.route.mode());
                }
                are_told(under_way).await?;
                for site in &sites {
                    site.keeps_nothing().await?;
                }
                Ok(())
            })
        },
    );
}

#[test]
fn a_suspended_upstream_is_told_in_time_and_serves_when_it_goes_on() {
    scene("a_suspended_upstream_is_told_in_time_and_serves_when_it_goes_on").check(|rig| {
        runtime()?.block_on(async {
            let (server, sites, under_way) = with_requests_under_way(rig).await?;
            server.suspend()?;
            // Its kernel accepts connections, and takes requests.
            let asked: Vec<_> = sites
                .iter()
                .flat_map(|site| (0..4).map(|_| site.asking("2")))
                .collect();
            for asked in asked {
                let told = asked.await??;
                assert!(told.contains("executed"), "{told}");
            }
            are_told(under_way).await?;
            for site in &sites {
                site.keeps_nothing().await?;
            }
            server.resume()?;
            for site in &sites {
                let took = site.serves_again().await?;
                println!("{:?} serves again after {took:?}", site.route.mode());
                site.keeps_nothing().await?;
            }
            Ok(())
        })
    });
}

#[test]
fn an_upstream_that_reads_nothing_ends_requests_at_their_deadline_and_others_are_served() {
    scene("an_upstream_that_reads_nothing_ends_requests_at_their_deadline_and_others_are_served")
        .check(|rig| {
            runtime()?.block_on(async {
                let server = rig.start("deaf", &[HERE])?;
                for site in sites(server.address()).await? {
                    let long = "1".repeat(LONGEST);
                    let asking = site.asking(&long);
                    until("the upstream's window is closed", || {
                        let table = Side::Client.run("ss", &["-Htno", "state", "established"])?;
                        Ok(table.contains("timer:(persist"))
                    })
                    .await?;
                    let mut served = 0;
                    while !asking.is_finished() {
                        let told = site.ask("3").await?;
                        // Pipelined, one that was behind it ends with it.
                        let ended = told.ends_with("it may have been executed\"}}");
                        let may_end = site.route.mode() == Mode::Pipeline && ended;
                        assert!(told == "3" || may_end, "{told}");
                        served += usize::from(told == "3");
                    }
                    let told = asking.await??;
                    assert!(told.ends_with("it may have been executed\"}}"), "{told}");
                    println!("{:?}: {served} served beside it", site.route.mode());
                    assert!(served > 0 || site.route.mode() == Mode::Pipeline);
                    site.serves_again().await?;
                    site.keeps_nothing().await?;
                    until("the kernel keeps nothing of it", || {
                        let table = Side::Client.run("ss", &["-Htno", "state", "connected"])?;
                        Ok(!table.contains("timer:(persist"))
                    })
                    .await?;
                }
                Ok(())
            })
        });
}

#[test]
fn dials_that_vanish_and_a_backlog_that_is_full_are_told_as_such() {
    scene("dials_that_vanish_and_a_backlog_that_is_full_are_told_as_such").check(|rig| {
        runtime()?.block_on(async {
            let server = rig.start("echo", &[HERE])?;
            rig.lose_syns(server.address())?;
            let vanishing = sites(server.address()).await?;
            let asked: Vec<_> = vanishing
                .iter()
                .flat_map(|site| (0..4).map(|_| site.asking("4")))
                .collect();
            for asked in asked {
                let told = asked.await??;
                assert!(told.ends_with("it was not executed\"}}"), "{told}");
            }
            rig.lift_rules()?;
            for site in &vanishing {
                site.serves_again().await?;
                site.keeps_nothing().await?;
            }
            // The kernel completes a connection, and then no more.
            let full = rig.start("never accepts", &["10.77.0.2:7001", "0"])?;
            drop(vanishing);
            let full = sites(full.address()).await?;
            let asked: Vec<_> = full
                .iter()
                .flat_map(|site| (0..4).map(|_| site.asking("5")))
                .collect();
            for asked in asked {
                let told = asked.await??;
                assert!(told.contains("executed"), "{told}");
            }
            for site in &full {
                site.keeps_nothing().await?;
            }
            Ok(())
        })
    });
}

#[test]
fn without_ports_for_another_dial_those_that_are_connected_are_served() {
    scene("without_ports_for_another_dial_those_that_are_connected_are_served").check(|rig| {
        runtime()?.block_on(async {
            let server = rig.start("echo", &[HERE])?;
            let sites = sites(server.address()).await?;
            for site in &sites {
                assert_eq!(site.ask("1").await?, "1");
            }
            Side::Client.sysctl("net.ipv4.ip_local_port_range", "40000 40009")?;
            let mut held = Vec::new();
            while let Ok(stream) = TcpStream::connect(server.address()) {
                // It leaves no TIME_WAIT.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                held.push(stream);
            }
            assert!((1..=10).contains(&held.len()), "{}", held.len());
            let mut waiting = Vec::new();
            for site in &sites {
                assert_eq!(site.ask("2").await?, "2");
                if site.route.mode() != Mode::Pipeline {
                    let under_way = site.asking(NEVER);
                    until("it is under way", || {
                        Ok(site.route.snapshot().upstream.pool.active == 1)
                    })
                    .await?;
                    // It would need a second connection.
                    let told = site.ask("3").await?;
                    assert!(told.ends_with("it was not executed\"}}"), "{told}");
                    waiting.push(under_way);
                }
            }
            // The operator is told what clients aren't.
            let fresh = Client::builder(server.address().into())
                .pool(|pool| pool.outage_grace(Duration::ZERO))
                .build()?;
            let error = fresh.exchange(b"1").await.expect_err("there is no port");
            let said = Chain(&error).to_string();
            assert!(said.contains("40000-40009"), "{said}");
            drop(held);
            are_told(waiting).await?;
            for site in &sites {
                site.serves_again().await?;
                site.keeps_nothing().await?;
            }
            Ok(())
        })
    });
}
