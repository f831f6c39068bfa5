//! The framing that was chosen on the command line: a preset, or raw bytes, with a rule for where a
//! reply ends.

use memchr::memmem::Finder;
use millpond::framing::{
    Answer, Context, Demand, Extent, Failure, FrameError, Framing, IdField, Note, Protocol, Scan,
    Step, Told,
};

/// The longest raw reply whose end is searched for: 1 MiB, the default limit of the `length:`
/// protocol.
const MAX_REPLY: usize = 1 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum ChosenFraming {
    Preset {
        protocol: Protocol,
        /// Bodies are JSON, and a reply may be an error object.
        carries_json: bool,
    },
    Raw(Ending),
}

/// Where a raw reply ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// It is exactly this.
    Exactly(Vec<u8>),
    /// With the first of these.
    With(Box<Finder<'static>>),
    /// After so many bytes.
    After(usize),
}

impl Ending {
    /// Where a reply ends, looking at each byte once.
    fn reply(&self, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        match self {
            Ending::Exactly(reply) => exactly(reply, bytes, scan),
            Ending::With(end) => with(end, bytes, scan),
            Ending::After(length) => {
                let extent = whole(*length);
                scan.announce(extent);
                Ok(extent.within(bytes.len()))
            }
        }
    }
}

/// A reply of so many bytes.
fn whole(body: usize) -> Extent {
    Extent {
        head: 0,
        body,
        tail: 0,
    }
}

fn exactly(reply: &[u8], bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
    let searched = scan.searched();
    let differs = bytes
        .iter()
        .zip(reply)
        .skip(searched)
        .position(|(found, expected)| found != expected);
    if let Some(at) = differs {
        return Err(FrameError::Unexpected {
            position: searched + at,
            found: bytes[searched + at],
            expected: "what --expect says".into(),
        });
    }
    scan.set_searched(bytes.len().min(reply.len()));
    let extent = whole(reply.len());
    scan.announce(extent);
    Ok(extent.within(bytes.len()))
}

fn with(end: &Finder<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
    let (searched, length) = (scan.searched(), end.needle().len());
    if let Some(at) = end.find(&bytes[searched..]) {
        return Ok(Step::Frame(whole(searched + at + length)));
    }
    if bytes.len() >= MAX_REPLY {
        return Err(FrameError::TooLong {
            length: bytes.len() as u64,
            limit: MAX_REPLY as u64,
            setting: None,
        });
    }
    // The first bytes of the end may be there already.
    scan.set_searched((bytes.len() + 1).saturating_sub(length));
    Ok(Step::More { missing: 1 })
}

/// Removes the setting's name from the error: bench has no flag for it.
fn unnamed(error: FrameError) -> FrameError {
    match error {
        FrameError::TooLong { length, limit, .. } => FrameError::TooLong {
            length,
            limit,
            setting: None,
        },
        other => other,
    }
}

impl ChosenFraming {
    fn preset(&self) -> Option<&Protocol> {
        match self {
            ChosenFraming::Preset { protocol, .. } => Some(protocol),
            ChosenFraming::Raw(_) => None,
        }
    }
}

