//! What outlasts a reply on a connection: the version of the protocol, the database, transactions,
//! subscriptions. A framing keeps it in a note.

use super::super::Note;

/// See the module. A server keeps one of each of its clients, with [`user`](State::user) and
/// [`id`](State::id); a client one of its connection, with [`database`](State::database) and
/// [`logins`](State::logins).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) flags: Flags,
    pub(super) database: u16,
    /// How many logins have succeeded on it.
    pub(super) logins: u16,
    /// Which of the users it is, from 1 on; 0 is nobody.
    pub(super) user: u16,
    pub(super) id: u64,
    /// How many subscriptions there are: to channels, patterns, channels of shards.
    pub(super) subscribed: [u32; 3],
    /// How many scans have begun and not ended.
    pub(super) scans: u32,
    /// How many of the replies to the oldest request have come, if it gets several.
    pub(super) confirmed: u32,
    /// What the client calls its connection.
    pub(super) name: Vec<u8>,
}

/// The part of a state that is looked at with each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// The connection speaks RESP3.
    pub(super) const RESP3: Flags = Flags(1);
    /// Commands are queued for a transaction.
    pub(super) const MULTI: Flags = Flags(1 << 1);
    /// Keys are watched.
    pub(super) const WATCHING: Flags = Flags(1 << 2);
    /// The server sends all commands that it executes.
    pub(super) const MONITOR: Flags = Flags(1 << 3);
    /// The server says which keys have changed.
    pub(super) const TRACKING: Flags = Flags(1 << 4);
    /// There are subscriptions.
    pub(super) const SUBSCRIBED: Flags = Flags(1 << 5);
    /// There are scans whose cursors are of one server.
    pub(super) const SCANNING: Flags = Flags(1 << 6);
    /// A command was refused that was to be queued: the transaction can't be executed.
    pub(super) const BROKEN: Flags = Flags(1 << 8);
    /// It is what a server keeps of a client.
    pub(super) const OF_CLIENT: Flags = Flags(1 << 7);

    pub(super) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn set(&mut self, flag: Flags, is: bool) {
        match is {
            true => self.0 |= flag.0,
            false => self.0 &= !flag.0,
        }
    }

    /// Without what keeps a connection to one client alone.
    pub(super) fn are_plain(self) -> bool {
        self.0 & !(Flags::RESP3.0 | Flags::OF_CLIENT.0) == 0
    }

    /// Those in the note of a state.
    pub(super) fn of(note: &Note) -> Flags {
        Flags(note.as_word() as u16)
    }

    /// The user in the note of a state that a server keeps.
    pub(super) fn user_of(note: &Note) -> u16 {
        match Flags::of(note).has(Flags::OF_CLIENT) {
            true => (note.as_word() >> USER) as u16,
            false => 0,
        }
    }
}

// Of a state that a server keeps. The word alone has all of it as long as nothing is pinned: a note
// with bytes costs an allocation whenever it is cloned.
const USER: u32 = 16;
const ID: u32 = 32;
const ID_BITS: u64 = (1 << 32) - 1;

// Of a state that a client keeps.
const DATABASE: u32 = 16;
const LOGINS: u32 = 32;

/// Three numbers of subscriptions, one of scans, and one of replies.
const HEAD: usize = 20;

impl State {
    /// That of a client that has connected as so many had before.
    pub(super) fn of_client(id: u64) -> State {
        let mut state = State {
            id: id & ID_BITS,
            ..State::default()
        };
        state.flags.set(Flags::OF_CLIENT, true);
        state
    }

    pub(super) fn of(note: &Note) -> State {
        let (word, flags) = (note.as_word(), Flags::of(note));
        let mut state = State {
            flags,
            ..State::default()
        };
        match flags.has(Flags::OF_CLIENT) {
            true => (state.user, state.id) = ((word >> USER) as u16, word >> ID),
            false => {
                (state.database, state.logins) =
                    ((word >> DATABASE) as u16, (word >> LOGINS) as u16);
            }
        }
        if let Some((head, name)) = note.as_bytes().split_first_chunk::<HEAD>() {
            let number = |at: usize| {
                let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
                u32::from_be_bytes(bytes)
            };
            state.subscribed = [number(0), number(4), number(8)];
            state.scans = number(12);
            state.confirmed = number(16);
            state.name = name.to_vec();
        }
        state
    }

    pub(super) fn to_note(&self) -> Note {
        let mut flags = self.flags;
        flags.set(Flags::SUBSCRIBED, self.subscribed != [0; 3]);
        flags.set(Flags::SCANNING, self.scans > 0);
        let word = match flags.has(Flags::OF_CLIENT) {
            true => u64::from(self.user) << USER | self.id << ID,
            false => u64::from(self.database) << DATABASE | u64::from(self.logins) << LOGINS,
        };
        let note = Note::word(word | u64::from(flags.0));
        let [channels, patterns, shards] = self.subscribed;
        let numbers = [channels, patterns, shards, self.scans, self.confirmed];
        if numbers == [0; 5] && self.name.is_empty() {
            return note;
        }
        let mut bytes = Vec::with_capacity(HEAD + self.name.len());
        for number in numbers {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.name);
        note.with_bytes(&bytes)
    }

    /// What is left of it after RESET: a new connection of the same number.
    pub(super) fn reset(&self) -> State {
        match self.flags.has(Flags::OF_CLIENT) {
            true => State::of_client(self.id),
            false => State::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_kept_in_a_note() {
        let mut flags = Flags::default();
        flags.set(Flags::RESP3, true);
        flags.set(Flags::WATCHING, true);
        flags.set(Flags::SUBSCRIBED, true);
        flags.set(Flags::SCANNING, true);
        let of_connection = State {
            flags,
            database: 65_535,
            logins: 3,
            subscribed: [1, 0, u32::MAX],
            scans: 2,
            confirmed: 1,
            name: b"worker".into(),
            ..State::default()
        };
        flags.set(Flags::OF_CLIENT, true);
        let of_client = State {
            flags,
            user: 4_711,
            id: ID_BITS,
            database: 0,
            logins: 0,
            ..of_connection.clone()
        };
        for state in [
            &of_connection,
            &of_client,
            &State::of_client(3),
            &State::default(),
        ] {
            assert_eq!(State::of(&state.to_note()), *state);
        }
        assert_eq!(Flags::user_of(&of_client.to_note()), 4_711);
        assert_eq!(Flags::user_of(&of_connection.to_note()), 0);
        assert_eq!(State::default().to_note(), Note::default());
        assert!(State::of_client(3).to_note().as_bytes().is_empty());
        assert!(!flags.are_plain() && Flags::RESP3.are_plain());
        assert_eq!(of_client.reset(), State::of_client(ID_BITS));
        assert_eq!(of_connection.reset(), State::default());
    }

    #[test]
    fn what_is_no_state_is_read_without_harm() {
        for bytes in [&b""[..], b"short", &[255; 23], &[255; 64]] {
            let _ = State::of(&Note::word(u64::MAX).with_bytes(bytes));
        }
    }
}
