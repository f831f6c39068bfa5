//! Protocols whose frames end with a delimiter, such as lines. A reply may be several lines: up to a
//! last one, up to a prompt, or a number of them.
//!
//! In however small pieces the bytes come, each is searched once for delimiters, and compared once at
//! most with the last line or the prompt. Wherever a delimiter's last byte stands, the bytes before
//! it are compared with the delimiter, which has 16 at most.

mod progress;
mod search;
mod settings;

use std::borrow::Cow;

use millpond_words::{InvalidSetting, Thousands};

pub use self::settings::{DelimitedSettings, EndOfReply};
use self::{
    progress::Progress,
    search::{Ends, ends_with, examined, is_same},
};
use super::{
    Context, Direction, Extent, Failure, FrameError, Framing, Octets, Scan, Step, Told,
    preset::{Preset, PresetFraming},
};

/// Stands for the message in the line that tells of a failure.
const MESSAGE: &str = "{message}";

/// A protocol whose frames end with a delimiter, such as lines.
///
/// ```
/// use millpond::framing::{Context, Delimited, Extent, Framing, Scan, Step};
///
/// let protocol = Delimited::lines();
/// let mut wire = Vec::new();
/// protocol.encode(Context::REQUEST, b"PING", &mut wire)?;
/// assert_eq!(wire, b"PING\n");
///
/// let step = protocol.next(Context::REQUEST, &wire, &mut Scan::default())?;
/// assert_eq!(step, Step::Frame(Extent { head: 0, body: 4, tail: 1 }));
/// # Ok::<_, millpond::framing::FrameError>(())
/// ```
///
/// # Where a frame ends
///
/// A request ends where the first delimiter ends; of several that end there it is the longest. So
/// with `"\r\n"` and `"\n"` no body keeps a `\r` before its end. The body is what stands before the
/// delimiter. An empty line is a frame with an empty body.
///
/// The end of a reply is one of four:
///
/// | [`EndOfReply`] | the frame | its body |
/// |---|---|---|
/// | `Line` | as a request | as a request's |
/// | `Lines(n)` | up to the n-th delimiter | all before that, with the delimiters in it |
/// | `UntilLine(last)` | up to the delimiter of the first line that equals `last` | the lines before that one, with the delimiters between them |
/// | `UntilPrompt(prompt)` | up to the end of `prompt`, where a line begins with it | the lines before that one, with the delimiters between them |
///
/// Neither the last line nor the prompt is part of the body, nor the delimiter before it. So a reply
/// of no lines and one of a single empty line have the same body; whole frames differ. It also is
/// one frame, so it is passed on when all of it has come.
///
/// **A last line and a prompt are found wherever they stand**, also among the lines that the server
/// quotes from elsewhere. Such a reply ends too early, and what follows it is nobody's, or taken for
/// the reply to the next request. Only for servers that never send such a line, or escape it, is the
/// promise kept that a reply is the reply to its own request. A prompt within a line is no prompt. A
/// line that begins with the prompt is one, whatever follows it.
///
/// A server that sends a prompt or a banner before the first request needs a login that reads it:
/// nobody has asked for it. And a reply that is one line where the request has failed, and many
/// where it hasn't, as in POP3, fits none of these.
///
/// # What is refused
///
/// - A frame whose body is longer than the limit, and bytes that have become too many for one:
///   [`FrameError::TooLong`].
/// - Where lines end with `"\r\n"` only, a `\n` alone in a request: many readers end a line there, and
///   would find two requests. [`FrameError::Unexpected`] says at which byte.
/// - A body to be sent that would be another one, or several, when it is read: one with a delimiter
///   in it, with the last line or the prompt at the beginning of a line, of another number of
///   lines. [`FrameError::Malformed`] says at which byte.
///
/// # How failures are told
///
/// By the line of [`failure`](DelimitedSettings::failure), if it is set, with what ends a reply:
/// empty lines up to the number of lines, the last line, or the prompt. Else by closing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimited {
    settings: DelimitedSettings,
    /// The longest first.
    delimiters: Vec<Octets>,
    ends: Ends,
    /// Whether lines end with a carriage return and a line feed, and in no other way.
    needs_both: bool,
    /// What is written behind a reply.
    reply_tail: Box<[u8]>,
    /// So many bytes of that aren't written where the body is empty.
    before_mark: usize,
    max_body: usize,
    limit_named: Cow<'static, str>,
}

