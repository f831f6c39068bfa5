//! Redis's protocol through a route, with clients that leave at random in the middle of transactions,
//! of waits and of subscriptions: no client ever sees another's reply, state or message. Against a
//! small server of the tests' own; and against redis-server, by `.ci/redis`.

mod store;
#[cfg(feature = "users")]
mod users;
mod value;

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use millpond::{
    client::{Client, Pipelining},
    framing::{Redis, RedisSettings},
    net::{Endpoint, ListenOptions, Listener},
    proxy::{Mode, Route, RouteBuilder},
    server::Running,
};
use store::Server;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{sleep, timeout},
};
use value::{Value, command};

/// Clients of a run.
const CLIENTS: u64 = 40;
/// How long anything may take that needn't wait.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Counts {
    right: AtomicU64,
    /// Clients that left in the middle.
    left: AtomicU64,
    token: AtomicU64,
}

impl Counts {
    fn token(&self) -> String {
        format!("t{}", self.token.fetch_add(1, Relaxed))
    }
}

/// A route to a server.
struct Site {
    route: Route<Redis>,
    running: Running,
    port: u16,
}

impl Site {
    async fn to(port: u16, mode: Mode) -> Self {
        Site::with(port, mode, RedisSettings::default(), |route| route).await
    }

    async fn with(
        port: u16,
        mode: Mode,
        settings: RedisSettings,
        more: impl FnOnce(RouteBuilder<Redis>) -> RouteBuilder<Redis>,
    ) -> Self {
        let client = |lane| {
            let to: Endpoint = format!("127.0.0.1:{port}").parse().expect("an endpoint");
            let client = Client::builder(to)
                .framing(Redis::from(settings.clone()))
                .lane(lane)
                .pool(|pool| pool.max_size(12).acquire_timeout(PATIENCE));
            match mode {
                Mode::Pipeline => client.pipelined(Pipelining::default()),
                _ => client,
            }
            .build()
            .expect("a client")
        };
        let route = Route::builder(client(0)).lane(client(1));
        let route = more(route.max_pins(8)).build();
        let anywhere = "127.0.0.1:0".parse().expect("an endpoint");
        let listener = Listener::bind(&anywhere, ListenOptions::default()).await;
        let running = route.server().serve(listener.expect("a listener"));
        let running = running.expect("a server");
        let Endpoint::Tcp(at) = running.endpoint() else {
            panic!("a port")
        };
        let port = at.port;
        Site {
            route,
            running,
            port,
        }
    }
}

/// A client's connection to the route.
struct Conversation {
    name: String,
    resp3: bool,
    reads: BufReader<OwnedReadHalf>,
    writes: OwnedWriteHalf,
}

/// The client leaves.
struct Leaves;

