//! Conversations: what becomes of a client's requests, and of what a server sends.

mod admissions;
mod conversations;
mod failures;

use super::{Redis, RedisSettings, arguments};
use crate::framing::{Admission, Answer, Framing, Note};

/// A request as the wire has it.
fn array(line: &str) -> Vec<u8> {
    let words = arguments::of_line(line.as_bytes()).expect("a command");
    let mut frame = Vec::new();
    arguments::put_array(&words, &mut frame);
    frame
}

/// A client at a server, and the connection to the upstream that it has to itself.
struct Scene {
    redis: Redis,
    client: Note,
    upstream: Note,
}

impl Scene {
    fn of(settings: RedisSettings) -> Self {
        let redis = Redis::from(settings);
        let client = redis.accepted(0);
        Scene {
            redis,
            client,
            upstream: Note::default(),
        }
    }

    fn new() -> Self {
        Scene::of(RedisSettings::default())
    }

    fn admit(&self, line: &str) -> Admission {
        self.redis.admit(&array(line), &self.client)
    }

    /// The server answers by itself, and the client is sent this.
    fn local(&mut self, line: &str) -> String {
        let admission = self.admit(line);
        assert!(
            admission.demand().refusal().is_none(),
            "{line}: {admission:?}"
        );
        let reply = admission
            .local()
            .unwrap_or_else(|| panic!("{line} is sent on"));
        let note = admission.demand().note();
        let answer = self
            .redis
            .answers(Some(note), reply.frame(), &mut self.client);
        assert_eq!(answer, Answer::Last, "{line}");
        String::from_utf8(reply.frame().to_vec()).expect("text")
    }

    /// Why it is refused.
    fn refusal(&self, line: &str) -> String {
        let admission = self.admit(line);
        let failure = admission.demand().refusal();
        let failure = failure.unwrap_or_else(|| panic!("{line} isn't refused"));
        let closes = if failure.closes() { ", and closes" } else { "" };
        format!("{}{closes}", failure.message())
    }

    /// It is sent on; whether it pins its connection.
    fn sent(&self, line: &str) -> bool {
        let admission = self.admit(line);
        assert!(admission.local().is_none(), "{line} isn't sent");
        assert_eq!(admission.demand().refusal(), None, "{line}");
        let upstream = self.redis.demand(&array(line), &self.upstream);
        assert_eq!(upstream.refusal(), None, "{line}");
        assert_eq!(
            &upstream,
            admission.demand(),
            "both ask for the same: {line}"
        );
        upstream.is_pinning()
    }

    /// It is sent on, and the server sends this. What each value is on both sides.
    fn ask(&mut self, line: &str, replies: &[&str]) -> Vec<Answer> {
        self.sent(line);
        let note = self
            .redis
            .demand(&array(line), &self.upstream)
            .note()
            .clone();
        replies
            .iter()
            .map(|reply| self.comes(Some(&note), reply))
            .collect()
    }

    /// The server sends this although nothing is asked.
    fn unasked(&mut self, reply: &str) -> Answer {
        self.comes(None, reply)
    }

    fn comes(&mut self, note: Option<&Note>, reply: &str) -> Answer {
        let reply = reply.replace(' ', "\r\n") + "\r\n";
        let upstream = self
            .redis
            .answers(note, reply.as_bytes(), &mut self.upstream);
        let client = self.redis.answers(note, reply.as_bytes(), &mut self.client);
        assert_eq!(upstream, client, "both sides see the same: {reply}");
        upstream
    }

    /// The upstream connection could go to another client.
    fn is_at_rest(&self) -> bool {
        self.upstream == Note::default()
    }
}