/// A line that was found.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Where its delimiter begins.
    end: usize,
    /// Where the next line begins.
    next: usize,
}

impl Delimited {
    /// The protocol of these settings.
    ///
    /// # Errors
    ///
    /// A setting is out of its range, or contradicts another.
    pub fn new(settings: DelimitedSettings) -> Result<Self, InvalidSetting> {
        settings.validate()?;
        let mut delimiters = settings.delimiters.clone();
        delimiters.sort_by_key(|end| std::cmp::Reverse(end.len()));
        let delimiter = &settings.delimiters[0];
        let (before, mark, behind) = match &settings.reply {
            EndOfReply::UntilLine(last) => (&delimiter[..], &last[..], &delimiter[..]),
            EndOfReply::UntilPrompt(prompt) => (&delimiter[..], &prompt[..], &b""[..]),
            EndOfReply::Line | EndOfReply::Lines(_) => (&b""[..], &b""[..], &delimiter[..]),
        };
        let protocol = Delimited {
            ends: Ends::of(&delimiters),
            needs_both: matches!(&delimiters[..], [only] if **only == *b"\r\n"),
            reply_tail: [before, mark, behind].concat().into(),
            before_mark: before.len(),
            delimiters,
            max_body: settings.max_body(),
            limit_named: "max_body".into(),
            settings,
        };
        protocol.check_marks()?;
        protocol.check_failure()?;
        Ok(protocol)
    }

    /// Lines that end with a newline, each answered by one.
    pub fn lines() -> Self {
        let settings = DelimitedSettings::default();
        Delimited::new(settings).expect("the defaults contradict nothing")
    }

    /// The same protocol, in which bodies longer than this many bytes are refused. At most 1 TiB
    /// counts.
    pub fn with_max_body(mut self, max_body: usize) -> Self {
        self.settings.max_body = max_body;
        self.max_body = self.settings.max_body();
        self
    }

    /// The setting that [`FrameError::TooLong`] names, for programs that have one of their own.
    /// Default: `max_body`, as documents call it.
    pub fn limit_named(mut self, setting: impl Into<Cow<'static, str>>) -> Self {
        self.limit_named = setting.into();
        self
    }

    /// What it was made of.
    pub fn settings(&self) -> &DelimitedSettings {
        &self.settings
    }

    /// The longest body, in bytes.
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    /// The end of a reply must be found where it is written.
    fn check_marks(&self) -> Result<(), InvalidSetting> {
        let (setting, mark) = match &self.settings.reply {
            EndOfReply::UntilLine(last) => ("reply.until_line", last),
            EndOfReply::UntilPrompt(prompt) => ("reply.until_prompt", prompt),
            EndOfReply::Line | EndOfReply::Lines(_) => return Ok(()),
        };
        let written = self.encode(Context::REPLY, b"", &mut Vec::new());
        written.map_err(|_| {
            let allowed = "such that with the first delimiter it makes no other delimiter";
            InvalidSetting::new(setting, format!("{mark:?}"), allowed)
        })
    }

    fn check_failure(&self) -> Result<(), InvalidSetting> {
        let Some(text) = &self.settings.failure else {
            return Ok(());
        };
        let written = self.encode_line(&text.replace(MESSAGE, ""), &mut Vec::new());
        written.map_err(|error| {
            let allowed = format!("a line that can be sent as a reply ({error})");
            InvalidSetting::new("failure", format!("{text:?}"), allowed)
        })
    }

    /// What a frame begins with that goes this way, unless it is longer than allowed.
    #[inline]
    fn first(&self, way: Direction, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let step = match (way, &self.settings.reply) {
            (Direction::Request, _) if self.needs_both => self.strict_line(bytes, scan)?,
            (Direction::Request, _) | (_, EndOfReply::Line) => self.line(bytes, scan),
            (Direction::Reply, end) => self.reply(end, bytes, scan),
        };
        let length = match step {
            Step::Frame(extent) if extent.body > self.max_body => extent.body,
            Step::More { .. } if bytes.len() >= self.max_body + self.longest_tail(way) => {
                bytes.len()
            }
            step => return Ok(step),
        };
        Err(self.too_long(length))
    }

