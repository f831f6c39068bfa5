//! Redis' protocol: where its frames begin and end.

#![expect(dead_code, reason = "the preset that uses it comes next")]

mod arguments;
mod elements;
mod resp;
