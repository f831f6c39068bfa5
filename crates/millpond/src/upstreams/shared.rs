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

use millpond_words::{Span, Storm};

use super::{
    machine::{Choice, Machine, Place, Probe, Upstream},
    settings::Ejection,
    snapshot::{UpstreamFailure, UpstreamSnapshot},
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
    /// What went wrong at each.
    failures: Vec<Failures>,
}

/// What went wrong at an upstream.
#[derive(Clone, Debug, Default)]
struct Failures {
    last: Option<(Instant, Arc<str>)>,
    /// Those that were told of.
    storm: Storm,
}

impl Upstreams {
    /// Those at these endpoints, with so many connections at the most.
    pub(crate) fn new(upstreams: &[(Arc<str>, u32)]) -> Arc<Self> {
        let max_sizes = upstreams.iter().map(|(_, max_size)| *max_size);
        Arc::new(Upstreams {
            state: Mutex::new(State {
                failures: vec![Failures::default(); upstreams.len()],
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
        self.state.lock().machine.upstreams()[at].is_ejected()
    }

    /// How long a probe may take.
    pub(crate) fn probe_timeout(&self) -> Duration {
        self.state.lock().machine.ejection().probe_timeout
    }

    pub(crate) fn snapshots(&self) -> Vec<UpstreamSnapshot> {
        let (upstreams, failures) = {
            let state = self.state.lock();
            (state.machine.upstreams().to_vec(), state.failures.clone())
        };
        let now = Instant::now();
        let shown = |((endpoint, upstream), failures): ((&Arc<str>, Upstream), Failures)| {
            let since = |then: Instant| now.saturating_duration_since(then);
            UpstreamSnapshot {
                endpoint: Arc::clone(endpoint),
                open: upstream.open,
                connecting: upstream.connecting,
                max_size: (upstream.max_size < u32::MAX).then_some(upstream.max_size),
                failures: upstream.failures,
                is_ejected: upstream.is_ejected(),
                ejected_for: upstream.ejected_since.map(since),
                spared: upstream
                    .spared_until
                    .map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
                last_failure: failures.last.map(|(at, cause)| UpstreamFailure {
                    cause,
                    age: since(at),
                }),
                totals: upstream.totals,
            }
        };
        let known = self.endpoints.iter().zip(upstreams).zip(failures);
        known.map(shown).collect()
    }

    /// A dial has failed, or what it had opened has ended before it was of use.
    fn count(&self, place: Place, how: How, cause: &str) {
        let cause: Arc<str> = cause.into();
        let (now, random) = (Instant::now(), fastrand::u64(..));
        let (ejects, told, sum) = {
            let mut state = self.state.lock();
            let ejects = match how {
                How::Failed | How::Dropped => state.machine.failed(place, now, random),
                How::Lost => state.machine.lost(place, now, random),
                How::Unfit => state.machine.unfit(place, now, random),
            };
            let failures = &mut state.failures[place.at];
            failures.last = Some((now, Arc::clone(&cause)));
            let sum = failures.storm.sum_up(now);
            // What a single one does is the pool's to tell.
            let is_news = !matches!(how, How::Dropped) && self.endpoints.len() > 1;
            let is_told = is_news && failures.storm.happened(now);
            (ejects, is_told, sum)
        };
        self.changed.notify_waiters();
        let endpoint = &*self.endpoints[place.at];
        if ejects {
            tracing::warn!(target: "millpond::net", endpoint, %cause, "an upstream is ejected");
            self.ejected.notify_one();
        } else if let Some(sum) = sum {
            let within = Span(sum.within);
            tracing::warn!(target: "millpond::net", endpoint, %cause, failures = sum.events, %within, "an upstream goes on failing; the cause is the last one's");
        } else if told {
            tracing::warn!(target: "millpond::net", endpoint, %cause, "an upstream has failed");
        } else {
            tracing::debug!(target: "millpond::net", endpoint, %cause, "an upstream has failed");
        }
    }
}

/// How a dial comes to nothing.
#[derive(Clone, Copy)]
enum How {
    /// It has failed.
    Failed,
    /// It was dropped: by its limit, or since the pool closes.
    Dropped,
    /// What it had opened was of no use.
    Lost,
    /// It answers, and can't serve.
    Unfit,
}

/// What is counted when it turns out that a dial came to nothing.
pub(crate) struct Loss {
    upstreams: Arc<Upstreams>,
    place: Place,
}

impl Loss {
    /// It came to nothing.
    pub(crate) fn count(&self, cause: &str) {
        self.upstreams.count(self.place, How::Lost, cause);
    }
}

/// A dial under way, or a probe. A dial that is dropped before it has opened a stream has failed.
pub(crate) struct Dial(Option<Loss>);

impl Dial {
    /// At which upstream.
    pub(crate) fn at(&self) -> usize {
        self.0.as_ref().expect("until it ends").place.at
    }

    /// It has opened this stream, which lies between these addresses.
    pub(crate) fn opened(mut self, stream: Stream, ends: Ends) -> Stream {
        let Loss { upstreams, place } = self.0.take().expect("it ends once");
        if let Some(Address::Ip(_)) = ends.peer {
            upstreams.state.lock().places.insert(ends.clone(), place);
        }
        upstreams.is_open(place);
        stream.accompanied_by(Held {
            upstreams,
            place,
            ends,
            stage: AtomicU8::new(NEW),
        })
    }

    /// It is a probe, which was answered, and whose connection is closed.
    pub(crate) fn answered(mut self) {
        let Loss { upstreams, place } = self.0.take().expect("it ends once");
        upstreams.is_open(place);
        upstreams.state.lock().machine.closed(place);
        upstreams.changed.notify_waiters();
    }

    /// It has failed.
    pub(crate) fn failed(mut self, cause: &str) {
        let Loss { upstreams, place } = self.0.take().expect("it ends once");
        upstreams.count(place, How::Failed, cause);
    }
}

impl Upstreams {
    fn is_open(&self, place: Place) {
        let is_back = self.state.lock().machine.opened(place);
        if is_back {
            tracing::info!(target: "millpond::net", endpoint = %self.endpoints[place.at], "an upstream is back");
        }
        self.changed.notify_waiters();
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        if let Some(Loss { upstreams, place }) = self.0.take() {
            if place.is_probe {
                // The pool closes. A probe that takes too long is told so.
                return upstreams.state.lock().machine.given_up(place);
            }
            upstreams.count(place, How::Dropped, "it took too long, or was given up");
        }
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

    /// Its upstream has answered that it can't serve now.
    pub(crate) fn unfit(&self) {
        let Held {
            upstreams, place, ..
        } = self;
        upstreams.count(*place, How::Unfit, "it answers that it can't serve now");
    }

    /// Its upstream has ended it, while nobody had it.
    pub(crate) fn died(&self) {
        if self.leave_new() {
            self.loss()
                .count("its connection ended before it was of use");
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
