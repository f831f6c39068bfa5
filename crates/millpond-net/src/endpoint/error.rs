//! What is wrong with a text that should be an endpoint, where in it, and what to do; told without
//! repeating a password or giving a terminal anything to execute.

use std::{borrow::Cow, error::Error, fmt};

use super::scheme::is_scheme;

/// How many characters are shown on each side of the fault.
const SHOWN: usize = 60;

/// A fault in a text, without the text: what finds it may see only a part.
pub(super) struct Fault {
    /// In bytes from the beginning of that part, on a character's boundary.
    at: usize,
    problem: Cow<'static, str>,
    advice: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(
        at: usize,
        problem: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        Fault {
            at,
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    /// The same fault in a text where that part begins after so many bytes.
    pub(super) fn after(mut self, bytes: usize) -> Self {
        self.at += bytes;
        self
    }
}

/// Why a text is no [`Endpoint`](super::Endpoint) or no [`HostName`](super::HostName).
///
/// It displays as one line: what is wrong, where, and what to do. The alternate form, `{:#}`, shows
/// the text in a line of its own and points at the place from below:
///
/// ```text
/// an IPv6 address without brackets at character 7; put it in brackets: [address]:port
///     tcp://::1:80
///           ^
/// ```
///
/// Both show at most 60 characters on each side of the place, and escape whatever doesn't print.
/// The caret stands right for characters that are one column wide; each wide one (as in Chinese)
/// before it shifts it by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError {
    input: Box<str>,
    position: usize,
    problem: Cow<'static, str>,
    advice: Cow<'static, str>,
}

impl EndpointError {
    pub(super) fn new(text: &str, fault: Fault) -> Self {
        EndpointError {
            input: without_user_info(text).into(),
            position: text[..fault.at].chars().count() + 1,
            problem: fault.problem,
            advice: fault.advice,
        }
    }

    /// Where the fault is, in characters from 1. Where something is missing at the end this is one
    /// more than there are.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The text that was to be read, as it was given; only what may be user info, and so a
    /// password, is replaced by as many asterisks: whatever stands between the scheme and the
    /// last `@`. Escape it before you print it.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// The text around the fault, fit to be printed, and how many characters of it stand before the
    /// fault.
    fn excerpt(&self) -> (String, usize) {
        let before = self.position - 1;
        let skipped = before.saturating_sub(SHOWN);
        let mut shown = String::from(if skipped > 0 { "…" } else { "" });
        let mut rest = self.input.chars().skip(skipped);
        shown.extend(rest.by_ref().take(before - skipped).flat_map(printable));
        let caret = shown.chars().count();
        shown.extend(rest.by_ref().take(SHOWN).flat_map(printable));
        if rest.next().is_some() {
            shown.push('…');
        }
        (shown, caret)
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EndpointError {
            position,
            problem,
            advice,
            ..
        } = self;
        let (shown, caret) = self.excerpt();
        if f.alternate() {
            write!(
                f,
                "{problem} at character {position}; {advice}\n    {shown}\n    "
            )?;
            write!(f, "{:caret$}^", "")
        } else {
            write!(
                f,
                "{problem} at character {position} of \"{shown}\"; {advice}"
            )
        }
    }
}

impl Error for EndpointError {}

/// Escapes control characters, quotes, backslashes, and whatever else a terminal may act upon or
/// not show.
fn printable(character: char) -> impl Iterator<Item = char> {
    character.escape_debug()
}

/// A text that was refused still may hold a password, and its error is going to be logged. Each
/// character is replaced by one, so positions stay what they are. An `@` in a path is no user info.
fn without_user_info(text: &str) -> Cow<'_, str> {
    let begin = match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => scheme.len() + "://".len(),
        _ => 0,
    };
    let is_path = text.starts_with('/')
        || text
            .get(..5)
            .is_some_and(|it| it.eq_ignore_ascii_case("unix:"));
    match text.rfind('@') {
        Some(end) if !is_path && begin < end => {
            let hidden = "*".repeat(text[begin..end].chars().count());
            Cow::Owned([&text[..begin], &hidden, &text[end..]].concat())
        }
        _ => Cow::Borrowed(text),
    }
}
