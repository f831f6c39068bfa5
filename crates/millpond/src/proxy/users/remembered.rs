//! Which secrets were right, by digests with a key of this process. They are of no use to anybody
//! who doesn't have the key, and it is nowhere but in the memory that has the secrets passing
//! through anyway.

use parking_lot::Mutex;
use ring::{hmac, rand::SystemRandom};

/// One secret for each user: a hash is of one.
pub(super) struct Remembered {
    /// `None` if the system gave no random bytes. Then nothing is remembered.
    key: Option<hmac::Key>,
    right: Mutex<Vec<Option<hmac::Tag>>>,
}

/// What a digest is of, so that one is never taken for another.
const OF_SECRET: u8 = 0;
const OF_NAME: u8 = 1;

impl Remembered {
    pub(super) fn new(users: usize) -> Self {
        Remembered {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            right: Mutex::new(vec![None; users]),
        }
    }

    /// Whether this secret was the user's. In constant time, wherever a difference is.
    pub(super) fn is_right(&self, user: usize, secret: &[u8]) -> bool {
        let known = self.right.lock().get(user).copied().flatten();
        let (Some(key), Some(known)) = (&self.key, known) else {
            return false;
        };
        hmac::verify(key, &message(OF_SECRET, user, secret), known.as_ref()).is_ok()
    }

    /// It is. What was before is forgotten.
    pub(super) fn remember(&self, user: usize, secret: &[u8]) {
        let tag = (self.key.as_ref()).map(|key| hmac::sign(key, &message(OF_SECRET, user, secret)));
        if let Some(known) = self.right.lock().get_mut(user) {
            *known = tag;
        }
    }

    /// A number that is always the same for a name, and that nobody else knows.
    pub(super) fn number(&self, name: &[u8]) -> u64 {
        let tag = (self.key.as_ref()).map(|key| hmac::sign(key, &message(OF_NAME, 0, name)));
        let first = tag.as_ref().and_then(|tag| tag.as_ref().first_chunk());
        first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

fn message(of: u8, user: usize, text: &[u8]) -> Vec<u8> {
    [&[of][..], &(user as u64).to_be_bytes(), text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_remembered_for_its_user_until_there_is_another() {
        let remembered = Remembered::new(2);
        assert!(!remembered.is_right(0, b"sesame") && !remembered.is_right(0, b""));
        remembered.remember(0, b"sesame");
        assert!(remembered.is_right(0, b"sesame"));
        for (user, other) in [
            (0, &b"sesam"[..]),
            (0, b"sesame "),
            (0, b""),
            (1, b"sesame"),
            (2, b""),
        ] {
            assert!(!remembered.is_right(user, other));
        }
        remembered.remember(0, b"another");
        assert!(!remembered.is_right(0, b"sesame") && remembered.is_right(0, b"another"));
        remembered.remember(7, b"of nobody");
        assert!(!remembered.is_right(7, b"of nobody"));
    }

    #[test]
    fn each_has_a_key_of_its_own() {
        let (one, other) = (Remembered::new(1), Remembered::new(1));
        assert_eq!(one.number(b"ann"), one.number(b"ann"));
        assert_ne!(one.number(b"ann"), one.number(b"eve"));
        assert_ne!(one.number(b"ann"), other.number(b"ann"));
    }
}
