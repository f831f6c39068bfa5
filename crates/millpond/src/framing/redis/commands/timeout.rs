//! How long a command that may wait does so, read from its arguments.

use std::time::Duration;

/// Where a command that may wait says for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::framing::redis) enum Timeout {
    /// The argument here is a number of seconds. The first one behind the command's name is 0.
    At(usize),
    /// The last argument is a number of seconds: BLPOP, and others that name any number of keys.
    Last,
    /// Behind the word BLOCK is a number of milliseconds, and without it there is no waiting: XREAD
    /// and XREADGROUP. The options begin at this argument.
    AfterBlock(usize),
}

/// How long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::framing::redis) enum Wait {
    /// For so long at most.
    For(Duration),
    /// For ever; or the time isn't plain, and the server will say what it takes it for.
    Forever,
}

impl Timeout {
    /// How long a command with these arguments waits, those behind its name. None: it doesn't wait,
    /// since it isn't asked to or since the argument is missing, which the server doesn't accept.
    ///
    /// It never takes a command that waits for one that doesn't. It may take a wrong one, which the
    /// server refuses at once, for one that waits.
    pub(in crate::framing::redis) fn of<'a>(
        self,
        arguments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<Wait> {
        let mut arguments = arguments.into_iter();
        match self {
            Timeout::At(place) => arguments.nth(place).map(seconds),
            Timeout::Last => arguments.last().map(seconds),
            Timeout::AfterBlock(options) => after_block(arguments.skip(options)),
        }
    }
}

/// Options with one argument of their own.
const ONE: [&[u8]; 5] = [b"COUNT", b"CLAIM", b"MAXCOUNT", b"MAXSIZE", b"MAX_COUNT"];

/// The words before STREAMS are options. An option's own argument may look like another option: a
/// consumer may be called BLOCK. Of two timeouts the server takes the last.
fn after_block<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Option<Wait> {
    let mut wait = None;
    while let Some(word) = arguments.next() {
        if is_word(word, b"STREAMS") {
            break;
        } else if is_word(word, b"BLOCK") {
            wait = arguments.next().map(milliseconds).or(wait);
        } else if ONE.iter().any(|option| is_word(word, option)) {
            arguments.next();
        } else if is_word(word, b"GROUP") {
            arguments.nth(1);
        }
    }
    wait
}

/// Whether an argument is this word, as the server compares them: up to a zero byte.
pub(in crate::framing::redis) fn is_word(argument: &[u8], word: &[u8]) -> bool {
    let before = argument.split(|&byte| byte == 0).next();
    before.unwrap_or_default().eq_ignore_ascii_case(word)
}

/// Redis rounds up to whole milliseconds.
fn seconds(text: &[u8]) -> Wait {
    let seconds = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let rounded = seconds.map(|seconds: f64| (seconds * 1000.0).ceil() / 1000.0);
    match rounded.map(Duration::try_from_secs_f64) {
        Some(Ok(time)) if !time.is_zero() => Wait::For(time),
        _ => Wait::Forever,
    }
}

fn milliseconds(text: &[u8]) -> Wait {
    let milliseconds = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    match milliseconds {
        Some(0) | None => Wait::Forever,
        Some(milliseconds) => Wait::For(Duration::from_millis(milliseconds)),
    }
}