    /// The most bytes behind a body.
    fn longest_tail(&self, way: Direction) -> usize {
        let delimiter = self.delimiters[0].len();
        match (way, &self.settings.reply) {
            (Direction::Reply, EndOfReply::UntilLine(last)) => 2 * delimiter + last.len(),
            (Direction::Reply, EndOfReply::UntilPrompt(prompt)) => delimiter + prompt.len(),
            _ => delimiter,
        }
    }

    #[inline]
    fn line(&self, bytes: &[u8], scan: &mut Scan) -> Step {
        match self.end_of_line(bytes, 0, scan.searched()) {
            Some(line) => frame(line.end, line.next),
            None => {
                scan.set_searched(bytes.len());
                Step::More { missing: 1 }
            }
        }
    }

    /// A line that ends with both, in which no line feed stands alone.
    fn strict_line(&self, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let from = scan.searched();
        let Some(at) = bytes.get(from..).and_then(|rest| self.ends.find(rest)) else {
            scan.set_searched(bytes.len());
            return Ok(Step::More { missing: 1 });
        };
        let position = from + at;
        match bytes[..position].ends_with(b"\r") {
            true => Ok(frame(position - 1, position + 1)),
            false if position >= self.max_body + 2 => Err(self.too_long(position)),
            false => Err(FrameError::Unexpected {
                position,
                found: bytes[position],
                expected: "a carriage return before it".into(),
            }),
        }
    }

    /// The end of the line that begins at `begin`. Up to `from` there is none.
    #[inline]
    fn end_of_line(&self, bytes: &[u8], begin: usize, mut from: usize) -> Option<Line> {
        loop {
            let next = from + self.ends.find(bytes.get(from..)?)? + 1;
            let text = &bytes[begin..next];
            if let Some(delimiter) = self.delimiters.iter().find(|end| ends_with(text, end)) {
                let end = next - delimiter.len();
                return Some(Line { end, next });
            }
            from = next;
        }
    }

    /// What a reply of several lines begins with.
    fn reply(&self, end: &EndOfReply, bytes: &[u8], scan: &mut Scan) -> Step {
        let mut progress = Progress::of(scan);
        let mut from = scan.searched();
        loop {
            if let (EndOfReply::UntilPrompt(prompt), true) = (end, progress.may_be_prompt) {
                let expected = &prompt[from - progress.line..];
                let arrived = bytes.get(from..).unwrap_or_default();
                let common = arrived.iter().zip(expected).take_while(|(a, b)| a == b);
                let common = common.count();
                examined(arrived.len().min(common + 1));
                match common {
                    all if all == expected.len() => {
                        let body = progress.line - progress.delimiter();
                        return frame(body, progress.line + prompt.len());
                    }
                    some if some == arrived.len() => {
                        progress.save(bytes.len(), scan);
                        let missing = expected.len() - some;
                        return Step::More { missing };
                    }
                    // No delimiter ends among what is as in the prompt.
                    some => {
                        progress.may_be_prompt = false;
                        from += some;
                    }
                }
            }
            let Some(line) = self.end_of_line(bytes, progress.line, from) else {
                progress.save(bytes.len(), scan);
                return Step::More { missing: 1 };
            };
            match end {
                EndOfReply::UntilLine(last) if is_same(&bytes[progress.line..line.end], last) => {
                    return frame(progress.line - progress.delimiter(), line.next);
                }
                EndOfReply::Lines(count) if progress.lines() + 1 >= *count => {
                    return frame(line.end, line.next);
                }
                EndOfReply::Lines(_) => progress.next_of_lines(line.next),
                _ => progress.next_line(line.end, line.next),
            }
            from = line.next;
        }
    }

    /// What stands behind this body.
    #[inline]
    fn tail(&self, way: Direction, body: &[u8]) -> &[u8] {
        match (way, body.is_empty()) {
            (Direction::Request, _) => &self.settings.delimiters[0],
            (Direction::Reply, false) => &self.reply_tail,
            (Direction::Reply, true) => &self.reply_tail[self.before_mark..],
        }
    }

