//! What the dials and the streams of several upstreams share. Each dial and each stream holds a
//! place at its upstream, and gives it back as it is dropped, however that comes about.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    machine::{Choice, Machine, Place, Probe},
    settings::Ejection,
    snapshot::UpstreamSnapshot,
};
use crate::{
    net::Stream,
    pool::{Address, Ends},
};

/// Several upstreams.
pub(crate) struct Upstreams {
    endpoints: Vec<Arc<str>>,
    state: Mutex<State>,
    /// An upstream has room again, or is to be probed at another time.
    changed: Notify,
    /// One has been ejected.
    ejected: Notify,
}

struct State {
    machine: Machine,
    /// What lies between two addresses.
    places: HashMap<Ends, Place>,
}

impl Upstreams {
    /// Those at these endpoints, with so many connections at the most.
    pub(crate) fn new(upstreams: &[(Arc<str>, u32)]) -> Arc<Self> {
        let max_sizes = upstreams.iter().map(|(_, max_size)| *max_size);
        Arc::new(Upstreams {
            state: Mutex::new(State {
                machine: Machine::new(max_sizes, Ejection::default()),
                places: HashMap::new(),
            }),
            endpoints: upstreams.iter().map(|(at, _)| Arc::clone(at)).collect(),
            changed: Notify::new(),
            ejected: Notify::new(),
        })
    }

    pub(crate) fn set_ejection(&self, ejection: Ejection) {
        self.state.lock().machine.set_ejection(ejection);
    }

    /// A dial that has failed at those `tried` may go there. Waits until there is room; but only
    /// the first time. `None`: it need go nowhere else.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no place is taken before it ends.
    pub(crate) async fn next(self: &Arc<Self>, tried: &[usize]) -> Option<Dial> {
        loop {
            let changed = self.changed.notified();
            let choice = self.state.lock().machine.choose(tried, Instant::now());
            match choice {
                Choice::Dial(place) => return Some(self.dial(place)),
                Choice::Full if tried.is_empty() => changed.await,
                Choice::Full | Choice::Exhausted => return None,
            }
        }
    }

    /// The next probe of this upstream, when it is due.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no place is taken before it ends.
    pub(crate) async fn next_probe(self: &Arc<Self>, at: usize) -> Dial {
        loop {
            let changed = self.changed.notified();
            let probe = self.state.lock().machine.probe(at, Instant::now());
            match probe {
                Probe::Dial(place) => return self.dial(place),
                Probe::At(then) => drop(timeout_at(then, changed).await),
                Probe::NotNow => changed.await,
            }
        }
    }

    fn dial(self: &Arc<Self>, place: Place) -> Dial {
        Dial(Some(Loss {
            upstreams: Arc::clone(self),
            place,
        }))
    }

    /// Waits until an upstream has been ejected.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what nobody waited for is told to the next who does.
    pub(crate) async fn ejected(&self) {
        self.ejected.notified().await;
    }

    /// Where what lies between these addresses leads to.
    pub(crate) fn of(&self, ends: &Ends) -> Option<usize> {
        match &ends.peer {
            Some(Address::Ip(_)) => Some(self.state.lock().places.get(ends)?.at),
            Some(Address::Named(name)) => self.endpoints.iter().position(|at| at == name),
            _ => None,
        }
    }

    pub(crate) fn is_ejected(&self, at: usize) -> bool {
        self.state.lock().machine.upstreams()[at].is_ejected
    }

    pub(crate) fn snapshots(&self) -> Vec<UpstreamSnapshot> {
        let upstreams = self.state.lock().machine.upstreams().to_vec();
        let now = Instant::now();
        let shown =
            |(endpoint, upstream): (&Arc<str>, super::machine::Upstream)| UpstreamSnapshot {
                endpoint: Arc::clone(endpoint),
                open: upstream.open,
                connecting: upstream.connecting,
                max_size: (upstream.max_size < u32::MAX).then_some(upstream.max_size),
                failures: upstream.failures,
                is_ejected: upstream.is_ejected,
                spared: upstream
                    .spared_until
                    .map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
            };
        self.endpoints.iter().zip(upstreams).map(shown).collect()
    }

