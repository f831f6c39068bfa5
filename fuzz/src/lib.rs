//! Arbitrary bytes for everything in millpond that reads some, and what must come of them, by
//! references that are as slow and as obvious as they can be. Each target is a plain function of
//! bytes that panics if something is wrong: libFuzzer calls them (`.ci/fuzz`), and so does
//! `cargo test`, with the corpus and what is nearly it. Nothing here is fast, and nothing here is shared with what it
//! judges.
//!
//! Reading order: [`reference`](mod@reference) and [`grammar`], which say what is right; then the
//! targets: [`decoder`], [`json`], [`presets`], whose references are those of the library's own
//! tests, [`redis`], which has another program for a reference as well, [`mllp`], which has its
//! reference beside it, [`server_connection`], [`client_exchange`],
//! [`proxied_conversation`].

pub mod client_exchange;
pub mod decoder;
pub mod grammar;
pub mod json;
pub mod mllp;
pub mod pieces;
#[path = "../../crates/millpond/tests/presets/reference.rs"]
mod preset_references;
pub mod presets;
pub mod proxied_conversation;
mod proxied_wire;
pub mod redis;
#[path = "../../crates/millpond/tests/presets/redis_reference.rs"]
mod redis_reference;
pub mod reference;
pub mod server_connection;
mod stage;
