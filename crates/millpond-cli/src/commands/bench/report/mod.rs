//! How what a benchmark has found is shown: a form per file, each a pure function of the
//! [`Results`](super::results::Results), and what several of them say in `table` and `words`. The
//! JSON is the results' serialization and has no file here.

pub(super) mod csv;
pub(super) mod html;
pub(super) mod markdown;
pub(super) mod plots;
pub(super) mod text;

mod histogram;
mod table;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
