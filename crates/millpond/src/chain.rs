//! An error with its causes, as people read it.

use std::{error::Error, fmt};

/// An error and all its causes, on one line: `the endpoint is unavailable …: connection refused`.
///
/// The errors of this crate that have a [`source`](Error::source) don't repeat its text in their own, so whoever prints one for people
/// walks the sources. This does; a cause that an error has said already is left out.
///
/// ```
/// # use std::{io, sync::Arc};
/// use millpond::{Chain, pool::DialError};
///
/// let error = DialError::Failed(Arc::new(io::Error::other("the disk is full")));
/// assert_eq!(error.to_string(), "the dial failed");
/// assert_eq!(Chain(&error).to_string(), "the dial failed: the disk is full");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chain<'e>(pub &'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                said.push_str(": ");
                said.push_str(&text);
            }
            cause = error.source();
        }
        f.write_str(&said)
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
    fn each_cause_is_said_once() {
        assert_eq!(Chain(&chain(&["alone"])).to_string(), "alone");
        assert_eq!(Chain(&chain(&["a", "b", "c"])).to_string(), "a: b: c");
        assert_eq!(
            Chain(&chain(&["a: b: c", "b: c", "c", "d"])).to_string(),
            "a: b: c: d"
        );
    }
}
