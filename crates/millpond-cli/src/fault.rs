//! Reads settings from TOML, and tells what is wrong there: at which line and column, what stands
//! there, and what was probably meant.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use serde::de::DeserializeOwned;

/// The longest file with settings that is read: a hundred times what anybody would write.
const LONGEST_FILE: u64 = 1 << 20;

/// No longer line is shown with its fault.
const SHOWN: usize = 76;

/// How similar a word must be to another to be meant by it: as clap has it for flags.
const SIMILAR: f64 = 0.7;

/// Where settings are written.
pub(crate) struct Source<'s> {
    /// The file that the text is in; otherwise it is on the command line.
    pub(crate) file: Option<&'s Path>,
    /// What makes a document of the text, and isn't shown.
    pub(crate) before: &'s str,
    pub(crate) text: &'s str,
    pub(crate) behind: &'s str,
}

/// The text of a file with settings.
pub(crate) fn read_file(path: &Path) -> Result<String, String> {
    let unread = |error: io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(unread)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!(
            "{}: it is longer than 1 MiB, and holds no settings",
            path.display()
        ));
    }
    String::from_utf8(bytes).map_err(|_| format!("{}: it isn't UTF-8 text", path.display()))
}

impl<'s> Source<'s> {
    /// A file, with its text.
    pub(crate) fn of_file(file: &'s Path, text: &'s str) -> Self {
        Source {
            file: Some(file),
            before: "",
            text,
            behind: "",
        }
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        let document = [self.before, self.text, "\n", self.behind].concat();
        toml::from_str(&document).map_err(|error| self.tell(&document, &error))
    }

    /// What is wrong, where it is wrong, and the line with a mark below it.
    fn tell(&self, document: &str, error: &toml::de::Error) -> String {
        let said: Vec<_> = error.message().lines().map(str::trim).collect();
        let said = said.join(", ");
        let span = error.span().unwrap_or_default();
        let found = document.get(span.clone()).unwrap_or_default();
        let hint = did_you_mean(found.trim_matches(['"', '\'']), &said);
        self.point(span, &format!("{said}{hint}"))
    }

    /// What is said of a place, with the line and a mark below it; without the line, if it may hold a
    /// secret.
    pub(crate) fn point(&self, span: Range<usize>, said: &str) -> String {
        let at = span.start.saturating_sub(self.before.len());
        // The span is within the document, which is longer than the text.
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        let file = self
            .file
            .map(|file| format!("{}, ", file.display()))
            .unwrap_or_default();
        let place = format!("{file}line {}, column {}", line + 1, column + 1);
        // What is said goes to terminals and journals, where no secret may be.
        let is_secret = |text: &str| said.contains("secret") || text.contains("secret");
        let is_shown = |text: &&str| {
            text.chars().count() <= SHOWN && !text.contains(char::is_control) && !is_secret(text)
        };
        let shown = match self.text.lines().nth(line).filter(is_shown) {
            Some(text) => {
                format!("\n    {text}\n    {:column$}^", "")
            }
            _ => String::new(),
        };
        format!("{place}: {said}{shown}")
    }
}

/// What was meant by a word, among those that an error lists; nothing if none is like it.
pub(crate) fn did_you_mean(word: &str, error: &str) -> String {
    let listed = error
        .split(|character: char| !(character.is_alphanumeric() || "-_".contains(character)))
        .filter(|listed| error.contains(&format!("`{listed}`")) || lists(error, listed));
    let likeness = |listed: &&str| strsim::jaro(word, listed);
    let meant = listed
        .filter(|listed| *listed != word && likeness(listed) > SIMILAR)
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    meant
        .map(|meant| format!("; did you mean {meant}?"))
        .unwrap_or_default()
}

/// Whether the word is in a list of names: `there are: one, two`.
fn lists(error: &str, word: &str) -> bool {
    let listed = error.split_once("there are: ").map(|(_, listed)| listed);
    listed.is_some_and(|listed| listed.split(", ").any(|name| name == word))
}

#[cfg(test)]
mod tests {
    use millpond::framing::Protocol;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Document {
        #[serde(rename = "framing")]
        _framing: Protocol,
    }

    fn told(text: &str) -> String {
        let source = Source {
            file: None,
            before: "framing = ",
            text,
            behind: "",
        };
        source.read::<Document>().expect_err(text)
    }

    #[test]
    fn a_fault_is_told_with_its_place_and_what_was_meant() {
        for (text, said) in [
            ("{ mlpl = {} }", "line 1, column 3: "),
            (
                "{ mlpl = {} }",
                "; did you mean mllp?\n    { mlpl = {} }\n      ^",
            ),
            ("{ mllp = { max_boby = 7 } }", "line 1, column 12: "),
            ("{ mllp = { max_boby = 7 } }", "; did you mean max_body?"),
            (
                "{ mllp = {\n  enhanced = \"same-conection\" } }",
                "line 2, column 14: ",
            ),
            (
                "{ mllp = {\n  enhanced = \"same-conection\" } }",
                "; did you mean same_connection?",
            ),
            (
                "{ mllp = { max_body = ü } }",
                "\n    { mllp = { max_body = ü } }\n",
            ),
            ("\"mllp", "line 1, column "),
            ("", "line 1, column 1: "),
        ] {
            assert!(told(text).contains(said), "{text}: {}", told(text));
        }
    }

    #[test]
    fn nothing_else_than_a_listed_word_is_meant() {
        assert_eq!(
            did_you_mean(
                "named",
                "there is no framing named `named`; there are: mllp"
            ),
            ""
        );
        assert_eq!(did_you_mean("", "there are: mllp"), "");
        assert_eq!(
            did_you_mean("mlp", "there are: mllp, raw"),
            "; did you mean mllp?"
        );
    }
}
