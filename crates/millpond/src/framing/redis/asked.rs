//! What must be known of a request when its replies come, kept in a note.

use super::super::Note;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Its reply changes nothing.
    Plain,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Subscribe {
        to: Topics,
        count: u32,
    },
    Unsubscribe {
        from: Topics,
        /// How many replies come.
        count: u32,
    },
    Monitor,
    Tracking {
        on: bool,
    },
    /// A scan, from its beginning on or from a cursor.
    Scan {
        begins: bool,
    },
    Hello {
        resp3: bool,
        /// As in [`State`](super::state::State).
        user: u16,
        logs_in: bool,
        /// `None` leaves it as it is.
        name: Option<Vec<u8>>,
    },
    Auth {
        user: u16,
    },
    Select {
        database: u16,
    },
    SetName {
        name: Vec<u8>,
    },
    Reset,
    /// What a script replies.
    Script,
}

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topics {
    Channels,
    Patterns,
    /// Channels of a shard of a cluster.
    Shards,
}

impl Topics {
    const ALL: [Topics; 3] = [Topics::Channels, Topics::Patterns, Topics::Shards];

    /// The replies to SUBSCRIBE and UNSUBSCRIBE, and messages, begin with these.
    pub(super) fn words(self) -> [&'static [u8]; 3] {
        match self {
            Topics::Channels => [b"subscribe", b"unsubscribe", b"message"],
            Topics::Patterns => [b"psubscribe", b"punsubscribe", b"pmessage"],
            Topics::Shards => [b"ssubscribe", b"sunsubscribe", b"smessage"],
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Those whose messages begin with this word.
    pub(super) fn of_message(word: &[u8]) -> Option<Topics> {
        let are = |topics: &Topics| topics.words()[2] == word;
        Topics::ALL.into_iter().find(are)
    }
}

const PLAIN: u8 = 0;
const MULTI: u8 = 1;
const EXEC: u8 = 2;
const DISCARD: u8 = 3;
const WATCH: u8 = 4;
const UNWATCH: u8 = 5;
const SUBSCRIBE: u8 = 6;
const UNSUBSCRIBE: u8 = 7;
const MONITOR: u8 = 8;
const TRACKING: u8 = 9;
const SCAN: u8 = 10;
const HELLO: u8 = 11;
const AUTH: u8 = 12;
const SELECT: u8 = 13;
const SET_NAME: u8 = 14;
const RESET: u8 = 15;
const SCRIPT: u8 = 16;

const NAMED: u8 = 1 << 1;
const LOGS_IN: u8 = 1 << 2;

impl Asked {
    pub(super) fn to_note(&self) -> Note {
        let word = |kind: u8, bits: u8, number: u32| {
            u64::from(kind) | u64::from(bits) << 8 | u64::from(number) << 16
        };
        Note::word(match self {
            Asked::Plain => return Note::default(),
            Asked::Multi => word(MULTI, 0, 0),
            Asked::Exec => word(EXEC, 0, 0),
            Asked::Discard => word(DISCARD, 0, 0),
            Asked::Watch => word(WATCH, 0, 0),
            Asked::Unwatch => word(UNWATCH, 0, 0),
            Asked::Subscribe { to, count } => word(SUBSCRIBE, *to as u8, *count),
            Asked::Unsubscribe { from, count } => word(UNSUBSCRIBE, *from as u8, *count),
            Asked::Monitor => word(MONITOR, 0, 0),
            Asked::Tracking { on } => word(TRACKING, (*on).into(), 0),
            Asked::Scan { begins } => word(SCAN, (*begins).into(), 0),
            Asked::Hello {
                resp3,
                user,
                logs_in,
                name,
            } => {
                let named = if name.is_some() { NAMED } else { 0 };
                let logs_in = if *logs_in { LOGS_IN } else { 0 };
                let note = word(HELLO, u8::from(*resp3) | named | logs_in, (*user).into());
                return Note::word(note).with_bytes(name.as_deref().unwrap_or_default());
            }
            Asked::Auth { user } => word(AUTH, 0, (*user).into()),
            Asked::Select { database } => word(SELECT, 0, (*database).into()),
            Asked::SetName { name } => return Note::word(word(SET_NAME, 0, 0)).with_bytes(name),
            Asked::Reset => word(RESET, 0, 0),
            Asked::Script => word(SCRIPT, 0, 0),
        })
    }

    pub(super) fn of(note: &Note) -> Asked {
        let word = note.as_word();
        let (bits, number) = ((word >> 8) as u8, (word >> 16) as u32);
        let topics = || Topics::ALL[usize::from(bits).min(2)];
        match word as u8 {
            MULTI => Asked::Multi,
            EXEC => Asked::Exec,
            DISCARD => Asked::Discard,
            WATCH => Asked::Watch,
            UNWATCH => Asked::Unwatch,
            SUBSCRIBE => Asked::Subscribe {
                to: topics(),
                count: number,
            },
            UNSUBSCRIBE => Asked::Unsubscribe {
                from: topics(),
                count: number,
            },
            MONITOR => Asked::Monitor,
            TRACKING => Asked::Tracking { on: bits != 0 },
            SCAN => Asked::Scan { begins: bits != 0 },
            HELLO => Asked::Hello {
                resp3: bits & 1 != 0,
                user: number as u16,
                logs_in: bits & LOGS_IN != 0,
                name: (bits & NAMED != 0).then(|| note.as_bytes().to_vec()),
            },
            AUTH => Asked::Auth {
                user: number as u16,
            },
            SELECT => Asked::Select {
                database: number as u16,
            },
            SET_NAME => Asked::SetName {
                name: note.as_bytes().to_vec(),
            },
            RESET => Asked::Reset,
            SCRIPT => Asked::Script,
            _ => Asked::Plain,
        }
    }

    /// Whether the note is of a script.
    pub(super) fn is_script(note: &Note) -> bool {
        note.as_word() as u8 == SCRIPT
    }

    /// Whether the note is of a request whose reply changes nothing.
    pub(super) fn is_plain(note: &Note) -> bool {
        matches!(note.as_word() as u8, PLAIN | SCRIPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_kept_in_a_note() {
        for asked in [
            Asked::Plain,
            Asked::Multi,
            Asked::Exec,
            Asked::Discard,
            Asked::Watch,
            Asked::Unwatch,
            Asked::Subscribe {
                to: Topics::Shards,
                count: 7,
            },
            Asked::Unsubscribe {
                from: Topics::Patterns,
                count: u32::MAX,
            },
            Asked::Monitor,
            Asked::Tracking { on: true },
            Asked::Tracking { on: false },
            Asked::Scan { begins: true },
            Asked::Scan { begins: false },
            Asked::Hello {
                resp3: true,
                user: 7,
                logs_in: true,
                name: Some(Vec::new()),
            },
            Asked::Hello {
                resp3: false,
                user: 0,
                logs_in: false,
                name: None,
            },
            Asked::Auth { user: 65_535 },
            Asked::Select { database: 15 },
            Asked::SetName {
                name: b"worker".into(),
            },
            Asked::Reset,
            Asked::Script,
        ] {
            let note = asked.to_note();
            assert_eq!(Asked::of(&note), asked);
            assert_eq!(
                Asked::is_plain(&note),
                matches!(asked, Asked::Plain | Asked::Script)
            );
        }
        assert_eq!(Asked::of(&Note::word(u64::MAX)), Asked::Plain);
    }
}