impl Framing for ChosenFraming {
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        match self {
            ChosenFraming::Preset { protocol, .. } => {
                protocol.next(context, bytes, scan).map_err(unnamed)
            }
            // A boundary: no byte of a frame has come.
            ChosenFraming::Raw(_) if bytes.is_empty() => Ok(Step::More { missing: 1 }),
            ChosenFraming::Raw(ending) => ending.reply(bytes, scan),
        }
    }

    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        match self.preset() {
            Some(protocol) => protocol.encode(context, body, out),
            None => {
                out.extend_from_slice(body);
                Ok(())
            }
        }
    }

    fn max_frame(&self) -> usize {
        // Where a raw reply ends with bytes, it is bounded as they are searched for.
        self.preset().map_or(usize::MAX, Framing::max_frame)
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        self.preset()?.heartbeat()
    }

    fn name(&self) -> &str {
        self.preset().map_or("raw bytes", Framing::name)
    }

    fn looks_at_requests(&self) -> bool {
        self.preset().is_some_and(Framing::looks_at_requests)
    }

    fn max_reply(&self) -> usize {
        self.preset().map_or(usize::MAX, Framing::max_reply)
    }

    fn demand(&self, request: &[u8], state: &Note) -> Demand {
        self.preset()
            .map_or_else(Demand::default, |protocol| protocol.demand(request, state))
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        self.preset().map_or(Answer::Last, |protocol| {
            protocol.answers(asked, reply, state)
        })
    }

    fn id(&self) -> Option<IdField> {
        self.preset()?.id()
    }

    fn failure_needs_request(&self) -> bool {
        self.preset().is_some_and(Framing::failure_needs_request)
    }

    fn encode_failure(
        &self,
        context: Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        self.preset().map_or(Told::ByClosing, |protocol| {
            protocol.encode_failure(context, request, failure, out)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps as the bytes come one by one; each must be the same with the scan kept and
    /// without.
    fn steps(ending: &Ending, reply: &[u8]) -> Vec<String> {
        let framing = ChosenFraming::Raw(ending.clone());
        let mut scan = Scan::default();
        (0..=reply.len())
            .map(|length| {
                let step = framing.next(Context::REPLY, &reply[..length], &mut scan);
                let afresh = framing.next(Context::REPLY, &reply[..length], &mut Scan::default());
                assert_eq!(step, afresh);
                if matches!(step, Ok(Step::Frame(_))) {
                    scan.reset();
                }
                match step {
                    Ok(Step::More { missing }) => format!("{missing}"),
                    Ok(Step::Frame(extent)) => format!("whole {}", extent.length()),
                    Ok(Step::Heartbeat { .. }) => String::from("heartbeat"),
                    Err(error) => error.to_string(),
                }
            })
            .collect()
    }

    #[test]
    fn an_exact_reply_ends_where_it_ends_and_another_is_refused_at_its_first_byte_that_differs() {
        let ending = Ending::Exactly(b"+OK\r".to_vec());
        assert_eq!(
            steps(&ending, b"+OK\r+"),
            ["1", "3", "2", "1", "whole 4", "whole 4"]
        );
        assert_eq!(
            steps(&ending, b"-ERR")[1],
            "byte 0 of a frame is '-', and what --expect says was expected"
        );
    }

    #[test]
    fn a_reply_ends_with_the_first_of_its_ends() {
        let ending = Ending::With(Box::new(Finder::new(b"\r\n").into_owned()));
        assert_eq!(
            steps(&ending, b"a\r\nb\r\n"),
            ["1", "1", "1", "whole 3", "whole 3", "whole 3", "whole 3"]
        );
        let endless = vec![b'a'; MAX_REPLY];
        assert!(ending.reply(&endless, &mut Scan::default()).is_err());
    }

    #[test]
    fn an_end_is_found_wherever_it_is_cut_and_no_byte_is_searched_twice() {
        let end = b"--END--";
        let ending = Ending::With(Box::new(Finder::new(end).into_owned()));
        let reply = [&b"--END-x--EN"[..], end].concat();
        let mut scan = Scan::default();
        for length in 1..reply.len() {
            let step = ending.reply(&reply[..length], &mut scan);
            assert_eq!(step, Ok(Step::More { missing: 1 }), "{length}");
            // Only less than the end's length is searched again.
            assert!(length - scan.searched() < end.len());
        }
        let step = ending.reply(&reply, &mut scan);
        assert_eq!(step, Ok(Step::Frame(whole(reply.len()))));
    }

    #[test]
    fn an_exact_reply_is_compared_once() {
        let reply = b"twelve bytes";
        let ending = Ending::Exactly(reply.to_vec());
        let mut scan = Scan::default();
        for length in 1..reply.len() {
            let step = ending.reply(&reply[..length], &mut scan);
            let missing = reply.len() - length;
            assert_eq!(step, Ok(Step::More { missing }));
            assert_eq!(scan.searched(), length);
        }
    }

    #[test]
    fn a_reply_of_a_length_is_whole_when_that_is_there() {
        assert_eq!(
            steps(&Ending::After(2), b"abc"),
            ["1", "1", "whole 2", "whole 2"]
        );
    }
}
