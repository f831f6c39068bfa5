//! Checks what a client says who it is: the steps, in their order, and what is told and counted.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::available_parallelism,
    time::Duration,
};

use millpond_words::{Span, Storm, Sum};
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::{
    Users,
    failures::{Failures, Source},
    hash::SecretHash,
    remembered::Remembered,
};
use crate::{
    framing::{Credentials, Failure},
    proxy::snapshot::{Counters, count},
};

/// At most as many secrets are hashed at a time, however many processors there are: each takes what
/// its hash says of memory.
const MAX_HASHING: usize = 4;

/// The failure of this number closes the connection.
const LAST_FAILURE: u32 = 5;

/// What is shown of a name that a client has sent.
const SHOWN: usize = 64;

/// A client, before and after its logins.
#[derive(Debug, Default)]
pub(in super::super) struct Guest {
    peer: Option<SocketAddr>,
    failures: AtomicU32,
}

impl Guest {
    pub(in super::super) fn new(peer: Option<SocketAddr>) -> Self {
        Guest {
            peer,
            failures: AtomicU32::new(0),
        }
    }
}

/// The logins at a route.
pub(in super::super) struct Logins {
    /// The route's name in the log.
    route: String,
    /// In the order of their names.
    users: Vec<(String, SecretHash)>,
    remembered: Remembered,
    failures: Mutex<Failures>,
    /// A permit for each secret that may be hashed at a time.
    hashing: Arc<Semaphore>,
    storms: Mutex<[Storm; 2]>,
    hashed: AtomicU64,
}

/// How many counts there are for names that no user has, by a keyed digest of the name.
const STRANGERS: u64 = 256;

/// Why a client isn't logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejection {
    Wrong,
    TooMany,
    Busy,
}

impl Logins {
    pub(in super::super) fn new(route: &str, users: Users) -> Arc<Self> {
        let users: Vec<_> = users.hashes.into_iter().collect();
        let processors = available_parallelism().map_or(1, |count| count.get());
        Arc::new(Logins {
            route: route.to_owned(),
            remembered: Remembered::new(users.len()),
            users,
            failures: Mutex::default(),
            hashing: Arc::new(Semaphore::new((processors / 2).clamp(1, MAX_HASHING))),
            storms: Mutex::default(),
            hashed: AtomicU64::new(0),
        })
    }

    /// How many secrets were hashed.
    pub(in super::super) fn hashed(&self) -> u64 {
        self.hashed.load(Relaxed)
    }

    /// Whether these are right; `wrong` is told if they aren't. Waits for no longer than `limit`
    /// until it is its turn to be hashed.
    pub(in super::super) async fn log_in(
        self: &Arc<Self>,
        guest: &Guest,
        credentials: &Credentials,
        wrong: &Failure,
        limit: Duration,
        counters: &Counters,
    ) -> Result<(), Failure> {
        let address = guest.peer.map(|peer| peer.ip());
        let Err(rejection) = self.check(address, credentials, limit).await else {
            count(&counters.logins);
            return Ok(());
        };
        let failure = match rejection {
            Rejection::Wrong => {
                count(&counters.logins_failed);
                wrong.clone()
            }
            Rejection::TooMany => {
                count(&counters.logins_refused);
                Failure::refused("too many logins have failed; try again in some seconds")
            }
            Rejection::Busy => {
                count(&counters.overloaded);
                return Err(Failure::overloaded(
                    "too many clients log in at once; it was not executed",
                ));
            }
        };
        self.tell(rejection, guest.peer, &credentials.user);
        match guest.failures.fetch_add(1, Relaxed) + 1 >= LAST_FAILURE {
            true => Err(failure.closing()),
            false => Err(failure),
        }
    }

