//! A small server of Redis's protocol: texts, lists that can be waited for, transactions, watched
//! keys and subscriptions, in both versions. It does what redis-server does with these, and complains
//! of whoever leaves a state on a connection to another client.
//!
//! Keys and channels belong to clients here: `client:what`. While a connection has a state, only the
//! client may use it that the state is of.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::{Notify, mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::{Duration, Instant, timeout_at},
};

use super::value::Value;

/// What all connections share.
#[derive(Default)]
pub(crate) struct Store {
    data: Mutex<Data>,
    /// Notified whenever a list has grown.
    grown: Notify,
    is_replica: AtomicBool,
    /// How many commands wait.
    waiting: AtomicUsize,
    /// What a connection was asked that is another's.
    complaints: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Data {
    texts: BTreeMap<String, String>,
    lists: BTreeMap<String, VecDeque<String>>,
    /// How often each key has changed.
    changes: BTreeMap<String, u64>,
    subscribers: BTreeMap<String, BTreeMap<u64, mpsc::UnboundedSender<(String, String)>>>,
    connections: u64,
}

/// A server that accepts until it is dropped, with which its connections end.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) store: Arc<Store>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let store = Arc::<Store>::default();
        let shared = Arc::clone(&store);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                connections.spawn(Connection::serve(Arc::clone(&shared), stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Server {
            port,
            store,
            accepting,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Store {
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().expect("no panic").clone()
    }

    pub(crate) fn becomes_a_replica(&self, is: bool) {
        self.is_replica.store(is, SeqCst);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    fn publish(&self, channel: &str, message: &str) -> Value {
        let data = self.data.lock().expect("no panic");
        let subscribers = data.subscribers.get(channel);
        let sent = subscribers.map_or(0, |subscribers| {
            for subscriber in subscribers.values() {
                let _ = subscriber.send((channel.to_owned(), message.to_owned()));
            }
            subscribers.len()
        });
        Value::Number(sent as i64)
    }
}

/// One connection's state.
struct Connection {
    store: Arc<Store>,
    number: u64,
    resp3: bool,
    queued: Option<Vec<Vec<String>>>,
    watched: BTreeMap<String, u64>,
    channels: BTreeSet<String>,
    /// Whose the state is.
    owner: Option<String>,
    messages: mpsc::UnboundedSender<(String, String)>,
}

impl Connection {
    async fn serve(store: Arc<Store>, stream: TcpStream) {
        let (messages, mut incoming) = mpsc::unbounded_channel();
        let number = {
            let mut data = store.data.lock().expect("no panic");
            data.connections += 1;
            data.connections
        };
        let mut connection = Connection {
            store,
            number,
            resp3: false,
            queued: None,
            watched: BTreeMap::new(),
            channels: BTreeSet::new(),
            owner: None,
            messages,
        };
        let (reads, mut writes) = stream.into_split();
        let (mut requests, mut ended) = requests(BufReader::new(reads));
        loop {
            let mut out = Vec::new();
            tokio::select! {
                request = requests.recv() => {
                    let Some(request) = request else { break };
                    let words: Vec<&str> = request.iter().map(String::as_str).collect();
                    let replies = tokio::select! {
                        replies = connection.answer(&words) => replies,
                        // As redis-server, it leaves whoever has left.
                        _ = &mut ended => break,
                    };
                    for reply in replies {
                        reply.put(connection.resp3, &mut out);
                    }
                }
                Some((channel, message)) = incoming.recv() => {
                    let message = ["message", &channel, &message].map(Value::text);
                    Value::Push(message.into()).put(connection.resp3, &mut out);
                }
            }
            if writes.write_all(&out).await.is_err() {
                break;
            }
        }
        connection.unsubscribe_all();
    }

    /// Whoever uses a connection with a state must be whose it is.
    fn check_owner(&mut self, words: &[&str]) {
        let Some(client) = words.iter().find_map(|word| Some(word.split_once(':')?.0)) else {
            return;
        };
        match &self.owner {
            Some(owner) if owner != client => {
                let text = format!("{words:?} on a connection of {owner}'s");
                self.store.complaints.lock().expect("no panic").push(text);
            }
            _ => self.owner = Some(client.to_owned()),
        }
    }

    async fn answer(&mut self, words: &[&str]) -> Vec<Value> {
        self.check_owner(words);
        let replies = self.execute(words).await;
        let is_plain = self.queued.is_none() && self.watched.is_empty() && self.channels.is_empty();
        if is_plain {
            self.owner = None;
        }
        replies
    }

    async fn execute(&mut self, words: &[&str]) -> Vec<Value> {
        let name = words[0].to_ascii_uppercase();
        if let Some(queued) = &mut self.queued {
            match name.as_str() {
                "EXEC" => return vec![self.exec()],
                "DISCARD" => {
                    self.queued = None;
                    self.watched.clear();
                    return vec![Value::text("OK")];
                }
                _ => {
                    queued.push(words.iter().map(ToString::to_string).collect());
                    return vec![Value::text("QUEUED")];
                }
            }
        }
        match (name.as_str(), &words[1..]) {
            ("MULTI", []) => {
                self.queued = Some(Vec::new());
                vec![Value::text("OK")]
            }
            ("WATCH", keys) => {
                let data = self.store.data.lock().expect("no panic");
                for key in keys {
                    let changes = data.changes.get(*key).copied().unwrap_or_default();
                    self.watched.insert((*key).to_owned(), changes);
                }
                vec![Value::text("OK")]
            }
            ("UNWATCH", []) => {
                self.watched.clear();
                vec![Value::text("OK")]
            }
            ("HELLO", [version]) => {
                self.resp3 = *version == "3";
                vec![Value::Map(vec![
                    Value::text("proto"),
                    Value::text(*version),
                ])]
            }
            ("BLPOP", _) if self.store.is_replica.load(SeqCst) => vec![Value::Error(String::from(
                "READONLY You can't write against a read only replica.",
            ))],
            ("BLPOP", [key, seconds]) => {
                let seconds: f64 = seconds.parse().expect("a number");
                vec![self.wait_for(key, seconds).await]
            }
            ("SUBSCRIBE", channels) => channels
                .iter()
                .map(|channel| self.subscribe(channel))
                .collect(),
            ("UNSUBSCRIBE", []) => {
                let channels: Vec<_> = self.channels.iter().cloned().collect();
                match channels.is_empty() {
                    true => vec![self.confirmed("unsubscribe", Value::Null)],
                    false => channels
                        .iter()
                        .map(|channel| self.unsubscribe(channel))
                        .collect(),
                }
            }
            ("UNSUBSCRIBE", channels) => channels
                .iter()
                .map(|channel| self.unsubscribe(channel))
                .collect(),
            _ => vec![plain(&self.store, words)],
        }
    }

    fn exec(&mut self) -> Value {
        let queued = self.queued.take().unwrap_or_default();
        let watched = std::mem::take(&mut self.watched);
        let is_changed = {
            let data = self.store.data.lock().expect("no panic");
            let now = |key: &String| data.changes.get(key).copied().unwrap_or_default();
            watched.iter().any(|(key, changes)| now(key) != *changes)
        };
        if is_changed {
            return Value::Null;
        }
        let results = queued.iter().map(|words| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            plain(&self.store, &words)
        });
        Value::Array(results.collect())
    }

    async fn wait_for(&self, key: &str, seconds: f64) -> Value {
        let forever = Duration::from_secs(3_600);
        let time = match seconds {
            0.0 => forever,
            seconds => Duration::from_secs_f64(seconds),
        };
        let until = Instant::now() + time;
        let _waiting = Waiting::begin(&self.store);
        loop {
            let grown = self.store.grown.notified();
            {
                let mut data = self.store.data.lock().expect("no panic");
                if let Some(text) = data.lists.get_mut(key).and_then(VecDeque::pop_front) {
                    return Value::texts(&[key, &text]);
                }
            }
            if timeout_at(until, grown).await.is_err() {
                return Value::Null;
            }
        }
    }

    fn subscribe(&mut self, channel: &str) -> Value {
        self.channels.insert(channel.to_owned());
        let messages = self.messages.clone();
        let mut data = self.store.data.lock().expect("no panic");
        let subscribers = data.subscribers.entry(channel.to_owned()).or_default();
        subscribers.insert(self.number, messages);
        drop(data);
        self.confirmed("subscribe", Value::text(channel))
    }

    fn unsubscribe(&mut self, channel: &str) -> Value {
        self.channels.remove(channel);
        let mut data = self.store.data.lock().expect("no panic");
        if let Some(subscribers) = data.subscribers.get_mut(channel) {
            subscribers.remove(&self.number);
        }
        drop(data);
        self.confirmed("unsubscribe", Value::text(channel))
    }

    fn confirmed(&self, what: &str, channel: Value) -> Value {
        let count = Value::Number(self.channels.len() as i64);
        Value::Push(vec![Value::text(what), channel, count])
    }

    fn unsubscribe_all(&mut self) {
        for channel in std::mem::take(&mut self.channels) {
            self.unsubscribe(&channel);
        }
    }
}

/// A command that waits.
struct Waiting<'s>(&'s Store);

impl<'s> Waiting<'s> {
    fn begin(store: &'s Store) -> Self {
        store.waiting.fetch_add(1, SeqCst);
        Waiting(store)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// What no connection has a part in.
fn plain(store: &Store, words: &[&str]) -> Value {
    let name = words[0].to_ascii_uppercase();
    if let ("PUBLISH", [channel, message]) = (name.as_str(), &words[1..]) {
        return store.publish(channel, message);
    }
    let mut data = store.data.lock().expect("no panic");
    match (name.as_str(), &words[1..]) {
        ("ROLE", []) if store.is_replica.load(SeqCst) => Value::texts(&["slave"]),
        ("ROLE", []) => Value::texts(&["master"]),
        ("SET", _) if store.is_replica.load(SeqCst) => Value::Error(String::from(
            "READONLY You can't write against a read only replica.",
        )),
        ("PING", []) => Value::text("PONG"),
        ("ECHO", [text]) => Value::text(*text),
        ("GET", [key]) => data.texts.get(*key).map_or(Value::Null, Value::text),
        ("SET", [key, text]) => {
            data.texts.insert((*key).to_owned(), (*text).to_owned());
            *data.changes.entry((*key).to_owned()).or_default() += 1;
            Value::text("OK")
        }
        ("INCR", [key]) => {
            let text = data
                .texts
                .entry((*key).to_owned())
                .or_insert_with(|| String::from("0"));
            let number = text.parse::<i64>().expect("a number") + 1;
            *text = number.to_string();
            Value::Number(number)
        }
        ("RPUSH", [key, text]) => {
            let list = data.lists.entry((*key).to_owned()).or_default();
            list.push_back((*text).to_owned());
            let length = list.len();
            store.grown.notify_waiters();
            Value::Number(length as i64)
        }
        _ => Value::Error(format!(
            "ERR the tests' server knows no such command: {words:?}"
        )),
    }
}

/// The requests of a connection as they come, each read while another may be waited for.
/// The second is told when there will be no more.
fn requests(
    mut from: BufReader<OwnedReadHalf>,
) -> (mpsc::Receiver<Vec<String>>, oneshot::Receiver<()>) {
    let (to, requests) = mpsc::channel(4_096);
    let (ends, ended) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let _ends = ends;
        while let Some(Value::Array(words)) = Value::read(&mut from).await {
            let words = words.into_iter().map(|word| match word {
                Value::Text(text) => text,
                other => panic!("a word was expected: {other:?}"),
            });
            if to.send(words.collect()).await.is_err() {
                break;
            }
        }
    });
    (requests, ended)
}
