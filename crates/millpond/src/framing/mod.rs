//! Bytes to frames and back: where a message ends, which is all that a pool or a proxy has to know
//! of a protocol. Pure: it reads no socket, asks no clock, and holds no buffer; whoever has
//! received bytes shows them to a [`Framing`], and is told what they begin with.
//!
//! Reading order: [`Framing`], [`Step`], [`Scan`], [`FrameError`], [`Failure`]; then [`LengthJson`], the
//! protocol that this project was founded on, and [`json`], which says what its bodies must be.

mod failure;
pub mod json;
mod length_json;
mod scan;
mod step;

use std::{fmt, sync::Arc};

pub use failure::{ApplicationCode, Failure, FailureKind, ReservedCode};
pub use length_json::LengthJson;
pub use scan::Scan;
pub use step::{Extent, Step};

use millpond_words::Thousands;

/// Which way bytes go: some protocols frame requests and replies differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Reply,
}

/// How a protocol marks its messages off.
///
/// # Contract
///
/// - `next` is shown all bytes from a boundary on. It answers for the first item alone, and the
///   same however many bytes follow it.
/// - It answers [`Step::More`] only while the bytes could still become a frame or a heartbeat, and
///   an error as soon as they can't.
/// - A frame and a heartbeat have at least one byte, and all of them are among those shown.
/// - A frame's length is refused as soon as it is known, before its bytes have arrived. Where no
///   length is announced, a frame is refused as soon as more bytes are there than its limit allows.
/// - It never panics, whatever the bytes.
///
/// [`Scan`] keeps what has been found out of an unfinished item, so that the work is proportional
/// to the bytes, not to their square. It is reset at each boundary.
///
/// Client and server check each answer. One that can't be true of the bytes shown ends the
/// connection with [`FrameError::WrongAnswer`].
pub trait Framing: Send + Sync + 'static {
    /// What the bytes at a boundary begin with.
    ///
    /// # Errors
    ///
    /// They are none of this protocol's: the connection can't be used any further, for nobody knows
    /// where the next frame begins.
    fn next(&self, direction: Direction, bytes: &[u8], scan: &mut Scan)
    -> Result<Step, FrameError>;

    /// Puts a body into a frame, at the end of `out`. What `out` holds already are other frames:
    /// leave them as they are, and count from `out.len()` at the start.
    ///
    /// # Errors
    ///
    /// The body can't be framed: it is larger than the protocol or the limit allows. `out` is as it
    /// was.
    fn encode(
        &self,
        direction: Direction,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError>;

    /// The heartbeat, for protocols that have one. It may be sent at any boundary, in either
    /// direction, and nobody answers it.
    fn heartbeat(&self) -> Option<&'static [u8]> {
        None
    }

    /// The protocol's name, for strangers and logs: it completes "this port speaks …".
    fn name(&self) -> &'static str {
        "a protocol of its own"
    }

    /// Whether [`encode_failure`](Framing::encode_failure) looks at the request, which has to be
    /// kept for it then. Otherwise it is shown none.
    fn failure_needs_request(&self) -> bool {
        true
    }

    /// Puts the frame that tells a client that its request has failed at the end of `out`, for
    /// protocols that have such a reply.
    fn encode_failure(&self, request: &[u8], failure: &Failure, out: &mut Vec<u8>) -> Told {
        let _ = (request, failure, out);
        Told::ByClosing
    }
}

/// A framing that is shared.
impl<F: Framing + ?Sized> Framing for Arc<F> {
    fn next(
        &self,
        direction: Direction,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        (**self).next(direction, bytes, scan)
    }

    fn encode(
        &self,
        direction: Direction,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        (**self).encode(direction, body, out)
    }

    fn heartbeat(&self) -> Option<&'static [u8]> {
        (**self).heartbeat()
    }

    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn failure_needs_request(&self) -> bool {
        (**self).failure_needs_request()
    }

    fn encode_failure(&self, request: &[u8], failure: &Failure, out: &mut Vec<u8>) -> Told {
        (**self).encode_failure(request, failure, out)
    }
}

/// How a client is told of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By the frame that was written.
    ByReply,
    /// This protocol has no reply for it: the connection has to be closed.
    ByClosing,
}

impl Step {
    /// The answer of a framing to so many bytes, unless it can't be true.
    ///
    /// # Errors
    ///
    /// [`FrameError::WrongAnswer`]: a caller that believed it would read beyond the bytes, or look
    /// at the same bytes for ever.
    #[inline]
    pub(crate) fn checked(self, received: usize, scan: &Scan) -> Result<Step, FrameError> {
        let possible = match self {
            Step::More { missing } => {
                missing > 0
                    && scan
                        .announced()
                        .is_none_or(|extent| extent.length() > received)
            }
            Step::Frame(extent) => (1..=received).contains(&extent.length()),
            Step::Heartbeat { length } => (1..=received).contains(&length),
        };
        match possible {
            true => Ok(self),
            false => Err(FrameError::WrongAnswer {
                answer: self,
                received,
            }),
        }
    }
}

