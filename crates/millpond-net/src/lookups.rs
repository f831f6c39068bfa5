//! The addresses of one name, looked up again when they are needed and too old. There is one lookup
//! at a time, whose answer serves all dials. `names.rs` interprets the answers.

use std::{io, net::SocketAddr, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    HostName, Resolve, SystemResolver,
    names::{Change, Names, Trouble},
    race::in_turn,
};

/// How long a dial waits for a lookup when it knows addresses from an earlier one.
const WORTH_WAITING: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Lookups {
    pub(super) resolver: Box<dyn Resolve>,
    refresh: Duration,
    names: Mutex<Names>,
    looking_up: tokio::sync::Mutex<()>,
    /// An address has gone.
    moved: Notify,
}

/// What there is to dial.
pub(super) struct Addresses {
    /// Best first; not empty.
    pub(super) in_turn: Vec<SocketAddr>,
    /// Why the latest lookup failed, if these are of an earlier one.
    pub(super) stale: Option<io::Error>,
}

/// Why there is no address to dial.
pub(super) enum NoAddresses {
    /// The lookup failed.
    Failed(io::Error),
    /// It took longer than its limit.
    TimedOut,
    /// It was answered: there are none.
    None,
}

impl Lookups {
    pub(super) fn new(refresh: Duration) -> Self {
        Lookups {
            resolver: Box::new(SystemResolver),
            refresh,
            names: Mutex::new(Names::new(refresh)),
            looking_up: tokio::sync::Mutex::default(),
            moved: Notify::new(),
        }
    }

    /// Forgets all answers, and sets how old they may become.
    pub(super) fn refresh_every(&mut self, refresh: Duration) {
        self.refresh = refresh;
        self.names = Mutex::new(Names::new(refresh));
    }

    fn is_due(&self) -> bool {
        self.names.lock().is_due(Instant::now())
    }

    /// The addresses to try, after a lookup if one is due.
    pub(super) async fn addresses(
        &self,
        name: &HostName,
        port: u16,
        limit: Duration,
    ) -> Result<Addresses, NoAddresses> {
        let is_known = !self.names.lock().addresses().is_empty();
        let limit = match is_known {
            true => limit.min(WORTH_WAITING),
            false => limit,
        };
        if self.is_due() {
            // The outcome is kept in `names`.
            let _ = self.look_up(name, port, limit).await;
        }
        let (names, now) = (self.names.lock(), Instant::now());
        let trouble = names.trouble().map(io::Error::from);
        let in_turn = in_turn(&names.addresses(), |address| {
            names.failed_lately(address, now)
        });
        match (in_turn.is_empty(), trouble) {
            (false, stale) => Ok(Addresses { in_turn, stale }),
            (true, Some(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(NoAddresses::TimedOut)
            }
            (true, Some(error)) => Err(NoAddresses::Failed(error)),
            (true, None) => Err(NoAddresses::None),
        }
    }

    /// Looks the name up, or waits for a lookup that is under way. `Err` if neither ends within
    /// `limit`.
    async fn look_up(&self, name: &HostName, port: u16, limit: Duration) -> Result<(), ()> {
        let deadline = Instant::now() + limit;
        let before = self.names.lock().lookups();
        let Ok(_alone) = timeout_at(deadline, self.looking_up.lock()).await else {
            return Err(());
        };
        if self.names.lock().lookups() != before {
            return Ok(());
        }
        let answer = timeout_at(deadline, self.resolver.resolve(name, port)).await;
        let now = Instant::now();
        let mut names = self.names.lock();
        match answer {
            Ok(Ok(addresses)) => {
                if names.answered(&addresses, now) == Change::SomeWent {
                    self.moved.notify_one();
                }
                Ok(())
            }
            Ok(Err(error)) => {
                names.unanswered(Trouble::from(error), now);
                Ok(())
            }
            Err(_) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                names.unanswered(Trouble::from(error), now);
                Err(())
            }
        }
    }

    /// Waits until the name has lost an address. It looks the name up again whenever the answer is
    /// too old, but not before the first dial has.
    pub(super) async fn moved(&self, name: &HostName, port: u16, limit: Duration) {
        loop {
            let due = self.names.lock().due_at();
            let look_at = due.unwrap_or_else(|| Instant::now() + self.refresh);
            if timeout_at(look_at, self.moved.notified()).await.is_ok() {
                return;
            }
            if due.is_some() && self.is_due() {
                // The next dial reports a failure; `moved` reports a lost address.
                let _ = self.look_up(name, port, limit).await;
            }
        }
    }

    pub(super) fn is_current(&self, address: &SocketAddr) -> bool {
        self.names.lock().is_current(address)
    }

    /// These addresses failed while another one was reached.
    pub(super) fn failed(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.names.lock().failed(addresses, Instant::now());
    }

    /// This one was reached.
    pub(super) fn reached(&self, address: SocketAddr) {
        self.names.lock().reached(address);
    }

    /// These addresses were tried, and the dial failed: the name may have moved.
    pub(super) fn doubt(&self, tried: impl IntoIterator<Item = SocketAddr>) {
        let mut names = self.names.lock();
        names.failed(tried, Instant::now());
        names.doubt();
    }
}
