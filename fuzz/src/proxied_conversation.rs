//! A whole proxied conversation with both sides hostile: clients of a route, and the upstream behind
//! it, do what the input says. They send requests and replies with tokens, whole and in pieces, and
//! arbitrary bytes; they close, half or wholly, at any time. At the end the upstream is honest, and
//! the clients that are left say that they send nothing more.
//!
//! Whatever happened, each reply that reached a client is one that the upstream sent to that very
//! request, and was delivered once; only whole frames of clients reached the upstream, each at most
//! once; and nothing is left when all clients have gone.
//!
//! The first byte chooses the protocol and the mode. Each step is two bytes: what is done, by whom,
//! whether the route gets to see it before the next, and how much time passes then; and how much is
//! done. Bytes that are to be sent as they are stand behind their step.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use millpond::{
    client::{self, Client, Pipelining},
    framing::Direction,
    proxy::Route,
    server,
};
use tokio::{runtime::Runtime, task::yield_now};

use crate::{
    proxied_wire::{Item, Speech},
    stage,
};

/// Longer inputs would fill the sockets' buffers.
const LONGEST_INPUT: usize = 4 << 10;

/// Clients at a time.
const CLIENTS: usize = 3;

/// How often a task may have to be polled until all that is possible has happened.
const TURNS: usize = 12;

/// How long a route may take to notice that a client has gone; and by when all deadlines are over.
const NOTICED: Duration = Duration::from_millis(300);
const OVER: Duration = Duration::from_secs(31);

/// How often there is something to do at the end until it hangs.
const MOST_ROUNDS: usize = 10_000;

thread_local! {
    static RUNTIME: Runtime = stage::stopped_runtime();
}

/// One end of a connection, and all that went over it.
#[derive(Default)]
struct End {
    /// Nothing once it is closed.
    stream: Option<UnixStream>,
    received: Vec<u8>,
    sent: Vec<u8>,
    /// What is to be sent.
    queued: Vec<u8>,
    /// Of the upstream: from which byte on what was sent, and how many requests had begun to come by
    /// then.
    writes: Vec<(usize, usize)>,
    /// Of the upstream: how many requests have been answered, or will be by what is queued.
    answered: usize,
}

impl End {
    fn new(stream: UnixStream) -> End {
        stream.set_nonblocking(true).expect("a socket");
        End {
            stream: Some(stream),
            ..End::default()
        }
    }

    /// Takes all that has come.
    fn read(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut bytes = [0; 4 << 10];
        loop {
            match stream.read(&mut bytes) {
                Ok(read) if read > 0 => self.received.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    self.stream = None;
                    return;
                }
            }
        }
    }

    /// Sends up to so many bytes of what is queued.
    fn write(&mut self, most: usize) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let bytes = &self.queued[..self.queued.len().min(most)];
        // If the route has closed already, what it was sent is of no account.
        match stream.write(bytes) {
            Ok(written) => self.sent.extend(self.queued.drain(..written)),
            Err(_) => self.stream = None,
        }
    }
}

struct Conversation {
    speech: Speech,
    listener: UnixListener,
    /// All that there were; of the clients' ends, the last with an open stream at each place.
    downs: Vec<End>,
    places: [Option<usize>; CLIENTS],
    ups: Vec<End>,
    tokens: usize,
}

/// Plays one conversation.
///
/// # Panics
///
/// A client got what the upstream didn't send to its request, or the upstream what no client sent,
/// or twice; or something hangs, or is left.
pub fn run(input: &[u8]) {
    let Some((&choice, script)) = input.split_first() else {
        return;
    };
    if script.len() > LONGEST_INPUT {
        return;
    }
    RUNTIME.with(|runtime| {
        let paths = [stage::socket_path(), stage::socket_path()];
        runtime.block_on(play(choice, script, &paths));
        for path in &paths {
            let _ = std::fs::remove_file(path);
        }
    });
}

