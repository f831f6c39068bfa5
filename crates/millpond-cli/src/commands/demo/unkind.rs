//! The server's bad manners: slow replies, and connections closed before, within or right behind a
//! reply. Chance decides which. It never answers wrongly, so a wrong reply is the client's fault.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use millpond::{
    framing::{Context, Failure, FrameError, Framing, LengthJson, Scan, Step, Told},
    server::{Handler, Reply, Request},
};
use tokio::time::sleep;

use crate::load::tokens::reply_to;

/// One reply in so many comes late.
const SLOW: u32 = 500;

/// How late: longer than many replies take together, short enough that the load ends soon.
const LATE_MS: std::ops::RangeInclusive<u64> = 2..=30;

/// One request in so many has its connection closed.
const CLOSED: u32 = 500;

/// A handler that answers every request.
pub(super) struct KindHandler;

impl Handler for KindHandler {
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        reply(request.body()).map(Reply::from)
    }
}

/// A handler that sometimes answers late, and sometimes closes the connection; needs the framing
/// [`Cutting`].
pub(super) struct UnkindHandler {
    rng: Mutex<fastrand::Rng>,
}

/// Where a connection is closed, relative to the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Before,
    Within,
    Behind,
}

const CUTS: [Cut; 3] = [Cut::Before, Cut::Within, Cut::Behind];

impl Cut {
    /// How the handler tells the framing, to which only a failure's text leads.
    fn name(self) -> &'static str {
        match self {
            Cut::Before => "closed before the reply",
            Cut::Within => "closed within the reply",
            Cut::Behind => "closed behind the reply",
        }
    }

    fn named(name: &str) -> Option<Cut> {
        CUTS.into_iter().find(|cut| cut.name() == name)
    }
}

impl UnkindHandler {
    pub(super) fn new(seed: u64) -> Self {
        UnkindHandler {
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    fn draw(&self) -> (Option<Duration>, Option<Cut>) {
        let mut rng = self.rng.lock().expect("nobody panics with it");
        let delay = (rng.u32(..SLOW) == 0).then(|| Duration::from_millis(rng.u64(LATE_MS)));
        let cut = (rng.u32(..CLOSED) == 0).then(|| CUTS[rng.usize(..CUTS.len())]);
        (delay, cut)
    }
}

impl Handler for UnkindHandler {
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        let (delay, cut) = self.draw();
        if let Some(delay) = delay {
            sleep(delay).await;
        }
        match cut {
            Some(cut) => Err(Failure::unavailable(cut.name())),
            None => reply(request.body()).map(Reply::from),
        }
    }
}

fn reply(body: &[u8]) -> Result<Bytes, Failure> {
    reply_to(body)
        .map(Bytes::from)
        .map_err(|error| Failure::refused(error.to_string()))
}

/// The `length:` protocol, except for the failures that [`UnkindHandler`] makes up: these close the
/// connection, behind as much of the reply as is due.
pub(super) struct Cutting(pub(super) LengthJson);

impl Framing for Cutting {
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.0.next(context, bytes, scan)
    }

    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        self.0.encode(context, body, out)
    }

    fn max_frame(&self) -> usize {
        self.0.max_frame()
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        self.0.heartbeat()
    }

    fn looks_at_requests(&self) -> bool {
        self.0.looks_at_requests()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn encode_failure(
        &self,
        context: Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        let Some(cut) = Cut::named(failure.message()) else {
            return self.0.encode_failure(context, request, failure, out);
        };
        let begin = out.len();
        if cut != Cut::Before
            && let Ok(Step::Frame(extent)) =
                self.next(Context::REQUEST, request, &mut Scan::default())
            && let Ok(reply) = reply(&request[extent.head..])
            && self.encode(Context::REPLY, &reply, out).is_ok()
            && cut == Cut::Within
        {
            // Within the header at times, within the body at others.
            let length = out.len() - begin;
            out.truncate(begin + 1 + request.len() % (length - 1));
        }
        Told::ByClosing
    }
}
