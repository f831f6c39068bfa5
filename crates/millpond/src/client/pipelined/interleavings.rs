//! Every interleaving of what callers and a pipeline's driver do to each other, explored by loom:
//! the machine, the wire and the wakes are the real ones.
//!
//! The driver here polls when its bell has been rung, and never else, as a task does. So a wake
//! that is lost leaves a frame behind, and that is what each scene looks for in the end.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::{
    sync::{Condvar, Mutex as Lock},
    thread,
};
use tokio::time::Instant;

use super::{
    machine::{Begun, Came, Carried, Entry, Id, LeftOut, Limits, Machine, Order},
    writer::{SharedWriter, Socket, Writer, write_as_caller},
};
use crate::{
    client::{deadline::Times, failure::ExchangeFailure},
    framed::Sink,
    pool::{
        Priority,
        unstable::{Mutex, SlotId},
    },
};

/// Requests and their replies are labels; a frame is its label, twice.
struct Labels;

impl Carried for Labels {
    type Reply = u8;
    type Body = u8;
    type Asked = ();
    type Writer = SharedWriter<Tape>;

    fn is_silent((): &()) -> bool {
        false
    }
}

/// What a socket does with bytes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Whole,
    OneByte,
    /// Nothing now; whoever asked is woken, for soon it does.
    Full,
}

/// A socket that keeps what it takes.
struct Tape {
    bytes: Vec<u8>,
    /// What it does with the next ones; then it takes them whole.
    next: VecDeque<Takes>,
    /// The peer answers at once: the driver is woken to read.
    answered: Option<Arc<Bell>>,
}

impl Socket for Tape {
    type Asked = ();

    fn asked(&mut self, (): ()) {}

    fn look(&mut self) -> Result<(), ExchangeFailure> {
        Ok(())
    }
}