async fn play(choice: u8, script: &[u8], [front, back]: &[std::path::PathBuf; 2]) {
    let speech = Speech::ALL[usize::from(choice) % Speech::ALL.len()];
    let mode = usize::from(choice) / Speech::ALL.len() % 3;
    let route = route(speech, mode, back);
    let listener = UnixListener::bind(back).expect("a socket");
    listener.set_nonblocking(true).expect("a socket");
    let running = route
        .server()
        .heartbeat_interval(Duration::ZERO)
        .heartbeat_limit(server::HeartbeatLimit {
            burst: u32::MAX,
            per_second: u32::MAX,
        })
        .serve(stage::listener_at(front).await)
        .expect("it can be served");
    let mut conversation = Conversation {
        speech,
        listener,
        downs: Vec::new(),
        places: [None; CLIENTS],
        ups: Vec::new(),
        tokens: 0,
    };
    conversation.follow(script, front).await;
    conversation.end().await;
    // The route notices that the last have gone.
    conversation.pass(NOTICED).await;
    let ended = running.drain(Duration::from_secs(5)).await;
    assert_eq!(
        (ended.forced, ended.unanswered),
        (0, 0),
        "all clients have gone"
    );
    let shown = route.snapshot();
    assert!(shown.pins.is_empty(), "{shown:?}");
    assert_eq!(shown.upstream.waiting, 0, "{shown:?}");
    assert!(mode == 1 || shown.upstream.pool.active == 0, "{shown:?}");
    drop((route, running));
    // The pool's tasks end.
    yield_now().await;
    conversation.judge();
}

fn route(speech: Speech, mode: usize, back: &Path) -> Route<millpond::framing::Protocol> {
    let builder = Client::to(&format!("unix://{}", back.display()))
        .expect("an endpoint")
        .framing(speech.protocol())
        .heartbeat_interval(Duration::ZERO)
        // No time passes here.
        .heartbeat_limit(client::HeartbeatLimit {
            burst: u32::MAX,
            per_second: u32::MAX,
        })
        .pool(move |pool| {
            let size = if mode == 2 { CLIENTS as u32 } else { 2 };
            pool.max_size(size).outage_grace(Duration::ZERO)
        });
    let builder = match mode {
        1 => builder.pipelined(Pipelining::default()),
        _ => builder,
    };
    Route::builder(builder.build().expect("a client"))
        .session(mode == 2)
        .build()
}

impl Conversation {
    /// Does what the input says.
    async fn follow(&mut self, mut script: &[u8], front: &Path) {
        while let Some((&[step, much], rest)) = script.split_first_chunk() {
            script = rest;
            let (who, much) = (usize::from(step >> 3 & 3), usize::from(much));
            match step & 7 {
                // A client sends a request, or a part of it and of what is queued.
                action @ (0 | 1) => {
                    let token = self.token();
                    let request = self.speech.request(token, much / 8);
                    let down = self.down(who, front);
                    down.queued.extend(request);
                    down.write(if action == 0 { usize::MAX } else { much });
                }
                // A client sends what the input says.
                2 => {
                    let (bytes, rest) = script.split_at(script.len().min(much));
                    script = rest;
                    let down = self.down(who, front);
                    down.queued.extend(bytes);
                    down.write(usize::MAX);
                }
                // A client closes: wholly, or its sending side.
                3 => {
                    let down = self.down(who, front);
                    match (&down.stream, much % 4) {
                        (Some(stream), 0) => drop(stream.shutdown(Shutdown::Write)),
                        _ => down.stream = None,
                    }
                }
                // The upstream answers, wholly or in part.
                action @ (4 | 5) => {
                    let token = self.token();
                    if let Some(up) = self.up(who) {
                        let most = if action == 4 { usize::MAX } else { much };
                        self.answer(up, token, most);
                    }
                }
                // The upstream sends what the input says.
                6 => {
                    let (bytes, rest) = script.split_at(script.len().min(much));
                    script = rest;
                    if let Some(up) = self.up(who) {
                        self.ups[up].queued.extend(bytes);
                        self.send(up, usize::MAX);
                    }
                }
                _ => {
                    if let Some(up) = self.up(who) {
                        match (&self.ups[up].stream, much % 4) {
                            (Some(stream), 0) => drop(stream.shutdown(Shutdown::Write)),
                            _ => self.ups[up].stream = None,
                        }
                    }
                }
            }
            if step & 0x20 == 0 {
                self.settle().await;
            }
            match step & 0xc0 {
                0x40 => self.pass(NOTICED).await,
                0xc0 => self.pass(OVER).await,
                _ => {}
            }
        }
    }