    /// A reply of one line, filled up with empty ones if there have to be more.
    fn encode_line(&self, text: &str, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut body = text.as_bytes().to_vec();
        if let EndOfReply::Lines(count) = self.settings.reply {
            let length = self.settings.delimiters[0].len();
            if length * (count as usize - 1) > self.max_body {
                return Err(self.too_long(length * (count as usize - 1)));
            }
            (1..count).for_each(|_| body.extend_from_slice(&self.settings.delimiters[0]));
        }
        self.encode(Context::REPLY, &body, out)
    }

    /// The message on one line, without delimiters.
    fn plain(&self, message: &str) -> String {
        let blank = |letter: char| if letter.is_control() { ' ' } else { letter };
        let mut plain: String = message.chars().map(blank).collect();
        for delimiter in &self.delimiters {
            if let Ok(text) = std::str::from_utf8(delimiter) {
                plain = plain.replace(text, " ");
            }
        }
        plain
    }

    /// A body that wouldn't come out as it went in, and what was found instead.
    #[cold]
    fn unsendable(&self, found: Result<Step, FrameError>) -> FrameError {
        let reason = match found {
            Err(error @ FrameError::Unexpected { .. }) => return error,
            Ok(Step::Frame(extent)) => format!(
                "at byte {} of the body the frame would end, and the rest be another",
                Thousands(extent.body as u64)
            ),
            _ => String::from("the body has fewer lines than a reply must have"),
        };
        let reason = reason.into();
        FrameError::Malformed { reason }
    }

    #[cold]
    fn too_long(&self, length: usize) -> FrameError {
        FrameError::TooLong {
            length: length as u64,
            limit: self.max_body as u64,
            setting: Some(self.limit_named.clone()),
        }
    }
}

/// A frame with this body, that ends there.
#[inline]
fn frame(body: usize, end: usize) -> Step {
    Step::Frame(Extent {
        head: 0,
        body,
        tail: end - body,
    })
}

impl Default for Delimited {
    fn default() -> Self {
        Delimited::lines()
    }
}

impl TryFrom<DelimitedSettings> for Delimited {
    type Error = InvalidSetting;

    fn try_from(settings: DelimitedSettings) -> Result<Self, InvalidSetting> {
        Delimited::new(settings)
    }
}

impl PresetFraming for Delimited {
    const PRESET: Preset = Preset::new(
        "delimited",
        "lines, or what else ends with given bytes; replies of one line, several, or up to a prompt",
    );

    type Settings = DelimitedSettings;

    fn plain() -> Self {
        Delimited::lines()
    }

    fn settings(&self) -> DelimitedSettings {
        self.settings.clone()
    }

    fn limited(self, max_body: usize, named: Cow<'static, str>) -> Self {
        self.with_max_body(max_body).limit_named(named)
    }
}

impl Framing for Delimited {
    #[inline]
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.first(context.direction(), bytes, scan)
    }

    #[inline]
    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        if body.len() > self.max_body {
            return Err(self.too_long(body.len()));
        }
        let (way, start) = (context.direction(), out.len());
        let tail = self.tail(way, body);
        out.reserve(body.len() + tail.len());
        out.extend_from_slice(body);
        out.extend_from_slice(tail);
        // What was written is read: that is right whatever the delimiters.
        let frame = &out[start..];
        let found = self.first(way, frame, &mut Scan::default());
        match found {
            Ok(Step::Frame(extent))
                if extent.body == body.len() && extent.length() == frame.len() =>
            {
                Ok(())
            }
            other => {
                out.truncate(start);
                Err(self.unsendable(other))
            }
        }
    }

    #[inline]
    fn max_frame(&self) -> usize {
        let tail = self.longest_tail(Direction::Reply);
        self.max_body + tail.max(self.longest_tail(Direction::Request))
    }

    fn name(&self) -> &str {
        "a protocol of delimited frames"
    }

    #[inline]
    fn looks_at_requests(&self) -> bool {
        false
    }

    fn failure_needs_request(&self) -> bool {
        false
    }

    fn encode_failure(
        &self,
        _: Context<'_>,
        _: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        let Some(text) = &self.settings.failure else {
            return Told::ByClosing;
        };
        // The message may make the line too long, or equal to the last one.
        let messages = [self.plain(failure.message()), String::new()];
        let mut lines = messages
            .map(|message| text.replace(MESSAGE, &message))
            .into_iter();
        match lines.any(|line| self.encode_line(&line, out).is_ok()) {
            true => Told::ByReply,
            false => Told::ByClosing,
        }
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
