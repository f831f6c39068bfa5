//! Every duration that can be set, with nothing, a nanosecond, and the longest that can be written:
//! each is refused by its setting's name, or things go on as they do with any other. Nothing may
//! panic, in whichever task.

#![cfg(unix)]

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    client::{Client, ClientBuilder, Pipelining, RequestError},
    connectors::StreamConnector,
    net::{Dialer, Endpoint, Keepalive, ListenOptions, Listener, PhaseLimits, TcpOptions},
    pool::{self, Backoff, BuildError, Pool, Probe},
    server::{self, ServeError, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use Refused::{Longest, NanosecondAndLongest, Nothing, NothingAndLongest};

const NOTHING: Duration = Duration::ZERO;
const NANOSECOND: Duration = Duration::from_nanos(1);
const LONGEST: Duration = Duration::MAX;
/// Longer than anything here takes: what hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What must become of a setting's values.
#[derive(Clone, Copy)]
enum Refused {
    None,
    Longest,
    NothingAndLongest,
    /// Below a millisecond nothing but zero.
    NanosecondAndLongest,
    Nothing,
}

impl Refused {
    fn covers(self, value: Duration) -> bool {
        match self {
            Refused::None => false,
            Refused::Longest => value == LONGEST,
            Refused::NothingAndLongest => value != NANOSECOND,
            Refused::NanosecondAndLongest => value != NOTHING,
            Refused::Nothing => value == NOTHING,
        }
    }
}

/// The setting's name, if it was refused.
type Tried = Pin<Box<dyn Future<Output = Result<(), &'static str>>>>;

struct Row {
    setting: &'static str,
    refused: Refused,
    attempt: Box<dyn Fn(Duration) -> Tried>,
}

fn row<F, A>(setting: &'static str, refused: Refused, attempt: A) -> Row
where
    F: Future<Output = Result<(), &'static str>> + 'static,
    A: Fn(Duration) -> F + 'static,
{
    Row {
        setting,
        refused,
        attempt: Box::new(move |value| Box::pin(attempt(value))),
    }
}

impl Row {
    /// What is wrong with what becomes of this value.
    async fn attempt(&self, value: Duration) -> Option<String> {
        let began = Instant::now();
        let tried = tokio::task::spawn_local((self.attempt)(value));
        let ended = timeout(PATIENCE, tried).await;
        let expected = match self.refused.covers(value) {
            true => Err(self.setting),
            false => Ok(()),
        };
        let seen = match ended {
            Err(_) => format!("hangs for {:?}", began.elapsed()),
            Ok(Err(_)) => String::from("panicked"),
            Ok(Ok(seen)) if seen != expected => format!("{seen:?}"),
            Ok(Ok(_)) => return None,
        };
        Some(format!(
            "{} = {value:?}: expected {expected:?}, {seen}",
            self.setting
        ))
    }

    /// Other values are refused than nothing and the longest.
    fn refused(self, refused: Refused) -> Row {
        Row { refused, ..self }
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);
/// One table at a time, so that it is known whose panics they are.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Tries every row with the three values.
async fn hold(rows: Vec<Row>) {
    static ONCE: Once = Once::new();
    let _alone = ALONE.lock().await;
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, SeqCst);
            before(info);
        }));
    });
    let panics = PANICS.load(SeqCst);
    let mut wrong = Vec::new();
    // Side by side, for they mostly wait.
    let tasks = tokio::task::LocalSet::new();
    let mut attempts = Vec::new();
    for row in rows.into_iter().map(Rc::new) {
        for value in [NOTHING, NANOSECOND, LONGEST] {
            let row = Rc::clone(&row);
            attempts.push(tasks.spawn_local(async move { row.attempt(value).await }));
        }
    }
    tasks.await;
    for attempt in attempts {
        wrong.extend(attempt.await.expect("what panics is a task of its own"));
    }
    // What their tasks have left to do, they do.
    sleep(Duration::from_millis(5)).await;
    let panics = PANICS.load(SeqCst) - panics;
    if panics > 0 {
        wrong.push(format!("{panics} panics, whose words are above"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A server that answers each request of a single byte, with itself.
async fn echo() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = Endpoint::from(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut beat_or_head = [0; 9];
                while stream.read_exact(&mut beat_or_head).await.is_ok() {
                    if &beat_or_head == b"HeartBeat" {
                        continue;
                    }
                    let mut rest = [0; 12];
                    let _ = stream.read_exact(&mut rest).await;
                    let _ = stream.write_all(&[&beat_or_head[..], &rest].concat()).await;
                }
            });
        }
    });
    endpoint
}