    /// All connections to the upstream end, those that follow are honest, and the clients that are
    /// left wait for their replies.
    async fn end(&mut self) {
        self.settle().await;
        for up in &mut self.ups {
            up.stream = None;
        }
        let strange = self.ups.len();
        for stream in self.downs.iter().filter_map(|down| down.stream.as_ref()) {
            let _ = stream.shutdown(Shutdown::Write);
        }
        for round in 0.. {
            if self.downs.iter().all(|down| down.stream.is_none()) {
                break;
            }
            assert!(
                round < MOST_ROUNDS,
                "hung: a client waits, and is told nothing"
            );
            self.pass(Duration::from_millis(10)).await;
            for up in strange..self.ups.len() {
                while self.ups[up].stream.is_some() && self.owed(up).1.is_some() {
                    let token = self.token();
                    self.answer(up, token, usize::MAX);
                }
            }
        }
    }

    fn token(&mut self) -> usize {
        self.tokens += 1;
        self.tokens
    }

    /// The client at this place; a new one, if the last has gone.
    fn down(&mut self, place: usize, front: &Path) -> &mut End {
        let place = place % CLIENTS;
        let last = self.places[place].filter(|&down| self.downs[down].stream.is_some());
        let down = last.unwrap_or_else(|| {
            let stream = UnixStream::connect(front).expect("the route listens");
            self.downs.push(End::new(stream));
            self.downs.len() - 1
        });
        self.places[place] = Some(down);
        &mut self.downs[down]
    }

    /// One of the upstream's ends that are open.
    fn up(&mut self, which: usize) -> Option<usize> {
        self.read();
        let open = (0..self.ups.len()).filter(|&up| self.ups[up].stream.is_some());
        let open: Vec<_> = open.collect();
        let which = which % open.len().max(1);
        open.get(which).copied()
    }

    /// How many requests have begun to come there, and the next that is whole and unanswered.
    fn owed(&self, up: usize) -> (usize, Option<Vec<u8>>) {
        let up = &self.ups[up];
        let (requests, behind, _) = self.speech.all(Direction::Request, &up.received);
        let asking = requests
            .iter()
            .filter(|found| self.speech.awaits_reply(found.frame) != Some(false));
        let asking: Vec<_> = asking.collect();
        let begun = asking.len() + usize::from(behind < up.received.len());
        let next = asking.get(up.answered).map(|found| found.frame.to_vec());
        (begun, next)
    }

    fn answer(&mut self, up: usize, token: usize, most: usize) {
        if let (_, Some(request)) = self.owed(up) {
            self.ups[up].answered += 1;
            let reply = self.speech.reply(&request, token);
            self.ups[up].queued.extend(reply);
        }
        self.send(up, most);
    }

    /// Sends up to so many bytes of what is queued there. What hasn't been asked for by now can't be
    /// a reply to what is asked later.
    fn send(&mut self, up: usize, most: usize) {
        self.ups[up].read();
        let (begun, _) = self.owed(up);
        let up = &mut self.ups[up];
        up.writes.push((up.sent.len(), begun));
        up.write(most);
    }

