//! What can be set of a user: which commands it may send. Secrets are none of its business.

use std::fmt;

use super::commands::{self, COUNT, Command, Decision, Pin};

const WORDS: usize = COUNT.div_ceil(64);

/// A user of [`RedisSettings::users`](super::RedisSettings::users), as a document has it: `{}`, or
/// `{ commands = ["GET", "@read"] }`.
///
/// Fields may be added in a minor release: end a literal with `..RedisUser::default()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct RedisUser {
    /// Which commands the user may send. Default: all that the route sends at all. What a server
    /// answers by itself, such as PING and CLIENT SETNAME, each user may.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub commands: Option<RedisCommands>,
}

/// A list of commands, each of which is known.
///
/// ```
/// use millpond::framing::RedisCommands;
///
/// let commands = RedisCommands::new(["@read", "INCR", "XGROUP CREATE"])?;
/// assert!(commands.contains("get") && commands.contains("incr"));
/// assert!(!commands.contains("set") && !commands.contains("xgroup destroy"));
///
/// let unknown = RedisCommands::new(["GTE"]).unwrap_err();
/// assert_eq!(unknown.to_string(), "there is no command GTE; did you mean GET?");
/// # Ok::<_, millpond::framing::UnknownRedisCommand>(())
/// ```
///
/// # Names
///
/// | written | what it stands for |
/// |---|---|
/// | `GET` | the command, in any case; if it has subcommands, all of them |
/// | `XGROUP CREATE`, `xgroup\|create` | one subcommand |
/// | `@read` | all that read keys and do nothing else; scripts aren't among them |
/// | `@transaction` | MULTI, EXEC, DISCARD, WATCH and UNWATCH |
/// | `@pubsub` | PUBLISH and SPUBLISH; subscriptions and their ends |
///
/// A script may do whatever the route's own connections may, so EVAL and its like are as good as
/// all commands.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(try_from = "Vec<String>", into = "Vec<String>")
)]
pub struct RedisCommands {
    /// As they were written.
    names: Vec<String>,
    /// A bit for each command, at its number.
    permitted: [u64; WORDS],
}

/// A command that isn't known, or is never sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownRedisCommand {
    /// There is none of this name.
    #[error("there is no command {name}{}", .meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default())]
    #[non_exhaustive]
    Unknown {
        /// The name.
        name: String,
        /// Which one was probably meant.
        meant: Option<&'static str>,
    },
    /// Nobody may send it.
    #[error("{name} is never sent: it {why}")]
    #[non_exhaustive]
    NeverSent {
        /// The name.
        name: &'static str,
        /// The reason.
        why: &'static str,
    },
}

impl RedisCommands {
    /// Those of these [names](RedisCommands#names).
    ///
    /// # Errors
    ///
    /// One isn't known, or is one that is never sent.
    pub fn new<N: Into<String>>(
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, UnknownRedisCommand> {
        let mut commands = RedisCommands {
            names: Vec::new(),
            permitted: [0; WORDS],
        };
        for name in names {
            let name = name.into();
            commands.permit(&name)?;
            commands.names.push(name);
        }
        Ok(commands)
    }

    /// The names, as they were written.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the command of this name is among them. A subcommand's name is that of its command,
    /// a space, and its own.
    pub fn contains(&self, name: &str) -> bool {
        let is = |command: &&Command| command.name.eq_ignore_ascii_case(name);
        let command = commands::all().iter().find(is);
        command.is_some_and(|command| self.permits(command))
    }

    pub(super) fn permits(&self, command: &Command) -> bool {
        let number = usize::from(command.number);
        self.permitted[number / 64] & 1 << (number % 64) != 0
    }

    fn permit(&mut self, name: &str) -> Result<(), UnknownRedisCommand> {
        let written = name.replace('|', " ");
        let belongs: Box<dyn Fn(&Command) -> bool> = match written.as_str() {
            "@read" => Box::new(|command| command.reads_keys),
            "@transaction" => Box::new(is_of_transactions),
            "@pubsub" => Box::new(is_of_topics),
            written => Box::new(move |command| command.is_of(written)),
        };
        let mut found = commands::all().iter().filter(|one| belongs(one)).peekable();
        if found.peek().is_none() {
            return Err(unknown(name, &written));
        }
        let (mut sent, mut never) = (false, None);
        for command in found {
            match command.decision {
                Decision::Refused(why) if !command.is_container() => {
                    never = Some((command.name, why));
                }
                _ => sent |= !matches!(command.decision, Decision::Refused(_)),
            }
            let number = usize::from(command.number);
            self.permitted[number / 64] |= 1 << (number % 64);
        }
        match never {
            Some((name, why)) if !sent => Err(UnknownRedisCommand::NeverSent { name, why }),
            _ => Ok(()),
        }
    }
}

/// Why there is no command of this name.
fn unknown(name: &str, written: &str) -> UnknownRedisCommand {
    let first = written.split(' ').next().unwrap_or_default();
    let refused = commands::command(first.as_bytes(), None).filter(|one| !one.is_container());
    // With all of its subcommands.
    if let Some(command) = refused
        && let Decision::Refused(why) = command.decision
    {
        let name = command.name;
        return UnknownRedisCommand::NeverSent { name, why };
    }
    UnknownRedisCommand::Unknown {
        name: name.to_owned(),
        meant: meant(written),
    }
}

fn is_of_transactions(command: &Command) -> bool {
    use Pin::{Discard, Exec, Multi, Unwatch, Watch};
    matches!(
        command.decision,
        Decision::Pins(Multi | Exec | Discard | Watch | Unwatch)
    )
}

fn is_of_topics(command: &Command) -> bool {
    use Pin::{PSubscribe, PUnsubscribe, SSubscribe, SUnsubscribe, Subscribe, Unsubscribe};
    matches!(command.name, "PUBLISH" | "SPUBLISH")
        || matches!(
            command.decision,
            Decision::Pins(
                Subscribe | PSubscribe | SSubscribe | Unsubscribe | PUnsubscribe | SUnsubscribe
            )
        )
}

/// The name that is nearest to this one, if it is near.
fn meant(written: &str) -> Option<&'static str> {
    let written = written.to_uppercase();
    let names = commands::all().iter().map(|command| command.name);
    let groups = ["@read", "@transaction", "@pubsub"];
    names
        .chain(groups)
        .map(|name| (distance(&written, &name.to_uppercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= 2 && *distance * 2 < name.len())
        .map(|(_, name)| name)
}

/// How many letters are to be put in, left out, replaced, or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let first: Vec<usize> = (0..=other.len()).collect();
    let mut rows = vec![first];
    for (at, letter) in one.iter().enumerate() {
        let mut row = vec![at + 1];
        for (to, wanted) in other.iter().enumerate() {
            let replaced = rows[at][to] + usize::from(letter != wanted);
            let mut least = replaced.min(rows[at][to + 1] + 1).min(row[to] + 1);
            if at > 0 && to > 0 && letter == &other[to - 1] && wanted == &one[at - 1] {
                least = least.min(rows[at - 1][to - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

impl TryFrom<Vec<String>> for RedisCommands {
    type Error = UnknownRedisCommand;

    fn try_from(names: Vec<String>) -> Result<Self, UnknownRedisCommand> {
        RedisCommands::new(names)
    }
}

impl From<RedisCommands> for Vec<String> {
    fn from(commands: RedisCommands) -> Self {
        commands.names
    }
}

/// The names.
impl fmt::Debug for RedisCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.names).finish()
    }
}

#[cfg(test)]
mod tests;