impl Conversation {
    async fn begin(port: u16, name: &str, resp3: bool) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let (reads, writes) = stream.into_split();
        let mut conversation = Conversation {
            name: name.to_owned(),
            resp3,
            reads: BufReader::new(reads),
            writes,
        };
        if resp3 {
            conversation.send(&["HELLO", "3"]).await;
            let greeting = conversation.next().await;
            assert!(matches!(greeting, Value::Map(_)), "{greeting:?}");
        }
        conversation
    }

    fn key(&self, what: &str) -> String {
        format!("{}:{what}", self.name)
    }

    async fn send(&mut self, words: &[&str]) {
        let sent = self.writes.write_all(&command(words)).await;
        sent.expect("the route takes it");
    }

    async fn next(&mut self) -> Value {
        let next = timeout(PATIENCE, Value::read(&mut self.reads)).await;
        next.expect("a value in time").expect("a value")
    }

    /// Sends a command; its reply must be this. In the middle the client leaves sometimes.
    async fn expect(&mut self, words: &[&str], expected: Value) -> Result<(), Leaves> {
        self.send(words).await;
        if fastrand::u8(..) < 2 {
            return Err(Leaves);
        }
        let reply = self.next().await;
        assert_eq!(reply, expected, "{words:?} of {}", self.name);
        Ok(())
    }

    async fn ok(&mut self, words: &[&str]) -> Result<(), Leaves> {
        self.expect(words, Value::text("OK")).await
    }

    /// A confirmation or a message, as the version has it.
    fn push(&self, values: Vec<Value>) -> Value {
        match self.resp3 {
            true => Value::Push(values),
            false => Value::Array(values),
        }
    }

    async fn act(&mut self, what: u8, port: u16, counts: &Counts) -> Result<(), Leaves> {
        let (token, key) = (counts.token(), self.key("key"));
        let queued = Value::text("QUEUED");
        match what {
            0 => self.expect(&["ECHO", &token], Value::text(&token)).await?,
            1 => {
                self.ok(&["SET", &key, &token]).await?;
                self.expect(&["GET", &key], Value::text(&token)).await?;
            }
            2 => {
                self.ok(&["MULTI"]).await?;
                self.expect(&["SET", &key, &token], queued.clone()).await?;
                self.expect(&["GET", &key], queued.clone()).await?;
                self.expect(&["PING"], queued).await?;
                self.expect(&["EXEC"], Value::texts(&["OK", &token, "PONG"]))
                    .await?;
            }
            3 => {
                self.ok(&["WATCH", &key]).await?;
                let changes = fastrand::bool();
                if changes {
                    self.ok(&["SET", &key, &token]).await?;
                }
                self.ok(&["MULTI"]).await?;
                self.expect(&["SET", &key, &token], queued).await?;
                match changes {
                    true => self.expect(&["EXEC"], Value::Null).await?,
                    false => self.expect(&["EXEC"], Value::texts(&["OK"])).await?,
                }
            }
            4 => {
                self.ok(&["WATCH", &key]).await?;
                self.ok(&["MULTI"]).await?;
                self.expect(&["SET", &key, "never"], queued).await?;
                self.ok(&["DISCARD"]).await?;
            }
            5 => {
                let list = self.key(&token);
                self.expect(&["BLPOP", &list, "0.01"], Value::Null).await?;
                self.expect(&["RPUSH", &list, &token], Value::Number(1))
                    .await?;
                self.expect(&["BLPOP", &list, "0"], Value::texts(&[&list, &token]))
                    .await?;
            }
            6 => {
                let list = self.key(&token);
                self.send(&["BLPOP", &list, "0"]).await;
                let mut other = Conversation::begin(port, &self.name, false).await;
                other.send(&["RPUSH", &list, &token]).await;
                assert_eq!(other.next().await, Value::Number(1));
                assert_eq!(self.next().await, Value::texts(&[&list, &token]));
            }
            7 => self.subscribe(port, &token).await?,
            8 => {
                self.ok(&["CLIENT", "SETNAME", &token]).await?;
                self.expect(&["CLIENT", "GETNAME"], Value::text(&token))
                    .await?;
                self.ok(&["SELECT", "0"]).await?;
            }
            _ => self.burst(&token).await?,
        }
        // Nothing is shifted.
        self.expect(&["ECHO", &token], Value::text(&token)).await?;
        counts.right.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn subscribe(&mut self, port: u16, token: &str) -> Result<(), Leaves> {
        let channels = [self.key("first"), self.key("second")];
        self.send(&["SUBSCRIBE", &channels[0], &channels[1]]).await;
        for (count, channel) in (1..).zip(&channels) {
            let told = vec![
                Value::text("subscribe"),
                Value::text(channel),
                Value::Number(count),
            ];
            assert_eq!(self.next().await, self.push(told));
        }
        let mut other = Conversation::begin(port, &self.name, false).await;
        for channel in &channels {
            other.send(&["PUBLISH", channel, token]).await;
            // Another subscriber of this name may be about to leave.
            assert!(matches!(other.next().await, Value::Number(1..)));
            let message = ["message", channel, token].map(Value::text).into();
            assert_eq!(self.next().await, self.push(message));
        }
        match self.resp3 {
            true => self.expect(&["ECHO", token], Value::text(token)).await?,
            false => {
                let pong = Value::texts(&["pong", ""]);
                self.send(&["PING"]).await;
                let reply = self.next().await;
                assert!(reply == pong || reply == Value::text("PONG"), "{reply:?}");
            }
        }
        if fastrand::u8(..) < 30 {
            return Err(Leaves);
        }
        self.send(&["UNSUBSCRIBE"]).await;
        for count in [1, 0] {
            let (Value::Push(told) | Value::Array(told)) = self.next().await else {
                panic!("it ends");
            };
            assert_eq!(
                (&told[0], &told[2]),
                (&Value::text("unsubscribe"), &Value::Number(count))
            );
        }
        Ok(())
    }

    /// Many commands in one write.
    async fn burst(&mut self, token: &str) -> Result<(), Leaves> {
        let key = self.key("key");
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for number in 0..20 {
            let text = format!("{token}-{number}");
            match number % 5 {
                0 => {
                    requests.extend(command(&["SET", &key, &text]));
                    expected.push(Value::text("OK"));
                    requests.extend(command(&["GET", &key]));
                    expected.push(Value::text(text));
                }
                1 => {
                    requests.extend(command(&["MULTI"]));
                    requests.extend(command(&["ECHO", &text]));
                    requests.extend(command(&["EXEC"]));
                    let reply = Value::texts(&[&text]);
                    expected.extend([Value::text("OK"), Value::text("QUEUED"), reply]);
                }
                2 => {
                    requests.extend(command(&["PING"]));
                    expected.push(Value::text("PONG"));
                }
                3 => {
                    requests.extend(format!("ECHO {text}\r\n").into_bytes());
                    expected.push(Value::text(text));
                }
                _ => {
                    requests.extend(command(&["ECHO", &text]));
                    expected.push(Value::text(text));
                }
            }
        }
        self.writes
            .write_all(&requests)
            .await
            .expect("the route takes it");
        if fastrand::u8(..) < 10 {
            return Err(Leaves);
        }
        for expected in expected {
            assert_eq!(self.next().await, expected, "of {}", self.name);
        }
        Ok(())
    }
}

