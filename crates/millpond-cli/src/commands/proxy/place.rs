//! Where in a file of routes a setting stands that is out of its range.

use std::{ops::Range, path::PathBuf, sync::Arc};

use crate::fault::Source;

/// The table of a route.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) text: Arc<str>,
    /// The name of the route.
    pub(super) route: String,
    /// Its table.
    pub(super) span: Range<usize>,
}

impl Place {
    /// What is said of a setting, which it names first, with the setting's line: or the table's, if
    /// the setting can't be found.
    pub(super) fn point(&self, said: &str) -> String {
        let setting = said.rsplit(": ").next().unwrap_or_default();
        let setting = setting.split(' ').next().unwrap_or_default();
        let span = self.find(setting).unwrap_or_else(|| self.span.clone());
        Source::of_file(&self.file, &self.text).point(span, said)
    }

    /// The line in which the route's tables set this.
    fn find(&self, setting: &str) -> Option<Range<usize>> {
        let mut at = self.span.start;
        for line in self.text[at..].split_inclusive('\n') {
            let ours = [
                format!("[route.{}]", self.route),
                format!("[route.{}.", self.route),
            ];
            if line.starts_with("[route.") && !ours.iter().any(|it| line.starts_with(it)) {
                return None;
            }
            let key = line.split('=').next().unwrap_or_default().trim();
            let last = key.rsplit('.').next().unwrap_or_default();
            if line.contains('=') && last.strip_suffix("_seconds").unwrap_or(last) == setting {
                return Some(at..at + line.trim_end().len());
            }
            at += line.len();
        }
        None
    }
}
