//! What a frame from the server is to the oldest request, and what it makes of the connection's
//! state.

use super::{
    super::{Answer, Note},
    asked::{Asked, Topics},
    elements::{Elements, error_code, integer, is_error, kind, text},
    state::{Flags, State},
};

/// As [`Framing::answers`](super::super::Framing::answers).
pub(super) fn answers(asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
    let flags = Flags::of(state);
    let kind = kind(reply);
    if kind != b'>' && !flags.has(Flags::SUBSCRIBED) && asked.is_some_and(Asked::is_plain) {
        // Nearly always.
        return Answer::Last;
    }
    let mut now = State::of(state);
    let answer = answer(asked.map(Asked::of), kind, reply, &mut now);
    *state = now.to_note();
    answer
}

fn answer(asked: Option<Asked>, kind: u8, reply: &[u8], state: &mut State) -> Answer {
    let flags = state.flags;
    let is_subscribing = matches!(
        asked,
        Some(Asked::Subscribe { .. } | Asked::Unsubscribe { .. })
    );
    // RESP2 has no pushes of its own: what isn't asked for is an array like others, and only comes
    // where there are subscriptions.
    let may_be_push = kind == b'>'
        || kind == b'*'
            && !flags.has(Flags::RESP3)
            && (is_subscribing || flags.has(Flags::SUBSCRIBED));
    if may_be_push {
        let mut elements = Elements::of(reply);
        let word = elements.next().and_then(text).unwrap_or_default();
        if let Some((asked, confirmed)) = asked.as_ref().and_then(|asked| confirms(asked, word)) {
            return self::confirmed(asked, confirmed, elements, state);
        }
        if is_push(word, flags) {
            if word == Topics::Shards.words()[1] {
                // The server ends it, since the shard is no longer its own.
                let left = elements.nth(1).and_then(integer).unwrap_or_default();
                state.subscribed[Topics::Shards.index()] = to_count(left);
            }
            return Answer::Push;
        }
        if kind == b'>' {
            return Answer::Mismatch;
        }
    }
    let Some(asked) = asked else {
        return match kind == b'+' && flags.has(Flags::MONITOR) {
            true => Answer::Push,
            false => Answer::Mismatch,
        };
    };
    let is_error = is_error(reply);
    // A subscription is answered by pushes, or refused as a whole.
    if is_subscribing && !is_error {
        return Answer::Mismatch;
    }
    apply(asked, reply, is_error, state);
    Answer::Last
}

/// What the reply that begins with this word confirms, if it was asked for: which topics, and
/// whether they are subscribed to.
fn confirms(asked: &Asked, word: &[u8]) -> Option<(u32, Topics)> {
    let (topics, count, expected) = match *asked {
        Asked::Subscribe { to, count } => (to, count, to.words()[0]),
        Asked::Unsubscribe { from, count } => (from, count, from.words()[1]),
        _ => return None,
    };
    (word == expected).then_some((count, topics))
}

/// One of the replies to a subscription or its end: topic, and how many there are now.
fn confirmed(count: u32, topics: Topics, mut elements: Elements<'_>, state: &mut State) -> Answer {
    let Some(now) = elements.nth(1).and_then(integer) else {
        return Answer::Mismatch;
    };
    let now = to_count(now);
    let [channels, patterns, shards] = &mut state.subscribed;
    // The server counts channels and patterns together.
    match topics {
        Topics::Channels => *channels = now.saturating_sub(*patterns),
        Topics::Patterns => *patterns = now.saturating_sub(*channels),
        Topics::Shards => *shards = now,
    }
    state.confirmed += 1;
    if state.confirmed < count {
        return Answer::More;
    }
    state.confirmed = 0;
    Answer::Last
}

fn to_count(number: i64) -> u32 {
    number.clamp(0, u32::MAX.into()) as u32
}

/// Whether a push that begins with this word may come now.
fn is_push(word: &[u8], flags: Flags) -> bool {
    let is_of_tracking = matches!(word, b"invalidate" | b"tracking-redir-broken");
    let is_of_topics = Topics::of_message(word).is_some() || word == Topics::Shards.words()[1];
    is_of_tracking && flags.has(Flags::TRACKING) || is_of_topics && flags.has(Flags::SUBSCRIBED)
}

/// A request was told to have failed, by somebody else than the server. Its transaction can't be
/// executed then, for the server may not know of all of it; nor one that was to begin.
pub(super) fn failed(asked: Option<&Note>, state: &mut Note) {
    let begins = asked.map(Asked::of) == Some(Asked::Multi);
    if begins || Flags::of(state).has(Flags::MULTI) {
        let mut now = State::of(state);
        now.flags.set(Flags::MULTI, true);
        now.flags.set(Flags::BROKEN, true);
        *state = now.to_note();
    }
}

/// Whether this error says that there is no transaction any more.
fn ends_transaction(error: &[u8]) -> bool {
    error_code(error) == b"EXECABORT" || error.starts_with(b"-ERR EXEC without MULTI")
}

/// What the last reply to a request makes of the state.
fn apply(asked: Asked, reply: &[u8], is_error: bool, state: &mut State) {
    let flags = &mut state.flags;
    if flags.has(Flags::MULTI) {
        // Other commands are queued. An error to EXEC may leave the transaction open.
        let ends = match asked {
            Asked::Exec => !is_error || ends_transaction(reply),
            Asked::Discard => !is_error,
            _ => false,
        };
        if ends {
            for over in [Flags::MULTI, Flags::WATCHING, Flags::BROKEN] {
                flags.set(over, false);
            }
            return;
        }
        if asked != Asked::Reset {
            return;
        }
    }
    if is_error {
        state.confirmed = 0;
        return;
    }
    match asked {
        Asked::Multi => flags.set(Flags::MULTI, true),
        Asked::Watch => flags.set(Flags::WATCHING, true),
        Asked::Unwatch => flags.set(Flags::WATCHING, false),
        Asked::Monitor => flags.set(Flags::MONITOR, true),
        // Once it was on, the server keeps what the connection has read, whatever is said then.
        Asked::Tracking { on } => {
            let was_on = flags.has(Flags::TRACKING);
            flags.set(Flags::TRACKING, on || was_on);
        }
        Asked::Scan { begins } => {
            let cursor = Elements::of(reply).next().and_then(text);
            let has_ended = cursor.is_none_or(|cursor| cursor == b"0");
            match (begins, has_ended) {
                (true, false) => state.scans = state.scans.saturating_add(1),
                (false, true) => state.scans = state.scans.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
        }
        Asked::Hello {
            resp3,
            user,
            logs_in,
            name,
        } => {
            flags.set(Flags::RESP3, resp3);
            if logs_in {
                state.user = user;
                state.logins = state.logins.saturating_add(1);
            }
            if let Some(name) = name {
                state.name = name;
            }
        }
        Asked::Auth { user } => {
            state.user = user;
            state.logins = state.logins.saturating_add(1);
        }
        Asked::Select { database } => state.database = database,
        Asked::SetName { name } => state.name = name,
        Asked::Reset => *state = state.reset(),
        Asked::Plain
        | Asked::Exec
        | Asked::Discard
        | Asked::Subscribe { .. }
        | Asked::Unsubscribe { .. }
        | Asked::Script => {}
    }
}