    fn tell(&self, place: Place, is_ejected: bool) {
        self.changed.notify_waiters();
        if is_ejected {
            tracing::warn!(target: "millpond::net", endpoint = %self.endpoints[place.at], "an upstream is ejected: it has failed repeatedly");
            self.ejected.notify_one();
        }
    }
}

/// What is counted when it turns out that a dial came to nothing.
pub(crate) struct Loss {
    upstreams: Arc<Upstreams>,
    place: Place,
}

impl Loss {
    /// It came to nothing.
    pub(crate) fn count(&self) {
        let mut state = self.upstreams.state.lock();
        let ejects = state
            .machine
            .lost(self.place, Instant::now(), fastrand::u64(..));
        drop(state);
        self.upstreams.tell(self.place, ejects);
    }
}

/// A dial under way. Dropped before it has opened a stream, it has failed.
pub(crate) struct Dial(Option<Loss>);

impl Dial {
    /// At which upstream.
    pub(crate) fn at(&self) -> usize {
        self.0.as_ref().expect("until it ends").place.at
    }

    /// It has opened this stream, which lies between these addresses.
    pub(crate) fn opened(mut self, stream: Stream, ends: Ends) -> Stream {
        let Loss { upstreams, place } = self.0.take().expect("it ends once");
        let is_back = {
            let mut state = upstreams.state.lock();
            if let Some(Address::Ip(_)) = ends.peer {
                state.places.insert(ends.clone(), place);
            }
            state.machine.opened(place)
        };
        if is_back {
            tracing::info!(target: "millpond::net", endpoint = %upstreams.endpoints[place.at], "an upstream is back");
        }
        upstreams.changed.notify_waiters();
        stream.accompanied_by(Held {
            upstreams,
            place,
            ends,
            stage: AtomicU8::new(NEW),
        })
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        let Some(Loss { upstreams, place }) = self.0.take() else {
            return;
        };
        let random = fastrand::u64(..);
        let now = Instant::now();
        let ejects = upstreams.state.lock().machine.failed(place, now, random);
        upstreams.tell(place, ejects);
    }
}

/// It has never been lent.
const NEW: u8 = 0;
/// It has been lent, or has died: what becomes of it now may be its borrower's doing.
const LENT: u8 = 1;
/// It has served.
const SERVED: u8 = 2;

/// A stream's place at its upstream, which travels with the stream.
pub(crate) struct Held {
    upstreams: Arc<Upstreams>,
    place: Place,
    ends: Ends,
    stage: AtomicU8,
}

impl Held {
    pub(crate) fn at(&self) -> usize {
        self.place.at
    }

    /// It is about to be lent.
    pub(crate) fn lent(&self) {
        if self.stage.load(Ordering::Relaxed) == NEW {
            self.leave_new();
        }
    }

    /// It has been of use.
    pub(crate) fn served(&self) {
        if self.stage.load(Ordering::Relaxed) != SERVED
            && self.stage.swap(SERVED, Ordering::Relaxed) != SERVED
        {
            self.upstreams.state.lock().machine.served(self.place);
            // Dials may go there again.
            self.upstreams.changed.notify_waiters();
        }
    }

    /// Its upstream has ended it, while nobody had it.
    pub(crate) fn died(&self) {
        if self.leave_new() {
            self.loss().count();
        }
    }

    fn leave_new(&self) -> bool {
        let relaxed = Ordering::Relaxed;
        self.stage
            .compare_exchange(NEW, LENT, relaxed, relaxed)
            .is_ok()
    }

    /// What is counted if what prepares it fails.
    pub(crate) fn loss(&self) -> Loss {
        Loss {
            upstreams: Arc::clone(&self.upstreams),
            place: self.place,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.upstreams.state.lock();
        state.machine.closed(self.place);
        // The addresses may be another's by now.
        if state.places.get(&self.ends) == Some(&self.place) {
            state.places.remove(&self.ends);
        }
        drop(state);
        self.upstreams.changed.notify_waiters();
    }
}
