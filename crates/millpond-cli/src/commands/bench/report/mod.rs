//! The forms in which results are shown. Each is a pure function of the
//! [`Results`](super::results::Results); `table` and `words` have what several of them share. The
//! JSON is the results' serialization, and has no file here.

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
