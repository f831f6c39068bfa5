//! Who may log in at a route, and the hashes of their secrets. Owns what is set; `login.rs` checks
//! what a client says, `failures.rs` limits guesses, and `remembered.rs` spares the slow hash for
//! secrets that were right before.

mod failures;
mod hash;
mod login;
mod remembered;

use std::{collections::BTreeMap, fmt};

pub use self::hash::{HashingError, InvalidHash, SecretHash};
pub(super) use self::login::{Guest, Logins};

/// The users of a route: their names, and the hashes of their secrets. For
/// [`RouteBuilder::users`](super::RouteBuilder::users). With the feature `users`.
///
/// ```
/// use millpond::proxy::{SecretHash, Users};
///
/// let hash = SecretHash::of(b"sesame")?;
/// let users = Users::new().user("app", hash);
/// assert_eq!(users.names().collect::<Vec<_>>(), ["app"]);
/// // As it is written in files.
/// let written = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$TBSdABQuZLF0aGxfvmjRWmwZkPKG6bZdOrRqCA0H1xE";
/// let users = users.user("reports", written.parse()?);
/// # assert_eq!(users.len(), 2);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # How a secret is checked
///
/// - A hash is slow on purpose. It runs on tokio's blocking threads, for one to four clients of the
///   route at a time, as many as half of the processors. The others wait, for as long as the request
///   has time.
/// - The secret that was right is remembered for each user, by HMAC-SHA-256 with a key that this
///   process has made for the route and that is never written anywhere; both digests are compared in
///   constant time. So a client that connects for each request costs no slow hash. A route with
///   other users remembers nothing of these.
/// - Ten wrong secrets are taken at once, and one for each second after, of the clients of one
///   address that name the same user; an IPv6 address counts as its network of 64 bits, and without
///   addresses, over Unix sockets, all clients count as one. Then the next are refused at once, and
///   nothing is checked, so that nobody can guess on; after a second one is checked again. 4,096
///   pairs of address and user are counted each by itself, all others together.
/// - A name that no user has is checked like that of some user, so the time of a reply doesn't tell
///   who the users are.
/// - The fifth failure on a connection closes it.
#[derive(Clone, Default)]
pub struct Users {
    hashes: BTreeMap<String, SecretHash>,
}

impl Users {
    /// None so far. A route with these refuses all who log in.
    pub fn new() -> Self {
        Users::default()
    }

    /// One more, or another secret for the user of this name.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, hash: SecretHash) -> Self {
        self.hashes.insert(name.into(), hash);
        self
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hashes.keys().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// The names alone.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
