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
    client::{Client, Pipelining, Script},
    connectors::{Ejection, StreamConnector},
    framing::{Redis, RedisSettings},
    net::{Dialer, Endpoint, ListenOptions, Listener},
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
        // In a session each client has a connection to itself.
        let max_size = if mode == Mode::Session { 100 } else { 12 };
        let client = |lane| {
            let to: Endpoint = format!("127.0.0.1:{port}").parse().expect("an endpoint");
            let client = Client::builder(to)
                .framing(Redis::from(settings.clone()))
                .lane(lane)
                .pool(move |pool| pool.max_size(max_size).acquire_timeout(PATIENCE));
            match mode {
                Mode::Pipeline => client.pipelined(Pipelining::default()),
                _ => client,
            }
            .build()
            .expect("a client")
        };
        let route = Route::builder(client(0)).lane(client(1));
        let route = match mode {
            Mode::Session => route.session(true),
            _ => route.max_pins(8),
        };
        Site::of(more(route).build()).await
    }

    async fn of(route: Route<Redis>) -> Self {
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
    told.map_or(12, |told| {
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

#[tokio::test]
async fn all_messages_come_in_order_however_many_there_are() {
    let server = Server::start().await;
    for mode in [Mode::Exchange, Mode::Pipeline, Mode::Session] {
        let site = Site::to(server.port, mode).await;
        for resp3 in [false, true] {
            let mut subscriber = Conversation::begin(site.port, "a", resp3).await;
            subscriber.send(&["SUBSCRIBE", "a:news"]).await;
            subscriber.next().await;
            let mut publisher = Conversation::begin(server.port, "b", false).await;
            let mut all = Vec::new();
            for number in 0..800 {
                all.extend(command(&["PUBLISH", "a:news", &number.to_string()]));
            }
            publisher
                .writes
                .write_all(&all)
                .await
                .expect("the server takes it");
            for number in 0..800 {
                let message = ["message", "a:news", &number.to_string()].map(Value::text);
                assert_eq!(
                    subscriber.next().await,
                    subscriber.push(message.into()),
                    "{mode:?}"
                );
            }
        }
        site.running.drain(PATIENCE).await;
    }
}

#[tokio::test]
async fn who_leaves_while_a_command_waits_takes_nothing() {
    let server = Server::start().await;
    for mode in [Mode::Exchange, Mode::Pipeline, Mode::Session] {
        let site = Site::to(server.port, mode).await;
        for (number, has_more_to_say) in [false, true].into_iter().enumerate() {
            let list = format!("a:{mode:?}{number}");
            let mut waits = Conversation::begin(site.port, "a", false).await;
            waits.send(&["BLPOP", &list, "0"]).await;
            if has_more_to_say {
                waits.send(&["ECHO", "behind"]).await;
            }
            let waiting = async |expected| {
                while server.store.waiting() != expected {
                    sleep(Duration::from_millis(2)).await;
                }
            };
            timeout(PATIENCE, waiting(1)).await.expect("it waits");
            drop(waits);
            timeout(PATIENCE, waiting(0))
                .await
                .expect("nobody waits for it any more");
            let mut other = Conversation::begin(site.port, "a", false).await;
            other.send(&["RPUSH", &list, "text"]).await;
            assert_eq!(other.next().await, Value::Number(1));
            other.send(&["BLPOP", &list, "1"]).await;
            assert_eq!(
                other.next().await,
                Value::texts(&[&list, "text"]),
                "{mode:?}"
            );
        }
        site.running.drain(PATIENCE).await;
    }
}

#[tokio::test]
async fn what_waits_for_ever_ends_with_its_pin() {
    let server = Server::start().await;
    let endpoint: Endpoint = format!("127.0.0.1:{}", server.port)
        .parse()
        .expect("an endpoint");
    let client = Client::builder(endpoint).framing(Redis::default()).build();
    let route = Route::builder(client.expect("a client"))
        .max_pin_age(Some(Duration::from_millis(50)))
        .build();
    let site = Site::of(route).await;
    let mut client = Conversation::begin(site.port, "a", false).await;
    client.send(&["BLPOP", "a:list", "0"]).await;
    let told = client.next().await;
    let is_told = |text: &str| {
        text.starts_with("ERR millpond: ") && text.ends_with("it may have been executed")
    };
    assert!(
        matches!(&told, Value::Error(text) if is_told(text)),
        "{told:?}"
    );
    assert_eq!(
        Value::read(&mut client.reads).await,
        None,
        "and the client is closed"
    );
    assert_eq!(site.route.snapshot().totals.pins_expired, 1);
    site.running.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_left_until_it_is_none() {
    for mode in [Mode::Exchange, Mode::Pipeline] {
        let servers = [Server::start().await, Server::start().await];
        let upstreams = servers.each_ref().map(|server| {
            let endpoint: Endpoint = format!("127.0.0.1:{}", server.port).parse().expect("one");
            Dialer::new(endpoint)
        });
        let ejection = Ejection {
            pause: Duration::from_millis(20),
            max_pause: Duration::from_millis(20),
            ..Ejection::default()
        };
        let client = Client::over(StreamConnector::among(upstreams).ejection(ejection))
            .framing(Redis::default())
            .probe(Script::new().step("ROLE", "*1\r\n$6\r\nmaster"))
            .pool(|pool| pool.max_size(4));
        let client = match mode {
            Mode::Pipeline => client.pipelined(Pipelining::default()),
            _ => client,
        };
        let site = Site::of(Route::to(client.build().expect("a client"))).await;
        let ask = async |expected: Value| {
            let mut client = Conversation::begin(site.port, "a", false).await;
            client.send(&["SET", "a:key", "text"]).await;
            client.next().await == expected
        };
        for _ in 0..20 {
            assert!(ask(Value::text("OK")).await);
        }
        servers[0].store.becomes_a_replica(true);
        // Each of its connections may say so once.
        let mut readonly = 0;
        let mut right = 0;
        while right < 100 {
            assert!(readonly <= 4, "{mode:?}: {readonly}");
            match ask(Value::text("OK")).await {
                true => right += 1,
                false => {
                    readonly += 1;
                    right = 0;
                }
            }
        }
        servers[1].store.becomes_a_replica(true);
        servers[0].store.becomes_a_replica(false);
        let moves_back = async { while !ask(Value::text("OK")).await {} };
        timeout(PATIENCE, moves_back)
            .await
            .expect("it is probed, and taken again");
        site.running.drain(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_transaction_that_gets_no_connection_runs_nothing() {
    let server = Server::start().await;
    for mode in [Mode::Exchange, Mode::Pipeline] {
        let endpoint: Endpoint = format!("127.0.0.1:{}", server.port).parse().expect("one");
        let client = Client::builder(endpoint)
            .framing(Redis::default())
            .pool(|pool| pool.max_size(2).acquire_timeout(Duration::from_millis(50)));
        let client = match mode {
            Mode::Pipeline => client.pipelined(Pipelining::default()),
            _ => client,
        };
        let route = Route::builder(client.build().expect("a client")).max_pins(1);
        let site = Site::of(route.build()).await;
        let mut has_it = Conversation::begin(site.port, "a", false).await;
        has_it.send(&["WATCH", "a:key"]).await;
        assert_eq!(has_it.next().await, Value::text("OK"));
        let mut other = Conversation::begin(site.port, "b", false).await;
        let key = format!("b:{mode:?}");
        let incr = command(&["INCR", &key]);
        let all = [
            &command(&["MULTI"])[..],
            &incr,
            &incr,
            &command(&["EXEC"]),
            &incr,
        ]
        .concat();
        other
            .writes
            .write_all(&all)
            .await
            .expect("the route takes it");
        let told = other.next().await;
        let is_told = |text: &str| text.ends_with("it was not executed");
        assert!(
            matches!(&told, Value::Error(text) if is_told(text)),
            "{told:?}"
        );
        assert_eq!(other.next().await, Value::text("QUEUED"));
        assert_eq!(other.next().await, Value::text("QUEUED"));
        let aborted = other.next().await;
        assert!(matches!(&aborted, Value::Error(text) if text.starts_with("EXECABORT ")));
        assert_eq!(
            other.next().await,
            Value::Number(1),
            "nothing was executed before"
        );
        // A drain waits for its clients to close their side.
        drop((has_it, other));
        site.running.drain(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_pin_to_a_server_that_cannot_serve_is_given_up() {
    let server = Server::start().await;
    server.store.becomes_a_replica(true);
    let site = Site::to(server.port, Mode::Exchange).await;
    let mut client = Conversation::begin(site.port, "a", false).await;
    client.send(&["BLPOP", "a:list", "0"]).await;
    let told = client.next().await;
    assert!(
        matches!(&told, Value::Error(text) if text.starts_with("READONLY ")),
        "{told:?}"
    );
    client.send(&["GET", "a:key"]).await;
    assert_eq!(client.next().await, Value::Null);
    assert!(site.route.snapshot().pins.is_empty());
    drop(client);
    site.running.drain(PATIENCE).await;
}

#[tokio::test]
async fn nothing_behind_a_farewell_is_executed() {
    let server = Server::start().await;
    let site = Site::to(server.port, Mode::Pipeline).await;
    for (number, farewell) in ["QUIT\r\n", "ECHO \"x\r\n"].into_iter().enumerate() {
        for before in ["", "ECHO before\r\n"] {
            let mut client = Conversation::begin(site.port, "a", false).await;
            let key = format!("a:{number}");
            let behind = command(&["SET", &key, "executed"]);
            let all = [before.as_bytes(), farewell.as_bytes(), &behind].concat();
            client
                .writes
                .write_all(&all)
                .await
                .expect("the route takes it");
            let ends = async { while Value::read(&mut client.reads).await.is_some() {} };
            timeout(PATIENCE, ends).await.expect("it ends");
            let mut other = Conversation::begin(site.port, "a", false).await;
            other.send(&["GET", &key]).await;
            assert_eq!(other.next().await, Value::Null, "{farewell}");
        }
    }
    site.running.drain(PATIENCE).await;
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let server = Server::start().await;
    let site = Site::to(server.port, Mode::Pipeline).await;
    for bytes in ["*1\r\nfoo\r\n", "*0\r\n", "\r\n", "*2\r\n$3\r\nGETxx"] {
        let mut client = Conversation::begin(site.port, "a", false).await;
        let all = [&command(&["ECHO", "before"])[..], bytes.as_bytes()].concat();
        client
            .writes
            .write_all(&all)
            .await
            .expect("the route takes it");
        assert_eq!(client.next().await, Value::text("before"));
        let told = client.next().await;
        assert!(
            matches!(&told, Value::Error(text) if text.starts_with("ERR Protocol error: ")),
            "{told:?}"
        );
        assert_eq!(Value::read(&mut client.reads).await, None, "and it ends");
    }
    site.running.drain(PATIENCE).await;
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
    for mode in [Mode::Exchange, Mode::Pipeline, Mode::Session] {
        // Names begin anew with each run.
        let server = RedisServer::start().await;
        run(server.port, mode, actions() * 4).await;
    }
}
