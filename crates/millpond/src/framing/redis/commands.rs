//! What is done with each command of Redis, when many clients share a few connections to a server.
//! A table, and the lookup in it. It knows the commands of Redis up to 8.12 and of Valkey up to 9.1,
//! those of Redis's modules among them. What it doesn't know it doesn't judge.

mod decision;
mod groups;
mod timeout;

use self::groups::{GROUPS, Group};
pub(super) use self::{
    decision::{Decision, Here, Pin},
    timeout::{Wait, is_word},
};

/// A command, or a subcommand of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// In capitals: `GET`, `CLIENT KILL`.
    pub(super) name: &'static str,
    pub(super) decision: Decision,
    /// Sent twice, it does the same as once: it only reads, or what it changes is then as it should
    /// be.
    pub(super) only_reads: bool,
    /// It reads keys, and does nothing else.
    pub(super) reads_keys: bool,
    /// What it replies is what a script says.
    pub(super) runs_script: bool,
    /// Its place in the table.
    pub(super) number: u16,
    /// Its first argument is a subcommand, with a decision of its own.
    has_subcommands: bool,
    /// The length of the name without the subcommand.
    length: usize,
}

impl Command {
    /// Whether it is this one, or a subcommand of it. `name` is as people write it, in any case:
    /// `client kill`.
    pub(super) fn is_of(&self, name: &str) -> bool {
        let (first, rest) = self.name.split_at(self.length);
        self.name.eq_ignore_ascii_case(name) || !rest.is_empty() && first.eq_ignore_ascii_case(name)
    }

    /// Whether the name alone stands for its subcommands.
    pub(super) fn is_container(&self) -> bool {
        self.has_subcommands
    }

    /// As the server calls it when it says what isn't permitted: `client|kill`.
    pub(super) fn shown(&self) -> String {
        self.name.to_lowercase().replace(' ', "|")
    }
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

/// All that are known: as many as [`COUNT`], in the order of their numbers.
pub(super) fn all() -> &'static [Command] {
    &COMMANDS
}

/// All of them, as the groups have them.
static COMMANDS: [Command; COUNT] = commands();

/// Where in [`COMMANDS`] a name is: at the place that its hash says, or at the next ones, of which
/// none is empty. More than half of the places are, so a name that isn't there is seldom compared.
static PLACES: [u16; 1 << BITS] = places();

const BITS: u32 = 11;
const EMPTY: u16 = u16::MAX;
pub(super) const COUNT: usize = count();

/// Nothing is copied, and a longer name than there are takes no longer: of that only the ends are
/// looked at.
#[inline]
fn find(name: &[u8], subcommand: Option<&[u8]>) -> Option<&'static Command> {
    let second = subcommand.unwrap_or_default();
    let mut place = place_of(name, second);
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

/// By the first and the last eight bytes of each part, whatever their case: multiplied by the golden
/// ratio, of which the upper bits are the best mixed ones.
const fn place_of(name: &[u8], subcommand: &[u8]) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = ends(name).wrapping_mul(GOLDEN) ^ ends(subcommand);
    (hash.wrapping_mul(GOLDEN) >> (u64::BITS - BITS)) as usize
}

/// The first eight bytes, and the last ones if there are more, without the bit that tells capitals.
const fn ends(name: &[u8]) -> u64 {
    const CAPITALS: u64 = 0xdfdf_dfdf_dfdf_dfdf;
    let (mut first, mut last, mut at) = (0, 0, 0);
    while at < name.len() && at < 8 {
        first = first << 8 | name[at] as u64;
        last = last << 8 | name[name.len() - 1 - at] as u64;
        at += 1;
    }
    if name.len() <= 8 {
        return first & CAPITALS;
    }
    (first & CAPITALS) ^ (last & CAPITALS).rotate_left(28)
}

const fn commands() -> [Command; COUNT] {
    let nothing = Command {
        name: "",
        decision: Decision::Plain,
        only_reads: false,
        reads_keys: false,
        runs_script: false,
        number: 0,
        has_subcommands: false,
        length: 0,
    };
    let mut commands = [nothing; COUNT];
    let (mut group, mut filled) = (0, 0);
    while group < GROUPS.len() {
        let Group {
            decision,
            only_reads,
            reads_keys,
            runs_script,
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
                reads_keys,
                runs_script,
                number: filled as u16,
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
        let (name, rest) = COMMANDS[at].name.split_at(COMMANDS[at].length);
        let subcommand = match rest.as_bytes() {
            [_space, subcommand @ ..] => subcommand,
            [] => &[],
        };
        let mut place = place_of(name.as_bytes(), subcommand);
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
