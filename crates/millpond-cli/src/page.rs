//! A page of text of a given width: headings, wrapped words, labels with words beside them, a
//! verdict. Owns how these look, not what they say.

use textwrap::{Options, WordSplitter};

use crate::color::{Paint, Tone};

/// The column at which the words beside a label begin.
const LABEL: usize = 13;

/// Lines of at most `width` columns.
#[derive(Debug)]
pub(crate) struct Page {
    lines: Vec<String>,
    width: usize,
    paint: Paint,
}

impl Page {
    pub(crate) fn new(width: usize, paint: Paint) -> Self {
        Page {
            lines: Vec::new(),
            width,
            paint,
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// In columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// A line as it is; the caller keeps it within the width.
    pub(crate) fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(crate) fn heading(&mut self, text: &str) {
        let paint = self.paint;
        for line in self.part("", text) {
            *line = paint.tone(Tone::Heading, &*line);
        }
    }

    /// The verdict: a heading with a mark before it.
    pub(crate) fn verdict(&mut self, tone: Tone, mark: char, text: &str) {
        let paint = self.paint;
        let lines = self.part("  ", text);
        for (nth, line) in lines.iter_mut().enumerate() {
            let mark = match nth {
                0 => paint.tone(tone, mark),
                _ => String::from(" "),
            };
            *line = format!("{mark} {}", paint.tone(Tone::Heading, line.trim_start()));
        }
    }

    /// Wrapped words.
    pub(crate) fn text(&mut self, text: &str) {
        self.wrapped("  ", "  ", text);
    }

    /// A label, and words beside it.
    pub(crate) fn item(&mut self, label: &str, text: &str) {
        let label = format!("  {label:<width$}", width = LABEL - 2);
        self.wrapped(&label, &" ".repeat(LABEL), text);
    }

    /// A mark, a label, and words beside it, which begin in the same column for every label.
    pub(crate) fn marked(
        &mut self,
        tone: Tone,
        mark: char,
        label: &str,
        column: usize,
        text: &str,
    ) {
        let begin = self.lines.len();
        let label = format!("{label:<width$}", width = column.saturating_sub(2));
        self.wrapped(&format!("  {label}"), &" ".repeat(column), text);
        let paint = self.paint;
        if let Some(rest) = self
            .lines
            .get(begin)
            .and_then(|line| line.strip_prefix("  "))
        {
            self.lines[begin] = format!("{} {rest}", paint.tone(tone, mark));
        }
    }

    /// An empty line, unless this is the top of the page.
    pub(crate) fn space(&mut self) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
    }

    /// Wrapped words, with one prefix for the first line and another for the others.
    pub(crate) fn wrapped(&mut self, first: &str, later: &str, text: &str) {
        let options = Options::new(self.width)
            .initial_indent(first)
            .subsequent_indent(later)
            // A flag or a name with a hyphen stays in one piece.
            .word_splitter(WordSplitter::NoHyphenation);
        let lines = textwrap::wrap(text, options);
        self.lines
            .extend(lines.into_iter().map(|line| line.into_owned()));
    }

    /// Starts a new part.
    fn part(&mut self, indent: &str, text: &str) -> &mut [String] {
        self.space();
        let begin = self.lines.len();
        self.wrapped(indent, indent, text);
        &mut self.lines[begin..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_broken_to_the_width_and_parts_are_set_apart() {
        let mut page = Page::new(24, Paint::Plain);
        page.heading("A heading");
        page.item("label", "words beside it, more than fit");
        page.verdict(Tone::Good, '✓', "All is well with this one");
        assert_eq!(
            page.into_lines(),
            [
                "A heading",
                "  label      words",
                "             beside it,",
                "             more than",
                "             fit",
                "",
                "✓ All is well with this",
                "  one",
            ]
        );
    }
}
