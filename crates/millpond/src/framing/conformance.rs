//! Whether a framing keeps its [contract](super::Framing#contract), for the tests of those who write
//! one: show it bytes that it should take and bytes that it shouldn't, random ones too.
//!
//! ```
//! use millpond::framing::{Context, LengthJson, conformance};
//!
//! conformance::check(&LengthJson::default(), Context::REPLY, b"HeartBeatlength:00000000000011")?;
//! conformance::check_encode(&LengthJson::default(), Context::REPLY, b"1")?;
//! # Ok::<_, conformance::Violation>(())
//! ```

use super::{Framing, context::Context, frame::extent_of, scan::Scan, step::Step};

/// A rule that a framing has broken, and by which bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}, shown {shown} bytes from byte {boundary} on")]
#[non_exhaustive]
pub struct Violation {
    /// Which rule, in words.
    pub rule: String,
    /// At which boundary, in bytes from the beginning.
    pub boundary: usize,
    /// How many bytes from there on it was shown.
    pub shown: usize,
}

/// Shows a framing these bytes item by item, each in every way to cut it short, with a scan that is
/// kept and with a fresh one. It ends at the first item that is incomplete or none. The work is the
/// square of the longest item.
///
/// # Errors
///
/// The framing answers otherwise for fewer bytes than for more, otherwise with the scan that it has
/// left than with a fresh one, or what can't be true.
///
/// # Panics
///
/// If the framing does, which it must not.
pub fn check(framing: &impl Framing, context: Context<'_>, bytes: &[u8]) -> Result<(), Violation> {
    let mut boundary = 0;
    while boundary < bytes.len() {
        match check_item(framing, context, bytes, boundary)? {
            Some(length) => boundary += length,
            None => break,
        }
    }
    Ok(())
}

/// The length of the first item from a boundary on, if there is a whole one.
fn check_item(
    framing: &impl Framing,
    context: Context<'_>,
    bytes: &[u8],
    boundary: usize,
) -> Result<Option<usize>, Violation> {
    let rest = &bytes[boundary..];
    let mut kept = Scan::default();
    let mut settled: Option<Result<Step, ()>> = None;
    for shown in 0..=rest.len() {
        let broken = |rule: String| Violation {
            rule,
            boundary,
            shown,
        };
        let mut fresh = Scan::default();
        let answer = framing.next(context, &rest[..shown], &mut fresh);
        let answer = match answer {
            Ok(step) => match step.checked(shown, &fresh, framing.max_frame()) {
                Err(error @ super::FrameError::WrongAnswer { .. }) => {
                    return Err(broken(error.to_string()));
                }
                checked => checked.map_err(drop),
            },
            Err(_) => Err(()),
        };
        if let Some(settled) = settled {
            if answer != settled {
                return Err(broken(format!(
                    "it answered {settled:?} for fewer bytes, and now {answer:?}"
                )));
            }
            continue;
        }
        let with_kept = framing.next(context, &rest[..shown], &mut kept);
        let with_kept = with_kept.map_err(drop).and_then(|step| {
            step.checked(shown, &kept, framing.max_frame())
                .map_err(drop)
        });
        if with_kept != answer {
            return Err(broken(format!(
                "it answered {with_kept:?} with the scan that it left, and {answer:?} with a fresh one"
            )));
        }
        if !matches!(answer, Ok(Step::More { .. })) {
            settled = Some(answer);
        }
    }
    Ok(match settled {
        Some(Ok(Step::Frame(extent))) => Some(extent.length()),
        Some(Ok(Step::Heartbeat { length })) => Some(length),
        Some(Ok(Step::More { .. }) | Err(())) | None => None,
    })
}