    /// Takes all that has come.
    fn read(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.ups.push(End::new(stream));
        }
        for end in self.ups.iter_mut().chain(&mut self.downs) {
            end.read();
        }
    }

    async fn pass(&mut self, time: Duration) {
        tokio::time::advance(time).await;
        self.settle().await;
    }

    /// The route does all that it can.
    async fn settle(&mut self) {
        for _ in 0..TURNS {
            yield_now().await;
        }
        self.read();
    }

    fn judge(&self) {
        self.what_reached_the_upstream_was_sent_once();
        self.what_reached_clients_answers_them();
    }

    fn what_reached_the_upstream_was_sent_once(&self) {
        let speech = self.speech;
        let mut left: HashMap<Vec<u8>, usize> = HashMap::new();
        for down in &self.downs {
            let (frames, ..) = speech.all(Direction::Request, &down.sent);
            for found in frames {
                // What is refused ends the connection. Whole requests behind it in the same read may
                // have been passed on by then: their client can't know, as with any that it loses.
                if speech.awaits_reply(found.frame).is_none() {
                    continue;
                }
                *left.entry(speech.unnumbered(found.frame)).or_default() += 1;
            }
        }
        for up in &self.ups {
            let (frames, behind, item) = speech.all(Direction::Request, &up.received);
            for found in frames {
                let frame = speech.unnumbered(found.frame);
                let times = left.get_mut(&frame).filter(|times| **times > 0);
                let shown = String::from_utf8_lossy(&frame);
                *times.unwrap_or_else(|| {
                    panic!("no client sent this, or not as often: {shown:?}")
                }) -= 1;
            }
            let begun = &up.received[behind..];
            assert_eq!(item, Item::More, "no frame: {begun:?}");
            let begun = speech.unnumbered(begun);
            let is_of_a_client = left.keys().any(|frame| frame.starts_with(&begun));
            assert!(begun.is_empty() || is_of_a_client, "no client's: {begun:?}");
        }
    }

    fn what_reached_clients_answers_them(&self) {
        let speech = self.speech;
        let mut exchanges: HashMap<(Vec<u8>, Vec<u8>), usize> = HashMap::new();
        for up in &self.ups {
            for pair in self.answered_by(up) {
                *exchanges.entry(pair).or_default() += 1;
            }
        }
        for down in &self.downs {
            let (requests, ..) = speech.all(Direction::Request, &down.sent);
            let asking = |frame: &[u8]| speech.awaits_reply(frame) != Some(false);
            let mut requests = requests.iter().filter(|found| asking(found.frame));
            let (replies, behind, _) = speech.all(Direction::Reply, &down.received);
            for reply in replies {
                let shown = String::from_utf8_lossy(reply.frame);
                if speech.is_told(reply.frame) {
                    requests.next();
                    continue;
                }
                let request = requests.next();
                let request = request.unwrap_or_else(|| panic!("a reply to nothing: {shown:?}"));
                assert_eq!(
                    speech.id(request.frame),
                    speech.id(reply.frame),
                    "another id"
                );
                let pair = [request.frame, reply.frame].map(|frame| speech.unnumbered(frame));
                let times = exchanges.get_mut(&pair.into());
                let times = times.filter(|times| **times > 0);
                let asked = String::from_utf8_lossy(request.frame);
                *times.unwrap_or_else(|| panic!("{shown:?} is no reply to {asked:?}")) -= 1;
            }
            // The last words: of a reply that the client didn't wait for, or to HTTP.
            let behind = &down.received[behind..];
            let last = behind.is_empty() || behind.starts_with(b"HTTP/1.1 400 ");
            assert!(last, "no reply: {:?}", String::from_utf8_lossy(behind));
        }
    }

    /// Requests and their replies, as an end of the upstream saw them.
    fn answered_by(&self, up: &End) -> Vec<(Vec<u8>, Vec<u8>)> {
        let speech = self.speech;
        let (requests, ..) = speech.all(Direction::Request, &up.received);
        let asking = requests
            .iter()
            .filter(|found| speech.awaits_reply(found.frame) != Some(false));
        let asking: Vec<_> = asking.map(|found| found.frame).collect();
        let (replies, ..) = speech.all(Direction::Reply, &up.sent);
        let mut pairs = Vec::new();
        for (index, reply) in replies.iter().enumerate() {
            let write = up.writes.iter().rfind(|(from, _)| *from <= reply.at);
            let begun = write.expect("it was written").1.min(asking.len());
            // A reply that has an id may overtake others.
            let possible = match speech.id(reply.frame) {
                None => index..(index + 1).min(begun),
                Some(_) => 0..begun,
            };
            for request in asking.get(possible).unwrap_or_default() {
                if speech.id(request) == speech.id(reply.frame) {
                    pairs.push(
                        [request, reply.frame]
                            .map(|frame| speech.unnumbered(frame))
                            .into(),
                    );
                }
            }
        }
        pairs
    }
}
