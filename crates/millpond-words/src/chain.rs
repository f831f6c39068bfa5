//! An error with its causes, as people read it.

use std::{error::Error, fmt, io};

/// An error and all its causes, on one line: `the endpoint is unavailable …: connection refused`.
///
/// The errors of this crate that have a [`source`](Error::source) don't repeat its text in their
/// own, so whoever prints one for people walks the sources. This does; a cause that an error has
/// said already is left out, and an error of the system is told in its words, without its number.
///
/// ```
/// # use std::io;
/// use millpond_words::Chain;
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("the dial failed")]
/// struct DialFailed(#[source] io::Error);
///
/// let error = DialFailed(io::Error::other("the disk is full"));
/// assert_eq!(error.to_string(), "the dial failed");
/// assert_eq!(Chain(&error).to_string(), "the dial failed: the disk is full");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chain<'e>(pub &'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = in_words(self.0);
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = in_words(error);
            if !said.contains(&text) {
                said.push_str(": ");
                said.push_str(&text);
            }
            cause = error.source();
        }
        f.write_str(&said)
    }
}

fn in_words(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(error) => Plain(error).to_string(),
        None => error.to_string(),
    }
}

/// A system's error as people write it: without its number.
pub struct Plain<'e>(pub &'e io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let number = self
            .0
            .raw_os_error()
            .map(|code| format!(" (os error {code})"));
        match number.and_then(|number| text.strip_suffix(number.as_str())) {
            Some(words) => f.write_str(&words.to_lowercase()),
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (&text, rest) = texts.split_first().expect("at least one");
        let source = (!rest.is_empty()).then(|| Box::new(chain(rest)));
        Link { text, source }
    }

    #[test]
    fn an_error_of_the_system_is_told_without_its_number() {
        let error = io::Error::from_raw_os_error(111);
        assert_eq!(error.to_string(), "Connection refused (os error 111)");
        assert_eq!(Chain(&error).to_string(), "connection refused");
        let error = io::Error::other("Nobody's words");
        assert_eq!(Chain(&error).to_string(), "Nobody's words");
    }

    #[test]
    fn each_cause_is_said_once() {
        assert_eq!(Chain(&chain(&["alone"])).to_string(), "alone");
        assert_eq!(Chain(&chain(&["a", "b", "c"])).to_string(), "a: b: c");
        assert_eq!(
            Chain(&chain(&["a: b: c", "b: c", "c", "d"])).to_string(),
            "a: b: c: d"
        );
    }
}
