//! Requests that carry a token, and the check that a reply is the reply to its own request: a reply
//! to another request must not pass, whatever brought it here. Pure.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::{Deserialize, Serialize};

/// Payloads are cut out of this: letters of one to four bytes, and the protocol's own words, which
/// are plain data within a body.
const TEXT: &str = "A socket that was opened once serves many requests. HeartBeat length:0000000000009 {\"a\":\"a\"} \\ \" \
                    Wasser, víz, νερό, вода, 水, 💧; still water, running water, water held ready behind a sluice. HeartBeatHeartBeat \
                    A connection costs a round trip before its first byte, and a minute of its port after its last.";

/// The longest payload, as repetitions of the text.
const REPETITIONS: usize = 3;

/// One request's body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenRequest<'t> {
    /// Unique within a run.
    token: u64,
    #[serde(borrow)]
    payload: Cow<'t, str>,
}

/// One reply's body.
#[derive(Debug, Serialize, Deserialize)]
struct TokenReply<'t> {
    token: u64,
    /// Of the payload that the server has received.
    hash: u64,
    #[serde(borrow)]
    payload: Cow<'t, str>,
}

/// Whether a reply is the reply to its own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
}

impl TokenRequest<'_> {
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts are JSON")
    }

    /// Judges a reply: the token, the hash of the payload and the payload itself must be those of
    /// this request.
    pub(crate) fn check(&self, reply: &[u8]) -> Verdict {
        match serde_json::from_slice::<TokenReply<'_>>(reply) {
            Ok(reply)
                if reply.token == self.token
                    && reply.hash == hash(&self.payload)
                    && reply.payload == self.payload =>
            {
                Verdict::Right
            }
            _ => Verdict::Wrong,
        }
    }
}

/// The server's side: the reply to a request's body.
pub(crate) fn reply_to(body: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let request: TokenRequest<'_> = serde_json::from_slice(body)?;
    serde_json::to_vec(&TokenReply {
        token: request.token,
        hash: hash(&request.payload),
        payload: request.payload,
    })
}

fn hash(payload: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

/// The requests of one caller.
pub(crate) struct TokenRequests {
    text: String,
    next_token: u64,
}

impl TokenRequests {
    /// Those of this caller, whose number is the upper half of each token.
    pub(crate) fn of(caller: u32) -> Self {
        TokenRequests {
            text: TEXT.repeat(REPETITIONS),
            next_token: u64::from(caller) << 32,
        }
    }

    /// The next, with a payload of any length between nothing and some hundreds of bytes.
    pub(crate) fn next(&mut self, rng: &mut fastrand::Rng) -> TokenRequest<'_> {
        let token = self.next_token;
        self.next_token += 1;
        let begin = boundary(&self.text, rng.usize(..=self.text.len()));
        let end = boundary(&self.text, rng.usize(begin..=self.text.len()));
        TokenRequest {
            token,
            payload: Cow::Borrowed(&self.text[begin..end]),
        }
    }
}

/// The beginning of the character at this byte.
fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_callers() -> (TokenRequests, TokenRequests, fastrand::Rng) {
        (
            TokenRequests::of(1),
            TokenRequests::of(2),
            fastrand::Rng::with_seed(1),
        )
    }

    #[test]
    fn the_answer_to_a_question_is_right() {
        let (mut requests, _, mut rng) = two_callers();
        for _ in 0..100 {
            let request = requests.next(&mut rng);
            let reply = reply_to(&request.body()).expect("a request");
            assert_eq!(request.check(&reply), Verdict::Right);
        }
    }

    #[test]
    fn the_answer_to_another_question_is_wrong_and_so_is_what_is_none() {
        let (mut ours, mut theirs, mut rng) = two_callers();
        let theirs = reply_to(&theirs.next(&mut rng).body()).expect("a request");
        let request = ours.next(&mut rng);
        assert_eq!(request.check(&theirs), Verdict::Wrong);
        for reply in [&b""[..], b"null", b"{\"token\":4294967296}"] {
            assert_eq!(request.check(reply), Verdict::Wrong);
        }
    }

    #[test]
    fn a_payload_that_was_changed_is_wrong_even_with_the_right_token() {
        let asked = |payload: &'static str| TokenRequest {
            token: 7,
            payload: Cow::Borrowed(payload),
        };
        let reply = reply_to(&asked("water").body()).expect("a request");
        assert_eq!(asked("water").check(&reply), Verdict::Right);
        assert_eq!(asked("wader").check(&reply), Verdict::Wrong);
    }
}