fn setting_of(error: &BuildError) -> &'static str {
    match error {
        BuildError::Setting(error) => error.setting,
        other => panic!("{other}"),
    }
}

/// Lends, gives back, looks at what is idle, and ends.
async fn use_pool(
    configure: impl Fn(pool::PoolBuilder<StreamConnector>) -> pool::PoolBuilder<StreamConnector>,
) -> Result<(), &'static str> {
    for endpoint in [echo().await, Endpoint::from(nobody().await)] {
        let pool = configure(Pool::builder(StreamConnector::from(endpoint)))
            .build()
            .map_err(|error| setting_of(&error))?;
        for _ in 0..2 {
            // A connection, or a typed error.
            if let Ok(Ok(lent)) = timeout(Duration::from_millis(400), pool.acquire()).await {
                lent.release();
            }
            sleep(Duration::from_millis(110)).await;
        }
        let _ = pool.close(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// A port on which nobody listens.
async fn nobody() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

fn of_pool(
    setting: &'static str,
    change: fn(pool::PoolBuilder<StreamConnector>, Duration) -> pool::PoolBuilder<StreamConnector>,
) -> Row {
    row(setting, NothingAndLongest, move |value| {
        use_pool(move |pool| change(pool, value))
    })
}

#[tokio::test]
async fn of_the_pool() {
    let of_backoff = |setting, change: fn(&mut Backoff, Duration)| {
        row(setting, NothingAndLongest, move |value| {
            let mut backoff = Backoff::default();
            change(&mut backoff, value);
            use_pool(move |pool| pool.backoff(backoff))
        })
    };
    hold(vec![
        of_pool("acquire_timeout", |pool, value| pool.acquire_timeout(value)),
        of_pool("connect_timeout", |pool, value| pool.connect_timeout(value)),
        of_pool("check_timeout", |pool, value| pool.check_timeout(value)),
        of_pool("close_timeout", |pool, value| pool.close_timeout(value)),
        of_pool("idle_timeout", |pool, value| pool.idle_timeout(value)),
        of_pool("max_lifetime", |pool, value| pool.max_lifetime(value)),
        of_pool("leak_threshold", |pool, value| pool.leak_threshold(value)),
        of_pool("outage_grace", |pool, value| pool.outage_grace(value)).refused(Longest),
        of_pool("probe (when idle for)", |pool, value| {
            pool.probe(Probe::WhenIdleFor(value))
        }),
        of_backoff("backoff.max", |backoff, value| {
            backoff.max = value;
            backoff.base = backoff.base.min(value.max(NANOSECOND));
        }),
        of_backoff("backoff.base", |backoff, value| backoff.base = value),
        of_backoff("backoff.max_while_waiting", |backoff, value| {
            backoff.max_while_waiting = value
        }),
        of_backoff("backoff.max_when_reached", |backoff, value| {
            backoff.max_when_reached = value
        }),
        row("acquire().timeout", Refused::None, |value| async move {
            let pool = Pool::builder(StreamConnector::from(echo().await)).build();
            let pool = pool.map_err(|error| setting_of(&error))?;
            for _ in 0..2 {
                if let Ok(lent) = pool.acquire().timeout(value).await {
                    lent.release();
                }
            }
            Ok(())
        }),
        row(
            "ready, drain and close",
            Refused::None,
            |value| async move {
                let pool = Pool::builder(StreamConnector::from(echo().await))
                    .min_idle(1)
                    .build();
                let pool = pool.map_err(|error| setting_of(&error))?;
                let _ = pool.ready(value).await;
                let _ = pool.drain(value).await;
                let _ = pool.close(value).await;
                Ok(())
            },
        ),
    ])
    .await;
}

/// A reply, or a typed error; then what is idle is looked at.
async fn exchange(client: &Client, within: Option<Duration>) {
    for _ in 0..2 {
        let request = async {
            match within {
                Some(limit) => client.within(limit).exchange(b"1").await,
                None => client.exchange(b"1").await,
            }
        };
        match request.await {
            Ok(reply) => assert_eq!(reply, "1"),
            Err(
                RequestError::Acquire(_)
                | RequestError::TimedOut { .. }
                | RequestError::Lost { .. },
            ) => {}
            Err(error) => panic!("{error:?}"),
        }
        sleep(Duration::from_millis(60)).await;
    }
}

/// In both modes.
async fn use_client(
    configure: impl Fn(ClientBuilder) -> ClientBuilder,
    within: Option<Duration>,
) -> Result<(), &'static str> {
    for pipelined in [false, true] {
        let mut builder = configure(Client::builder(echo().await));
        if pipelined {
            builder = builder.pipelined(Pipelining::default());
        }
        let client = builder.build().map_err(|error| setting_of(&error))?;
        exchange(&client, within).await;
        sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

fn of_client(setting: &'static str, change: fn(ClientBuilder, Duration) -> ClientBuilder) -> Row {
    row(setting, NothingAndLongest, move |value| {
        use_client(move |client| change(client, value), None)
    })
}

#[tokio::test]
async fn of_the_client() {
    hold(vec![
        of_client("deadline", |client, value| client.deadline(value)).refused(Nothing),
        row("within", Refused::None, |value| {
            use_client(|client| client, Some(value))
        }),
        of_client("heartbeat_interval", |client, value| {
            client.heartbeat_interval(value)
        })
        .refused(NanosecondAndLongest),
        row("acquire_timeout", Refused::NothingAndLongest, |value| {
            use_client(
                move |client| client.pool(move |pool| pool.acquire_timeout(value)),
                None,
            )
        }),
    ])
    .await;
}

async fn use_server<H: server::Handler>(
    builder: server::ServerBuilder<H>,
    drained_within: Duration,
) -> Result<(), &'static str> {
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&any, ListenOptions::default())
        .await
        .expect("a listener");
    let running = match builder.serve(listener) {
        Ok(running) => running,
        Err(ServeError::Setting(error)) => return Err(error.setting),
        Err(error) => panic!("{error}"),
    };
    let client = Client::builder(running.endpoint().clone())
        .build()
        .expect("a client");
    exchange(&client, None).await;
    // A head alone, and the head of a body that doesn't come.
    let raw = StreamConnector::from(running.endpoint().clone());
    let mut dialled = raw.dialer().dial().await.expect("it listens");
    let _ = dialled.stream.write_all(b"length:0000000000010").await;
    sleep(Duration::from_millis(30)).await;
    let _ = running.drain(drained_within).await;
    Ok(())
}

#[tokio::test]
async fn of_the_server() {
    const SOON: Duration = Duration::from_millis(200);
    let of_server = |setting, change: fn(_, Duration) -> _| {
        row(setting, NothingAndLongest, move |value| {
            let echo = Server::builder(server::raw(async |body: Bytes| Ok(body)));
            use_server(change(echo, value), SOON)
        })
    };
    hold(vec![
        of_server("handshake_timeout", |server, value| {
            server.handshake_timeout(value)
        }),
        of_server("header_timeout", |server, value| {
            server.header_timeout(value)
        }),
        of_server("body_timeout", |server, value| server.body_timeout(value)),
        of_server("write_timeout", |server, value| server.write_timeout(value)),
        of_server("idle_timeout", |server, value| {
            server.idle_timeout(Some(value))
        }),
        of_server("handler_deadline", |server, value| {
            server.handler_deadline(Some(value))
        }),
        of_server("heartbeat_interval", |server, value| {
            server.heartbeat_interval(value)
        })
        .refused(NanosecondAndLongest),
    ])
    .await;
}

#[tokio::test]
async fn of_a_drain() {
    fn echo() -> server::ServerBuilder<impl server::Handler> {
        let soon = Duration::from_millis(100);
        Server::builder(server::raw(async |body: Bytes| Ok(body))).body_timeout(soon)
    }
    hold(vec![row("drain", Refused::None, |value| {
        use_server(echo(), value)
    })])
    .await;
}

/// Dials an address, a name, a Unix socket, nobody at all, and a TLS endpoint that speaks no TLS.
async fn dial(configure: impl Fn(Dialer) -> Dialer) -> Result<(), &'static str> {
    let echo = echo().await;
    let text = echo.to_string();
    let port = text.rsplit(':').next().expect("a port").to_owned();
    let folder = std::env::temp_dir().join(format!("millpond-durations-{}", std::process::id()));
    let _ = std::fs::remove_file(&folder);
    let unix = Endpoint::Unix(folder);
    let _listener = Listener::bind(&unix, ListenOptions::default())
        .await
        .expect("a listener");
    let mut endpoints = vec![
        echo,
        format!("localhost:{port}").parse().expect("an endpoint"),
        unix,
        Endpoint::from(nobody().await),
    ];
    if cfg!(feature = "tls") {
        endpoints.push(
            format!("tls://127.0.0.1:{port}")
                .parse()
                .expect("an endpoint"),
        );
    }
    for endpoint in endpoints {
        // A server that speaks no TLS waits for the rest of what it takes for a frame.
        let dialer = configure(Dialer::new(endpoint));
        let _ = timeout(Duration::from_millis(150), dialer.dial()).await;
        let _ = timeout(Duration::from_millis(10), dialer.moved()).await;
    }
    Ok(())
}

