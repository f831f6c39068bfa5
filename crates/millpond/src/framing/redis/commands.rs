//! What is done with each command of Redis, when many clients share a few connections to a server.
//! A table, and the lookup in it. It knows the commands of Redis up to 8.12 and of Valkey up to 9.1,
//! those of Redis's modules among them. What it doesn't know it doesn't judge.

mod decision;
mod groups;
mod timeout;

pub(super) use self::{
    decision::{Decision, Here, Pin},
    timeout::{Timeout, Wait},
};

use self::groups::{GROUPS, Group};

/// A command, or a subcommand of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// In capitals: `GET`, `CLIENT KILL`.
    pub(super) name: &'static str,
    pub(super) decision: Decision,
    /// Sent twice, it does the same as once: it only reads, or what it changes is then as it should
    /// be.
    pub(super) only_reads: bool,
    /// Its first argument is a subcommand, with a decision of its own.
    has_subcommands: bool,
    /// The length of the name without the subcommand.
    length: usize,
}

/// What is known of a command. `subcommand` is its first argument, whatever that means to it. None
/// is a command that isn't in the table, or a subcommand that isn't.
///
/// Case doesn't matter. A command with subcommands that comes without one is known, and refused
/// unless the server gives it a meaning.
#[inline]
pub(super) fn command(name: &[u8], subcommand: Option<&[u8]>) -> Option<&'static Command> {
    let command = find(name, None)?;
    match subcommand {
        Some(subcommand) if command.has_subcommands => find(name, Some(subcommand)),
        _ => Some(command),
    }
}

/// Every command and subcommand with what is done with it, in words, ordered as in the table.
pub(super) fn decisions() -> impl Iterator<Item = (&'static str, String)> {
    COMMANDS.iter().map(|command| {
        let again = match command.decision {
            Decision::Plain if command.only_reads => "; again, if that is lost",
            _ => "",
        };
        (command.name, format!("{}{again}", command.decision))
    })
}

/// All of them, as the groups have them.
static COMMANDS: [Command; COUNT] = commands();

/// Where in [`COMMANDS`] a name is: at the place that its hash says, or at the next ones, of which
/// none is empty. More than half of the places are, so a name that isn't there is seldom compared.
static PLACES: [u16; 1 << BITS] = places();

const BITS: u32 = 11;
const EMPTY: u16 = u16::MAX;
const COUNT: usize = count();
const LONGEST: usize = longest();

/// Nothing is copied, and a name of any length takes no longer than the longest of the table.
#[inline]
fn find(name: &[u8], subcommand: Option<&[u8]>) -> Option<&'static Command> {
    let second = subcommand.unwrap_or_default();
    if name.len() > LONGEST || second.len() > LONGEST {
        return None;
    }
    let mut hash = hashed(SEED, name);
    if let Some(second) = subcommand {
        hash = hashed(hashed(hash, b" "), second);
    }
    let mut place = place_of(hash);
    loop {
        let command = COMMANDS.get(usize::from(PLACES[place]))?;
        let (first, rest) = command.name.as_bytes().split_at(command.length);
        let same_second = match subcommand {
            None => rest.is_empty(),
            Some(second) => {
                rest.len() == second.len() + 1 && second.eq_ignore_ascii_case(&rest[1..])
            }
        };
        if same_second && name.eq_ignore_ascii_case(first) {
            return Some(command);
        }
        place = (place + 1) % PLACES.len();
    }
}

/// FNV-1a, of capitals.
const SEED: u32 = 0x811c_9dc5;

const fn hashed(mut hash: u32, name: &[u8]) -> u32 {
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at].to_ascii_uppercase() as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// The upper bits are the better mixed ones.
const fn place_of(hash: u32) -> usize {
    (hash >> (u32::BITS - BITS)) as usize
}

const fn commands() -> [Command; COUNT] {
    let nothing = Command {
        name: "",
        decision: Decision::Plain,
        only_reads: false,
        has_subcommands: false,
        length: 0,
    };
    let mut commands = [nothing; COUNT];
    let (mut group, mut filled) = (0, 0);
    while group < GROUPS.len() {
        let Group {
            decision,
            only_reads,
            has_subcommands,
            names,
        } = GROUPS[group];
        let mut at = 0;
        while let Some((name, next)) = name_in(names, at) {
            let mut length = 0;
            while length < name.len() && name.as_bytes()[length] != b' ' {
                length += 1;
            }
            commands[filled] = Command {
                name,
                decision,
                only_reads,
                has_subcommands,
                length,
            };
            filled += 1;
            at = next;
        }
        group += 1;
    }
    commands
}

const fn places() -> [u16; 1 << BITS] {
    const { assert!(COUNT * 2 < 1 << BITS, "a search must soon end") };
    let mut places = [EMPTY; 1 << BITS];
    let mut at = 0;
    while at < COUNT {
        let mut place = place_of(hashed(SEED, COMMANDS[at].name.as_bytes()));
        while places[place] != EMPTY {
            place = (place + 1) % places.len();
        }
        places[place] = at as u16;
        at += 1;
    }
    places
}

const fn count() -> usize {
    let (mut group, mut count) = (0, 0);
    while group < GROUPS.len() {
        let mut at = 0;
        while let Some((_, next)) = name_in(GROUPS[group].names, at) {
            count += 1;
            at = next;
        }
        group += 1;
    }
    count
}

const fn longest() -> usize {
    let (mut at, mut longest) = (0, 0);
    while at < COUNT {
        let length = COMMANDS[at].name.len();
        if length > longest {
            longest = length;
        }
        at += 1;
    }
    longest
}

/// The name that begins here or behind the white space that is here, and where the next one may
/// begin. Names are separated by commas.
const fn name_in(names: &'static str, mut at: usize) -> Option<(&'static str, usize)> {
    let bytes = names.as_bytes();
    while at < bytes.len() && bytes[at].is_ascii_whitespace() {
        at += 1;
    }
    if at == bytes.len() {
        return None;
    }
    let mut end = at;
    while end < bytes.len() && bytes[end] != b',' {
        end += 1;
    }
    let next = if end < bytes.len() { end + 1 } else { end };
    let (_, from) = names.split_at(at);
    let (name, _) = from.split_at(end - at);
    Some((name.trim_ascii(), next))
}

#[cfg(test)]
mod tests;