/// One client after the other of the same name, each of which may leave in the middle.
async fn client(number: u64, port: u16, actions: u64, counts: Arc<Counts>) {
    let mut conversation = None;
    // After one that has left, its messages could come to the next of its name: they have names of
    // their own.
    let mut generation = 0;
    for _ in 0..actions {
        let mut current = match conversation.take() {
            Some(current) => current,
            None => {
                generation += 1;
                let name = format!("c{number}.{generation}");
                Conversation::begin(port, &name, fastrand::bool()).await
            }
        };
        match current.act(fastrand::u8(..10), port, &counts).await {
            Ok(()) => conversation = Some(current),
            Err(Leaves) => {
                counts.left.fetch_add(1, Relaxed);
            }
        }
    }
}

async fn run(port: u16, mode: Mode, actions: u64) {
    let site = Site::to(port, mode).await;
    let counts = Arc::<Counts>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(number, site.port, actions, Arc::clone(&counts))))
        .collect();
    for client in clients {
        client.await.expect("every reply is right");
    }
    let (right, left) = (counts.right.load(Relaxed), counts.left.load(Relaxed));
    println!("{mode:?}: {right} right, {left} left in the middle");
    assert!(right > CLIENTS * actions / 2 && left > 0);
    let ends = async {
        while !site.route.snapshot().pins.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ends)
        .await
        .expect("no connection stays pinned");
    let snapshot = site.route.snapshot();
    assert!(snapshot.totals.pinned > 0);
    for lane in [&snapshot.upstream, &snapshot.other_lanes[0]] {
        assert!(lane.pool.totals.opened > 0, "both versions were spoken");
    }
    site.running.drain(PATIENCE).await;
}

fn actions() -> u64 {
    let told = std::env::var("MILLPOND_ACTIONS").ok();
    told.map_or(25, |told| {
        told.parse().expect("MILLPOND_ACTIONS is a number")
    })
}

async fn of_the_tests(mode: Mode) {
    let server = Server::start().await;
    run(server.port, mode, actions()).await;
    assert_eq!(
        server.store.complaints(),
        [""; 0],
        "no state was ever another's"
    );
}

#[tokio::test]
async fn no_client_sees_another_in_exchange_mode() {
    of_the_tests(Mode::Exchange).await;
}

#[tokio::test]
async fn no_client_sees_another_in_pipeline_mode() {
    of_the_tests(Mode::Pipeline).await;
}

#[tokio::test]
async fn no_client_sees_another_in_session_mode() {
    of_the_tests(Mode::Session).await;
}

/// redis-server on a port of its own, until it is dropped.
struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    async fn start() -> Self {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = probe.local_addr().expect("an address").port();
        drop(probe);
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = RedisServer { child, port };
        let starts = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, starts)
            .await
            .expect("redis-server starts");
        server
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "needs redis-server: .ci/redis runs it"]
async fn no_client_of_redis_server_sees_another() {
    let server = RedisServer::start().await;
    for mode in [Mode::Exchange, Mode::Pipeline, Mode::Session] {
        run(server.port, mode, actions() * 4).await;
    }
}