#[tokio::test]
async fn of_the_dialler() {
    use Refused::None;
    let limits = |change: fn(&mut PhaseLimits, Duration)| {
        move |value| {
            let mut limits = PhaseLimits::default();
            change(&mut limits, value);
            dial(move |dialer| dialer.limits(limits))
        }
    };
    let tcp = |change: fn(&mut TcpOptions, Duration)| {
        move |value| async move {
            let mut options = TcpOptions::default();
            change(&mut options, value);
            let made = options.clone();
            dial(move |dialer| dialer.tcp_options(made.clone())).await?;
            // It must not only end: it must connect.
            let dialled = Dialer::new(echo().await)
                .tcp_options(options.clone())
                .dial()
                .await;
            dialled.expect("a connection");
            let any = "127.0.0.1:0".parse().expect("an endpoint");
            let listening = ListenOptions::default().tcp_options(options);
            Listener::bind(&any, listening).await.expect("a listener");
            Ok(())
        }
    };
    hold(vec![
        row(
            "limits.resolve",
            None,
            limits(|limits, value| limits.resolve = value),
        ),
        row(
            "limits.connect",
            None,
            limits(|limits, value| limits.connect = value),
        ),
        row(
            "limits.tls",
            None,
            limits(|limits, value| limits.tls = value),
        ),
        row("refresh", None, |value| {
            dial(move |dialer| dialer.refresh(value))
        }),
        row(
            "user_timeout",
            None,
            tcp(|tcp, value| tcp.user_timeout = Some(value)),
        ),
        row(
            "keepalive.idle",
            None,
            tcp(|tcp, idle| {
                tcp.keepalive = Some(Keepalive {
                    idle,
                    ..Keepalive::default()
                })
            }),
        ),
        row(
            "keepalive.interval",
            None,
            tcp(|tcp, interval| {
                tcp.keepalive = Some(Keepalive {
                    interval,
                    ..Keepalive::default()
                })
            }),
        ),
        row("prepare", None, |value| async move {
            let connector = StreamConnector::from(echo().await);
            let connector = connector.prepare(value, |stream| {
                Box::pin(async move {
                    stream.write_all(b"length:00000000000011").await?;
                    stream.read_exact(&mut [0; 21]).await?;
                    Ok(())
                })
            });
            let pool = Pool::builder(connector)
                .build()
                .map_err(|error| setting_of(&error))?;
            let _ = timeout(Duration::from_millis(300), pool.acquire()).await;
            Ok(())
        }),
    ])
    .await;
}