    async fn check(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        credentials: &Credentials,
        limit: Duration,
    ) -> Result<(), Rejection> {
        let (user, is_known, counted) = self.user(&credentials.user).ok_or(Rejection::Wrong)?;
        let source = Source::new(address, counted);
        let secret = &credentials.secret;
        // Guesses are limited before anything says whether they are right.
        if self.failures.lock().are_too_many(&source, Instant::now()) {
            return Err(Rejection::TooMany);
        }
        let was_right = || self.remembered.is_right(user, secret) & is_known;
        if was_right() {
            return Ok(());
        }
        let permit = timeout(limit, Arc::clone(&self.hashing).acquire_owned()).await;
        let permit = permit.map_err(|_| Rejection::Busy)?;
        let permit = permit.map_err(|_| Rejection::Busy)?;
        // Others have been checked meanwhile.
        {
            let (mut failures, now) = (self.failures.lock(), Instant::now());
            if failures.are_too_many(&source, now) {
                return Err(Rejection::TooMany);
            }
            if was_right() {
                return Ok(());
            }
            // It is one until it is known to be none: many at once are no way around the limit.
            failures.add(source, now);
        }
        let (logins, secret) = (Arc::clone(self), secret.clone());
        // If the client leaves, it goes on and is counted: leaving is no way around the limit.
        let hashed = spawn_blocking(move || {
            let _permit = permit;
            logins.hash(user, is_known, &source, &secret)
        });
        match hashed.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Rejection::Wrong),
            // The runtime ends.
            Err(_) => Err(Rejection::Busy),
        }
    }

    /// Which of the users it is, whether it is that one, and as which failures count. A name that none
    /// has is taken for some user's, always the same, and costs what that one costs; but it counts
    /// as one of a few that no user has. `None` if there are no users.
    fn user(&self, name: &[u8]) -> Option<(usize, bool, usize)> {
        let count = self.users.len() as u64;
        // Both are always looked for.
        let number = self.remembered.number(name);
        let other = number.checked_rem(count)?;
        let stranger = (number % STRANGERS) as usize;
        let found = (self.users).binary_search_by(|(known, _)| known.as_bytes().cmp(name));
        Some(match found {
            Ok(place) => (place, true, place),
            Err(_) => (other as usize, false, self.users.len() + stranger),
        })
    }

    /// The slow part.
    fn hash(&self, user: usize, is_known: bool, source: &Source, secret: &[u8]) -> bool {
        self.hashed.fetch_add(1, Relaxed);
        let is_right = self.users[user].1.is_of(secret) & is_known;
        if is_right {
            self.remembered.remember(user, secret);
            self.failures.lock().take_back(source, Instant::now());
        }
        is_right
    }

    fn tell(&self, rejection: Rejection, peer: Option<SocketAddr>, user: &[u8]) {
        let (sum, is_told) = {
            let (mut storms, now) = (self.storms.lock(), Instant::now());
            let storm = &mut storms[rejection as usize % 2];
            (storm.sum_up(now), storm.happened(now))
        };
        self.tell_sum(rejection, sum);
        if !is_told {
            return;
        }
        let (route, peer) = (&self.route, peer.map(tracing::field::display));
        let user = user[..user.len().min(SHOWN)].escape_ascii();
        match rejection {
            Rejection::TooMany => {
                tracing::warn!(target: "millpond::server", route, peer, %user, "a login was refused unchecked: too many have failed");
            }
            _ => tracing::warn!(target: "millpond::server", route, peer, %user, "a login failed"),
        }
    }

    fn tell_sum(&self, rejection: Rejection, sum: Option<Sum>) {
        let Some(Sum { events, within }) = sum else {
            return;
        };
        let (route, within) = (&self.route, Span(within));
        match rejection {
            Rejection::TooMany => {
                tracing::warn!(target: "millpond::server", route, others = events, %within, "more logins were refused unchecked: too many have failed");
            }
            _ => {
                tracing::warn!(target: "millpond::server", route, others = events, %within, "more logins failed");
            }
        }
    }
}

impl Drop for Logins {
    /// Tells what no later failure sums up.
    fn drop(&mut self) {
        let now = Instant::now();
        let mut storms = *self.storms.lock();
        for rejection in [Rejection::Wrong, Rejection::TooMany] {
            let sum = storms[rejection as usize].rest(now);
            self.tell_sum(rejection, sum);
        }
    }
}

#[cfg(test)]
mod tests;