/// Bytes that are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A byte that can't stand there.
    #[error("byte {} of a frame is {}, and {expected} was expected", Thousands(*.position as u64), Shown(*.found))]
    Unexpected {
        /// Where, counted from 0 at the frame's beginning.
        position: usize,
        /// What stands there.
        found: u8,
        /// What should.
        expected: &'static str,
    },
    /// The body of a frame that was announced, or is to be sent, is longer than allowed.
    #[error(
        "a body of {} bytes is longer than the limit of {}{}",
        Thousands(*.length),
        Thousands(*.limit),
        .setting.map(|setting| format!("; {setting} raises it")).unwrap_or_default()
    )]
    TooLong {
        /// How long it is, in bytes: what its head says. Of a frame without a head, how much of it
        /// has come.
        length: u64,
        /// What is allowed, in bytes.
        limit: u64,
        /// The setting that allows more, if there is one: [`LengthJson::with_max_body`], or what
        /// [`LengthJson::limit_named`] says.
        setting: Option<&'static str>,
    },
    /// The bytes are an HTTP request.
    #[error("this is an HTTP request, and this port doesn't speak HTTP")]
    Http,
    /// The bytes are the beginning of a TLS handshake.
    #[error("this is a TLS handshake, and this port speaks no TLS")]
    Tls,
    /// An HTTP server has answered.
    #[error("this is an HTTP server, and no HTTP is spoken here: look at the host and the port")]
    HttpServer,
    /// A TLS server has answered, to whom no TLS was spoken.
    #[error("this is a TLS server: connect to it with tls://")]
    TlsServer,
    /// An SSH server has answered.
    #[error("this is an SSH server: look at the host and the port")]
    SshServer,
    /// The framing has answered what can't be true of the bytes it was shown. This is a bug in the
    /// framing, not the peer's fault.
    #[error("the framing is wrong: shown {} bytes, it answered {answer}", Thousands(*.received as u64))]
    WrongAnswer {
        /// Its answer.
        answer: Step,
        /// How many bytes it was shown.
        received: usize,
    },
}

impl FrameError {
    /// Whether the peer has shown which other protocol it speaks.
    pub(crate) fn is_stranger(&self) -> bool {
        use FrameError::{Http, HttpServer, SshServer, Tls, TlsServer};
        matches!(self, Http | Tls | HttpServer | TlsServer | SshServer)
    }
}

/// A byte as people read it.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            byte if byte.is_ascii_graphic() || byte == b' ' => write!(f, "'{}'", char::from(byte)),
            byte => write!(f, "0x{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says nothing that it needn't.
    struct Plain;

    impl Framing for Plain {
        fn next(&self, _: Direction, _: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
            Ok(Step::More { missing: 1 })
        }

        fn encode(&self, _: Direction, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
            out.extend_from_slice(body);
            Ok(())
        }
    }

    #[test]
    fn a_framing_that_says_no_more_has_no_heartbeats_and_tells_failures_by_closing() {
        assert_eq!(
            (Plain.heartbeat(), Plain.name()),
            (None, "a protocol of its own")
        );
        assert!(
            Plain.failure_needs_request(),
            "whoever writes its own reply may want it"
        );
        let failure = Failure::refused("no");
        let mut out = Vec::new();
        assert_eq!(
            (
                Plain.encode_failure(b"?", &failure, &mut out),
                out.is_empty()
            ),
            (Told::ByClosing, true)
        );
    }

    #[test]
    fn a_frame_is_as_long_as_its_parts() {
        let extent = Extent {
            head: 20,
            body: 3,
            tail: 5,
        };
        assert_eq!(extent.length(), 28);
        assert_eq!(extent.within(28), Step::Frame(extent));
        assert_eq!(extent.within(27), Step::More { missing: 1 });
        let endless = Extent {
            body: usize::MAX,
            ..extent
        };
        assert_eq!(endless.length(), usize::MAX);
    }

    #[test]
    fn an_answer_that_cannot_be_true_is_refused_with_what_it_was() {
        let frame = |body| {
            Step::Frame(Extent {
                head: 0,
                body,
                tail: 0,
            })
        };
        let mut announced = Scan::default();
        announced.announce(Extent {
            head: 1,
            body: 3,
            tail: 0,
        });
        let fresh = Scan::default();
        for (answer, scan, possible) in [
            (frame(0), fresh, false),
            (frame(4), fresh, true),
            (frame(5), fresh, false),
            (Step::Heartbeat { length: 0 }, fresh, false),
            (Step::Heartbeat { length: 4 }, fresh, true),
            (Step::Heartbeat { length: 5 }, fresh, false),
            (Step::More { missing: 0 }, fresh, false),
            (Step::More { missing: 1 }, fresh, true),
            (Step::More { missing: 1 }, announced, false),
        ] {
            let checked = answer.checked(4, &scan);
            assert_eq!(checked.is_ok(), possible, "{answer:?}");
            assert!(checked.is_err() || checked == Ok(answer));
        }
        assert_eq!(
            Step::More { missing: 1 }.checked(3, &announced),
            Ok(Step::More { missing: 1 })
        );
        assert_eq!(
            frame(5)
                .checked(4, &fresh)
                .map_err(|error| error.to_string()),
            Err(String::from(
                "the framing is wrong: shown 4 bytes, it answered that they begin with a frame of 5"
            ))
        );
    }

    #[test]
    fn a_byte_is_shown_as_a_character_where_it_is_one() {
        let shown = |byte| Shown(byte).to_string();
        assert_eq!(
            [b'a', b' ', b'\n', 0x7f, 0xe4].map(shown),
            ["'a'", "' '", "0x0A", "0x7F", "0xE4"]
        );
    }
}
