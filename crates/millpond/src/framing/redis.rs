//! Redis.

#[cfg_attr(not(test), allow(dead_code, unused_imports))]
mod commands;

/// Each command of Redis and Valkey that is known, with what is done with it, in words.
///
/// A command's name is in capitals, with its subcommand's behind a space.
pub fn redis_decisions() -> impl Iterator<Item = (&'static str, String)> {
    commands::decisions()
}
