//! Why bytes are no frame.

use std::{borrow::Cow, fmt};

use millpond_words::Thousands;

use super::step::Step;

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
        expected: Cow<'static, str>,
    },
    /// A frame that contradicts itself, such as one that is shorter than its own head.
    #[error("the frame is malformed: {reason}")]
    Malformed {
        /// In which way.
        reason: Cow<'static, str>,
    },
    /// The body of a frame that was announced, or is to be sent, is longer than allowed.
    #[error(
        "a body of {} bytes is longer than the limit of {}{}",
        Thousands(*.length),
        Thousands(*.limit),
        .setting.as_ref().map(|setting| format!("; {setting} raises it")).unwrap_or_default()
    )]
    TooLong {
        /// How long it is, in bytes: what its head says. Of a frame without a head, how much of it
        /// has come.
        length: u64,
        /// What is allowed, in bytes.
        limit: u64,
        /// The setting that allows more, if there is one.
        setting: Option<Cow<'static, str>>,
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
    /// What was to be sent as a whole frame is none, or not exactly one.
    #[error("{} bytes were to be sent as one frame, and they aren't one", Thousands(*.length as u64))]
    NotOneFrame {
        /// How many bytes there are.
        length: usize,
    },
    /// The frame's id can't be told apart: it is too short to have one.
    #[error("a frame of {} bytes is too short for an id", Thousands(*.length as u64))]
    NoId {
        /// How many bytes it has.
        length: usize,
    },
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

    #[test]
    fn a_byte_is_shown_as_a_character_where_it_is_one() {
        let shown = |byte| Shown(byte).to_string();
        assert_eq!(
            [b'a', b' ', b'\n', 0x7f, 0xe4].map(shown),
            ["'a'", "' '", "0x0A", "0x7F", "0xE4"]
        );
    }
}