impl Sink for Tape {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = match self.next.pop_front().unwrap_or(Takes::Whole) {
            Takes::Whole => bytes.len(),
            Takes::OneByte => 1,
            Takes::Full => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        self.bytes.extend_from_slice(&bytes[..taken]);
        if let Some(bell) = &self.answered {
            bell.ring();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The driver's waker: it knows whether it was rung.
#[derive(Default)]
struct Bell {
    /// Rung since the driver last came; nobody will ring any more.
    heard: Lock<(bool, bool)>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        self.heard.lock().unwrap().0 = true;
        self.changed.notify_one();
    }

    fn falls_silent(&self) {
        self.heard.lock().unwrap().1 = true;
        self.changed.notify_one();
    }

    /// Waits until it is rung. False, if it has fallen silent and wasn't.
    fn rings(&self) -> bool {
        let mut heard = self.heard.lock().unwrap();
        while *heard == (false, false) {
            heard = self.changed.wait(heard).unwrap();
        }
        std::mem::take(&mut heard.0)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// One pipeline, whose peer is known to read frames unless a scene begins otherwise.
#[derive(Clone)]
struct World {
    state: Arc<Mutex<Machine<Labels>>>,
    wire: SharedWriter<Tape>,
    bell: Arc<Bell>,
    id: Id,
    now: Instant,
}

impl World {
    /// A pipeline that has answered these.
    fn after(requests: &[u8], next: &[Takes]) -> Self {
        let now = Instant::now();
        let limits = Limits {
            depth: 8,
            max_bytes: 1 << 10,
            max_waiting: 8,
            max_waiting_bytes: usize::MAX,
            spread: 1,
            shedding: None,
        };
        let mut state = Machine::new(limits, 1);
        let bell = Arc::new(Bell::default());
        let wire: SharedWriter<Tape> = Arc::new(Mutex::new(Writer::new(Tape {
            bytes: Vec::new(),
            next: next.iter().copied().collect(),
            answered: None,
        })));
        for &label in requests {
            let entry = state.begin(
                &[label; 2],
                &soon(now),
                Order::Any(Priority::NORMAL),
                true,
                label,
                None,
            );
            assert!(
                matches!(entry, Entry::Waits { .. }),
                "there is no pipeline yet"
            );
        }
        let slot = SlotId { at: 0, number: 1 };
        let waker = Waker::from(Arc::clone(&bell));
        let id = state.started(slot, Arc::clone(&wire), waker, now);
        state.serve(id, now, &mut LeftOut::nobody());
        state.take(id, &mut Vec::new(), &mut Vec::new());
        let mut told = Vec::new();
        for &label in requests {
            assert_eq!(state.came(id, label, 0, &mut told), Came::Expected);
        }
        assert_eq!(told.len(), requests.len());
        let state = Arc::new(Mutex::new(state));
        World {
            state,
            wire,
            bell,
            id,
            now,
        }
    }

    fn proven(next: &[Takes]) -> Self {
        World::after(&[101, 102], next)
    }

    /// What a caller does. Whether its request has begun; else it waits.
    fn calls(&self, label: u8, alone: bool) -> bool {
        let entry = self.state.lock().begin(
            &[label; 2],
            &soon(self.now),
            Order::Any(Priority::NORMAL),
            alone,
            label,
            None,
        );
        let Entry::Begun { begun, .. } = entry else {
            return false;
        };
        let Begun { write, wake } = begun;
        let left = write.and_then(|(id, wire)| write_as_caller(&self.state, id, &wire));
        for waker in [left, wake].into_iter().flatten() {
            waker.wake();
        }
        true
    }

    fn caller(&self, label: u8, alone: bool) -> thread::JoinHandle<bool> {
        let world = self.clone();
        thread::spawn(move || world.calls(label, alone))
    }

    /// A driver that only writes.
    fn writer(&self) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || {
            while world.bell.rings() {
                world.writes();
            }
        })
    }

    /// A driver that also reads the replies of a peer that gives them at once: what they were.
    fn reader(&self) -> thread::JoinHandle<Vec<u8>> {
        self.wire
            .lock()
            .socket
            .as_mut()
            .expect("it is there")
            .answered = Some(Arc::clone(&self.bell));
        let world = self.clone();
        thread::spawn(move || {
            let mut read = Vec::new();
            while world.bell.rings() {
                world.reads(&mut read);
                world.writes();
            }
            read
        })
    }

    /// What the driver's `write` does, whose parts these are.
    fn writes(&self) {
        let waker = Waker::from(Arc::clone(&self.bell));
        let mut cx = Context::from_waker(&waker);
        let asked = self.state.lock().duties(self.id).write;
        let mut wire = self.wire.lock();
        if !wire.is_done() && wire.poll_rest(&mut cx).is_pending() {
            return;
        }
        if asked {
            let _ = wire.poll_outgoing(&self.state, self.id, &mut cx);
        }
    }

    /// What the driver's `read` does with the replies to the whole frames on the tape.
    fn reads(&self, read: &mut Vec<u8>) {
        let wire = self.wire.lock();
        let socket = wire.socket.as_ref().expect("it is there");
        let mut state = self.state.lock();
        for frame in socket.bytes.chunks_exact(2).skip(read.len()) {
            let mut told = Vec::new();
            let came = state.came(self.id, frame[0], wire.unwritten(), &mut told);
            assert_eq!(came, Came::Expected, "a reply to a frame that was written");
            read.push(frame[0]);
            for told in told {
                assert_eq!(told.reply, told.body, "a caller is told another's reply");
            }
        }
        state.serve(self.id, self.now, &mut LeftOut::nobody());
    }

    /// Everything that was begun is on the tape, once, and in the order in which its replies are
    /// expected.
    fn has_written(&self, begun: &[u8]) {
        let wire = self.wire.lock();
        assert!(wire.is_done(), "something that was taken isn't written");
        let tape = &wire.socket.as_ref().expect("it is there").bytes;
        let mut labels = Vec::new();
        for frame in tape.chunks(2) {
            assert!(frame.len() == 2 && frame[0] == frame[1], "torn: {tape:?}");
            labels.push(frame[0]);
        }
        let mut state = self.state.lock();
        let mut told = Vec::new();
        for &label in &labels {
            assert_eq!(state.came(self.id, label, 0, &mut told), Came::Expected);
        }
        let told: Vec<_> = told
            .into_iter()
            .map(|told| (told.reply, told.body))
            .collect();
        assert!(
            told.iter().all(|(reply, body)| reply == body),
            "the order on the wire isn't the order in which replies are expected: {told:?}"
        );
        labels.sort_unstable();
        assert_eq!(labels, begun, "what has reached the socket");
    }
}

fn soon(now: Instant) -> Times {
    Times {
        began: now,
        deadline: now + Duration::from_secs(1),
    }
}

/// Explores every interleaving: no bound on preemptions, unless `LOOM_MAX_PREEMPTIONS` sets one.
fn explore(scene: impl Fn() + Sync + Send + 'static) {
    loom::model::Builder::new().check(scene);
}

/// Explores those of a larger scene in which running threads are interrupted three times at most:
/// all of them would take hours.
fn explore_most(scene: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(BOUND);
    builder.check(scene);
}

const BOUND: usize = 3;

/// These callers come at the same time, and one driver writes what they leave.
fn callers_meet(alone: &'static [bool], next: &'static [Takes]) {
    explore_most(move || {
        let world = World::proven(next);
        let driver = world.writer();
        let labels: Vec<u8> = (1..).take(alone.len()).collect();
        let (first, others) = labels.split_first().expect("somebody comes");
        let threads: Vec<_> = others
            .iter()
            .zip(&alone[1..])
            .map(|(&label, &alone)| world.caller(label, alone))
            .collect();
        assert!(world.calls(*first, alone[0]), "there is room");
        for thread in threads {
            assert!(thread.join().unwrap(), "there is room");
        }
        world.bell.falls_silent();
        driver.join().unwrap();
        world.has_written(&labels);
    });
}

#[test]
fn two_callers_who_write_meet_the_driver() {
    callers_meet(&[true, true], &[]);
}

#[test]
fn two_callers_meet_a_short_write() {
    callers_meet(&[true, true], &[Takes::OneByte, Takes::Full]);
}

#[test]
fn two_callers_meet_a_socket_that_is_full() {
    callers_meet(&[true, true], &[Takes::Full]);
}

#[test]
fn a_caller_who_writes_meets_one_who_leaves_it_to_the_driver() {
    callers_meet(&[true, false], &[]);
}

#[test]
fn a_caller_who_leaves_it_meets_a_full_socket() {
    callers_meet(&[true, false], &[Takes::Full]);
}

#[test]
fn three_callers_meet_the_driver() {
    callers_meet(&[true, true, false], &[Takes::OneByte, Takes::Full]);
}

#[test]
fn replies_are_read_while_callers_write() {
    explore_most(|| {
        let world = World::proven(&[Takes::OneByte]);
        let driver = world.reader();
        let caller = world.caller(2, true);
        assert!(world.calls(1, true), "there is room");
        assert!(caller.join().unwrap(), "there is room");
        world.bell.falls_silent();
        let mut read = driver.join().unwrap();
        read.sort_unstable();
        assert_eq!(read, [1, 2]);
    });
}

#[test]
fn one_who_waits_for_an_untried_peer_is_served_when_the_first_is_answered() {
    explore(|| {
        let world = World::after(&[], &[]);
        let driver = world.reader();
        let caller = world.caller(2, true);
        world.calls(1, true);
        caller.join().unwrap();
        world.bell.falls_silent();
        let mut read = driver.join().unwrap();
        read.sort_unstable();
        assert_eq!(read, [1, 2]);
        assert!(world.state.lock().waiting() == 0);
    });
}

#[test]
fn a_request_meets_the_end_of_a_quiet_pipeline() {
    explore(|| {
        let world = World::proven(&[]);
        assert!(
            world.state.lock().end_if_quiet(world.id).is_none(),
            "it was just used"
        );
        let caller = world.caller(1, true);
        // What a tick does.
        let ended = {
            let mut wire = world.wire.lock();
            let ended = wire.is_done() && world.state.lock().end_if_quiet(world.id).is_some();
            wire.socket.take_if(|_| ended).map(|socket| socket.bytes)
        };
        let begun = caller.join().unwrap();
        match ended {
            Some(bytes) => assert!(!begun && bytes.is_empty(), "it was begun on what has ended"),
            None => {
                // Whatever the caller couldn't write itself was left to the driver, who was told.
                assert!(begun);
                if world
                    .wire
                    .lock()
                    .socket
                    .as_ref()
                    .expect("it is there")
                    .bytes
                    .is_empty()
                {
                    world.bell.falls_silent();
                    assert!(world.bell.rings(), "the driver wasn't woken");
                    world.writes();
                }
                world.has_written(&[1]);
            }
        }
    });
}
