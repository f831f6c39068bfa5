//! What is done with each command of Redis, when many clients share a few connections to a server.
//! A table, and the lookup in it. It knows the commands of Redis up to 8.12 and of Valkey up to 9.1,
//! those of Redis's modules among them. What it doesn't know it doesn't judge.

mod groups;
mod timeout;

use std::fmt;

pub(super) use self::timeout::{Timeout, Wait};

use self::groups::{GROUPS, Group};

/// What is done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Any connection will do, and it leaves nothing behind on it.
    Plain,
    /// It goes on with a cursor, which is one of the server that it began on.
    Cursor,
    /// It isn't sent, but answered here.
    Here(Here),
    /// Its connection is its client's own until the state is gone.
    Pins(Pin),
    /// It is never sent. The words say why. They follow the command's name.
    Refused(&'static str),
}

/// What is answered here, since each client has a state of its own, whichever connection it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    Auth,
    ClientGetName,
    ClientId,
    ClientSetInfo,
    ClientSetName,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
}

/// What pins a connection, or ends a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    /// It may wait at the server, which reads nothing more from the connection until then.
    Blocks(Timeout),
    /// For the next command only, and only of a client that tracks.
    Caching,
    Discard,
    Exec,
    Monitor,
    Multi,
    PSubscribe,
    PUnsubscribe,
    SSubscribe,
    SUnsubscribe,
    Subscribe,
    Tracking,
    Unsubscribe,
    Unwatch,
    Watch,
}

/// In words, for the documentation.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decision::Plain => "sent on any connection",
            Decision::Cursor => "sent to the server on which the cursor began",
            Decision::Here(_) => "answered by the sidecar itself",
            Decision::Pins(Pin::Blocks(_)) => {
                "sent on a connection of the client's own while it waits"
            }
            Decision::Pins(Pin::Multi | Pin::Exec | Pin::Discard | Pin::Watch | Pin::Unwatch) => {
                "on a connection of the client's own, until no transaction is open and no key is \
                 watched"
            }
            Decision::Pins(Pin::Tracking | Pin::Caching) => {
                "on a connection of the client's own, until tracking is off"
            }
            Decision::Pins(Pin::Monitor) => {
                "on a connection of the client's own, until `RESET` or the end"
            }
            Decision::Pins(
                Pin::Subscribe
                | Pin::PSubscribe
                | Pin::SSubscribe
                | Pin::Unsubscribe
                | Pin::PUnsubscribe
                | Pin::SUnsubscribe,
            ) => "on a connection of the client's own, until it is subscribed to nothing",
            Decision::Refused(why) => return write!(f, "refused: it {why}"),
        })
    }
}

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
        reads_keys: false,
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
    assert!(COUNT * 2 < 1 << BITS, "a search must soon end");
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
