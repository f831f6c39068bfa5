//! The hash of a secret, as the PHC string format writes it.

use std::{fmt, str::FromStr};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::phc::PasswordHash,
};
use ring::rand::{SecureRandom, SystemRandom};

/// What a check may hold meanwhile: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;

/// How much memory all passes of a hash may go through, in KiB: 64 GiB, about a minute.
const MAX_WORK_KIB: u64 = 64 << 20;

/// Of shorter ones a secret is found that isn't the right one.
const MIN_OUTPUT: usize = 16;

/// A hash of a secret, by argon2: `$argon2id$v=19$m=19456,t=2,p=1$…`, as the
/// [PHC string format](https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md) has it.
/// It is parsed from such a text, and written as one. Of argon2i and argon2d too, which other
/// programs may have made.
///
/// Whoever has a hash can try secrets on it, so it is shown by `Display` only, never by `Debug` nor
/// in errors.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash {
    hash: PasswordHash,
}

/// What isn't a hash of a secret, or isn't one to be used. The text itself isn't told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHash {
    /// It isn't in the PHC string format.
    #[error("it is no hash of argon2, which begins with $argon2id$v=19$m=")]
    Malformed,
    /// It is of another algorithm.
    #[error(
        "it is a hash of {algorithm}, and only those of argon2 are checked: argon2id is the best"
    )]
    #[non_exhaustive]
    OtherAlgorithm {
        /// The algorithm.
        algorithm: String,
    },
    /// A part of it is missing, too short, or out of its range.
    #[error("{part} of the hash {fault}")]
    #[non_exhaustive]
    Unfit {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
}

/// Why no hash could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashingError {
    /// The system gave no random bytes for the salt.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The secret has more than 4 GiB, or there is too little memory.
    #[error("the secret can't be hashed")]
    Unfit,
}

impl SecretHash {
    /// The hash of a secret, with a salt of its own: argon2id with 19 MiB, two passes and one lane,
    /// as [OWASP](https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html)
    /// recommends at least.
    ///
    /// Takes tens of milliseconds of a processor, and 19 MiB: not for the threads of a runtime.
    ///
    /// # Errors
    ///
    /// The system gave no random bytes.
    pub fn of(secret: &[u8]) -> Result<Self, HashingError> {
        SecretHash::with(secret, Params::default())
    }

    pub(super) fn with(secret: &[u8], params: Params) -> Result<Self, HashingError> {
        let mut salt = [0; 16];
        let filled = SystemRandom::new().fill(&mut salt);
        filled.map_err(|_| HashingError::NoRandomness)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password_with_salt(secret, &salt);
        let hash = hash.map_err(|_| HashingError::Unfit)?;
        Ok(SecretHash { hash })
    }

    /// Whether it is the hash of this secret. Slow, and compared in constant time.
    pub(super) fn is_of(&self, secret: &[u8]) -> bool {
        let verified = Argon2::default().verify_password(secret, &self.hash);
        verified.is_ok()
    }
}

impl FromStr for SecretHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let hash = PasswordHash::new(text).map_err(|_| InvalidHash::Malformed)?;
        if Algorithm::try_from(hash.algorithm.as_str()).is_err() {
            return Err(InvalidHash::OtherAlgorithm {
                algorithm: hash.algorithm.as_str().to_owned(),
            });
        }
        let unfit = |part, fault| Err(InvalidHash::Unfit { part, fault });
        let is_known = |version| Version::try_from(version).is_ok();
        if !hash.version.is_none_or(is_known) {
            return unfit("the version", "is unknown: there are v=16 and v=19");
        }
        let Ok(params) = Params::try_from(&hash) else {
            return unfit("a parameter", "is missing or out of its range");
        };
        if params.m_cost() > MAX_MEMORY_KIB {
            return unfit(
                "m",
                "is more than 1048576: each login would take more than 1 GiB",
            );
        }
        if u64::from(params.m_cost()) * u64::from(params.t_cost()) > MAX_WORK_KIB {
            return unfit(
                "t",
                "is too many passes: each login would take a minute or more",
            );
        }
        // A short one is refused by the format already.
        if hash.salt.is_none() {
            return unfit("the salt", "is missing");
        }
        if hash.hash.is_none_or(|output| output.len() < MIN_OUTPUT) {
            return unfit("the last part", "is missing or shorter than 16 bytes");
        }
        Ok(SecretHash { hash })
    }
}

/// As files have it.
impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.fmt(f)
    }
}

/// The algorithm alone.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretHash")
            .field("algorithm", &self.hash.algorithm.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str =
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$TBSdABQuZLF0aGxfvmjRWmwZkPKG6bZdOrRqCA0H1xE";

    #[test]
    fn a_hash_is_of_its_secret_alone_and_survives_writing() {
        let params = Params::new(64, 1, 1, None).expect("params");
        let hash = SecretHash::with(b"sesame", params.clone()).expect("hashed");
        assert!(hash.is_of(b"sesame") && !hash.is_of(b"sesam") && !hash.is_of(b""));
        let read: SecretHash = hash.to_string().parse().expect("what was written");
        assert_eq!(read, hash);
        assert!(read.is_of(b"sesame"));
        let again = SecretHash::with(b"sesame", params).expect("hashed");
        assert_ne!(again, hash, "each has a salt of its own");
    }

    #[test]
    fn no_hash_is_shown_by_debug_or_in_errors() {
        let hash: SecretHash = HASH.parse().expect("a hash");
        assert_eq!(
            format!("{hash:?}"),
            "SecretHash { algorithm: \"argon2id\", .. }"
        );
        let error = "sesame".parse::<SecretHash>().expect_err("plain text");
        assert!(!format!("{error} {error:?}").contains("sesame"));
    }

    #[test]
    fn what_is_no_hash_to_be_used_is_refused() {
        for (text, said) in [
            ("", "it is no hash of argon2"),
            ("sesame", "it is no hash of argon2"),
            ("$argon2id", "is missing"),
            ("$2b$12$abcdefghijklmnopqrstuv", "it is no hash of argon2"),
            (
                "$scrypt$ln=16,r=8,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA",
                "a hash of scrypt",
            ),
            (
                &HASH.replace("v=19", "v=20"),
                "the version of the hash is unknown",
            ),
            (&HASH.replace("m=64", "m=1"), "a parameter"),
            (&HASH.replace("m=64", "m=1048577"), "more than 1 GiB"),
            (&HASH.replace("t=1", "t=0"), "a parameter"),
            (
                &HASH.replace("c2FsdHNhbHQ", "c2FsdA"),
                "it is no hash of argon2",
            ),
            ("$argon2id$v=19$m=64,t=1,p=1", "the salt"),
            (&HASH[..HASH.len() - 23], "the last part"),
            (HASH.rsplit_once('$').expect("parts").0, "the last part"),
        ] {
            let error = text.parse::<SecretHash>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
