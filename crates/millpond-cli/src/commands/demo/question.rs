//! What is asked and answered, and whether an answer is that of its question. Pure: a reply of
//! another request must not pass, whatever brought it here.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::{Deserialize, Serialize};

/// What payloads are cut out of: letters of one to four bytes, and the protocol's own words, which
/// are data within a body.
const TEXT: &str = "A socket that was opened once serves many requests. HeartBeat length:0000000000009 {\"a\":\"a\"} \\ \" \
                    Wasser, víz, νερό, вода, 水, 💧; still water, running water, water held ready behind a sluice. HeartBeatHeartBeat \
                    A connection costs a round trip before its first byte, and a minute of its port after its last.";

/// The longest payload, in repetitions of the text.
const REPETITIONS: usize = 3;

/// One request's body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question<'t> {
    /// No other request of this run has it.
    token: u64,
    #[serde(borrow)]
    payload: Cow<'t, str>,
}

/// One reply's body.
#[derive(Debug, Serialize, Deserialize)]
struct Answer<'t> {
    token: u64,
    /// Of the payload, as the server has received it.
    hash: u64,
    #[serde(borrow)]
    payload: Cow<'t, str>,
}

/// Whether a reply is the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
}

impl Question<'_> {
    pub(super) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts are JSON")
    }

    /// Judges what came back: the token, the hash of the payload and the payload itself must be its
    /// own.
    pub(super) fn check(&self, reply: &[u8]) -> Verdict {
        match serde_json::from_slice::<Answer<'_>>(reply) {
            Ok(answer)
                if answer.token == self.token
                    && answer.hash == hash(&self.payload)
                    && answer.payload == self.payload =>
            {
                Verdict::Right
            }
            _ => Verdict::Wrong,
        }
    }
}

/// The server's side: the answer to a body, or what is wrong with it.
pub(super) fn answer(body: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let question: Question<'_> = serde_json::from_slice(body)?;
    serde_json::to_vec(&Answer {
        token: question.token,
        hash: hash(&question.payload),
        payload: question.payload,
    })
}

fn hash(payload: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

/// One caller's questions.
pub(super) struct Questions {
    text: String,
    next_token: u64,
}

impl Questions {
    /// Those of this caller: its number is the upper half of each token.
    pub(super) fn of(caller: u32) -> Self {
        Questions {
            text: TEXT.repeat(REPETITIONS),
            next_token: u64::from(caller) << 32,
        }
    }

    /// The next, with a payload of any length between nothing and some hundreds of bytes.
    pub(super) fn ask(&mut self, rng: &mut fastrand::Rng) -> Question<'_> {
        let token = self.next_token;
        self.next_token += 1;
        let begin = boundary(&self.text, rng.usize(..=self.text.len()));
        let end = boundary(&self.text, rng.usize(begin..=self.text.len()));
        Question {
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

    fn two_questions() -> (Questions, Questions, fastrand::Rng) {
        (
            Questions::of(1),
            Questions::of(2),
            fastrand::Rng::with_seed(1),
        )
    }

    #[test]
    fn the_answer_to_a_question_is_right() {
        let (mut questions, _, mut rng) = two_questions();
        for _ in 0..100 {
            let question = questions.ask(&mut rng);
            let reply = answer(&question.body()).expect("a question");
            assert_eq!(question.check(&reply), Verdict::Right);
        }
    }

    #[test]
    fn the_answer_to_another_question_is_wrong_and_so_is_what_is_none() {
        let (mut ours, mut theirs, mut rng) = two_questions();
        let theirs = answer(&theirs.ask(&mut rng).body()).expect("a question");
        let question = ours.ask(&mut rng);
        assert_eq!(question.check(&theirs), Verdict::Wrong);
        for reply in [&b""[..], b"null", b"{\"token\":4294967296}"] {
            assert_eq!(question.check(reply), Verdict::Wrong);
        }
    }

    #[test]
    fn a_payload_that_was_changed_is_wrong_even_with_the_right_token() {
        let asked = |payload: &'static str| Question {
            token: 7,
            payload: Cow::Borrowed(payload),
        };
        let reply = answer(&asked("water").body()).expect("a question");
        assert_eq!(asked("water").check(&reply), Verdict::Right);
        assert_eq!(asked("wader").check(&reply), Verdict::Wrong);
    }
}
