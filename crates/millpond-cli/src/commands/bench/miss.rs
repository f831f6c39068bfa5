//! Which kind of error a failed request counts as, and how it is told.

use std::{error::Error, io, iter};

use millpond::{
    Chain,
    client::{Loss, RequestError, RequestErrorKind},
    framing::FrameError,
    net::{
        ConnectError,
        tls::{Side, TlsError},
    },
};
use nix::errno::Errno;

use super::results::ErrorKind;
use crate::{
    commands::in_flags,
    load::{
        exchange::ExchangeError,
        tally::{Miss, MissKind},
    },
};

impl MissKind for ErrorKind {
    const NOT_SENT: ErrorKind = ErrorKind::NotSent;
    const CUT_SHORT: ErrorKind = ErrorKind::TimedOut;

    fn calls_for_a_pause(self) -> bool {
        self.is_before_the_server()
    }
}

fn miss(kind: ErrorKind, text: String) -> Miss<ErrorKind> {
    Miss { kind, text }
}

/// Of a request over a pool.
pub(super) fn of_request(error: &RequestError) -> Miss<ErrorKind> {
    let text = Chain(error).to_string();
    match (error.kind(), error) {
        (RequestErrorKind::Unreachable, _) => unconnected(error, &text),
        (RequestErrorKind::TimedOut, _) => miss(ErrorKind::TimedOut, text),
        (
            _,
            RequestError::Lost {
                cause: Loss::Refused(refusal),
                ..
            },
        ) => refused(error, refusal),
        (RequestErrorKind::Lost, _) => miss(ErrorKind::Lost, text),
        (_, RequestError::NoFrame(frame)) => miss(ErrorKind::Protocol, text + in_bench(frame)),
        (
            RequestErrorKind::UnexpectedReply
            | RequestErrorKind::Mismatched
            | RequestErrorKind::NotPipelining,
            _,
        ) => miss(ErrorKind::Protocol, text),
        (RequestErrorKind::ErrorReply | RequestErrorKind::NotTaken, _) => {
            miss(ErrorKind::ErrorReply, text)
        }
        _ => miss(ErrorKind::Other, text),
    }
}

/// Of a dial for a short connection.
pub(super) fn of_dial(error: &ConnectError) -> Miss<ErrorKind> {
    unconnected(error, &Chain(error).to_string())
}

/// Of an exchange over a short connection.
pub(super) fn of_exchange(error: &ExchangeError) -> Miss<ErrorKind> {
    let text = Chain(error).to_string();
    match error {
        ExchangeError::Unframeable(frame) | ExchangeError::NoFrame(frame) => {
            miss(ErrorKind::Protocol, text + in_bench(frame))
        }
        ExchangeError::Refused(_) | ExchangeError::Mismatched => miss(ErrorKind::Protocol, text),
        ExchangeError::Lost(lost) => match TlsError::of_stream(lost, Side::Client) {
            Some(refusal) if refusal.is_refusal() => refused(&refusal, &refusal),
            _ => miss(ErrorKind::Lost, text),
        },
    }
}

fn refused(error: &(dyn Error + 'static), refusal: &TlsError) -> Miss<ErrorKind> {
    let text = format!("the server refused the connection: {refusal}");
    unconnected(error, &text)
}

/// The system's error is the last of the sources.
fn unconnected(error: &(dyn Error + 'static), text: &str) -> Miss<ErrorKind> {
    let causes = iter::successors(Some(error), |&error| error.source());
    let code = causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find_map(io::Error::raw_os_error);
    let kind = match code.map(Errno::from_raw) {
        Some(Errno::EADDRNOTAVAIL) => ErrorKind::PortsUsedUp,
        Some(Errno::EMFILE | Errno::ENFILE) => ErrorKind::DescriptorsUsedUp,
        _ => ErrorKind::Connect,
    };
    miss(kind, in_flags(text))
}

/// Added where a reply was too long: bench has no flag that raises the limit.
fn in_bench(error: &FrameError) -> &'static str {
    match error {
        FrameError::TooLong { .. } => ", and bench takes no longer ones",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use millpond::framing::{Context, Framing, LengthJson, Scan};

    use super::{super::framing::ChosenFraming, *};

    #[test]
    fn a_reply_that_is_too_long_is_told_without_a_setting_that_bench_does_not_have() {
        let named = LengthJson::default().limit_named("a setting of whatever name");
        let framing = ChosenFraming::Preset {
            protocol: named.into(),
            carries_json: true,
        };
        let step = framing.next(
            Context::REPLY,
            b"length:0000002000000",
            &mut Scan::default(),
        );
        let error = step.expect_err("2,000,000 bytes are too many");
        for miss in [
            of_exchange(&ExchangeError::NoFrame(error.clone())),
            of_request(&RequestError::NoFrame(error)),
        ] {
            let told = "a body of 2,000,000 bytes is longer than the limit of 1,048,576, and bench takes no longer ones";
            assert!(miss.text.ends_with(told), "{}", miss.text);
        }
    }
}