/// Has a framing encode a body, and finds it again.
///
/// # Errors
///
/// What it wrote isn't exactly one frame with this body, or it has touched what was there before. A
/// body that it refuses, and leaves no trace of, is no error.
///
/// # Panics
///
/// If the framing does, which it must not.
pub fn check_encode(
    framing: &impl Framing,
    context: Context<'_>,
    body: &[u8],
) -> Result<(), Violation> {
    const BEFORE: &[u8] = b"what was there before";
    let mut out = BEFORE.to_vec();
    let encoded = framing.encode(context, body, &mut out);
    let broken = |rule: &str| Violation {
        rule: rule.into(),
        boundary: 0,
        shown: body.len(),
    };
    let Some(frame) = out.strip_prefix(BEFORE) else {
        return Err(broken("it has changed what was there before"));
    };
    if encoded.is_err() {
        return match frame.is_empty() {
            true => Ok(()),
            false => Err(broken("it has refused a body, and written something")),
        };
    }
    let extent = extent_of(framing, context, frame)
        .map_err(|error| broken(&format!("what it wrote is not one frame: {error}")))?;
    match frame[extent.head..extent.head + extent.body] == *body {
        true => check(framing, context, frame),
        false => Err(broken("what it wrote has another body")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Extent, FrameError, LengthJson};

    /// Lines, with a fault.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Lines {
        Right,
        /// Forgets to look at the last byte again.
        Skips,
        /// Takes all lines that are there for one.
        Greedy,
        Beyond,
        Endless,
        /// Doesn't refuse what becomes two lines.
        Splits,
        Overwrites,
        Litters,
    }

    impl Framing for Lines {
        fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
            let from = scan.searched().min(bytes.len());
            let end = match self {
                Lines::Greedy => bytes.iter().rposition(|&byte| byte == b'\n'),
                _ => bytes[from..]
                    .windows(1)
                    .position(|byte| byte == b"\n")
                    .map(|at| from + at),
            };
            let extent = |body| Extent {
                head: 0,
                body,
                tail: 1,
            };
            match (self, end) {
                (Lines::Beyond, Some(body)) => Ok(Step::Frame(extent(body + 1))),
                (_, Some(body)) => Ok(Step::Frame(extent(body))),
                (Lines::Endless, None) => Ok(Step::More { missing: 0 }),
                (_, None) => {
                    scan.set_searched(bytes.len() + usize::from(*self == Lines::Skips));
                    Ok(Step::More { missing: 1 })
                }
            }
        }

        fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
            if *self == Lines::Overwrites {
                out[0] = b'!';
            }
            if *self == Lines::Litters {
                out.push(b'!');
            }
            if body.contains(&b'\n') && *self != Lines::Splits {
                return Err(FrameError::NotOneFrame { length: body.len() });
            }
            out.extend_from_slice(body);
            out.push(b'\n');
            Ok(())
        }
    }

    #[test]
    fn framings_that_are_right_pass() {
        for wire in [&b""[..], b"\n", b"a\nbc\n\nd", b"no end"] {
            assert_eq!(check(&Lines::Right, Context::REQUEST, wire), Ok(()));
            assert_eq!(
                check(&LengthJson::default(), Context::REQUEST, wire),
                Ok(())
            );
        }
        for body in [&b""[..], b"a", b"a\nb"] {
            assert_eq!(check_encode(&Lines::Right, Context::REQUEST, body), Ok(()));
            assert_eq!(
                check_encode(&LengthJson::default(), Context::REPLY, body),
                Ok(())
            );
        }
    }

    #[test]
    fn each_fault_is_found_and_named() {
        let wire = b"a\nbc\nd";
        for (lines, rule) in [
            (Lines::Skips, "with the scan that it left"),
            (Lines::Greedy, "for fewer bytes, and now"),
            (Lines::Beyond, "the framing is wrong"),
            (Lines::Endless, "the framing is wrong"),
        ] {
            let violation = check(&lines, Context::REQUEST, wire).unwrap_err();
            assert!(violation.rule.contains(rule), "{lines:?}: {violation}");
        }
        for (lines, rule) in [
            (Lines::Splits, "is not one frame"),
            (Lines::Overwrites, "what was there before"),
            (Lines::Litters, "written something"),
        ] {
            let violation = check_encode(&lines, Context::REQUEST, b"a\nb").unwrap_err();
            assert!(violation.rule.contains(rule), "{lines:?}: {violation}");
        }
        let violation = check_encode(&Lines::Litters, Context::REQUEST, b"a").unwrap_err();
        assert_eq!(violation.rule, "what it wrote has another body");
    }
}
