//! What can be set of Redis.

use std::collections::BTreeMap;

use super::users::RedisUser;

/// The settings of [`Redis`](super::Redis), as a document has them:
///
/// ```toml
/// framing = { redis = { database = 2, users = { shop = {}, reports = { commands = ["@read"] } } } }
/// ```
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use millpond::framing::RedisSettings;
///
/// let settings: RedisSettings = toml::from_str("database = 2")?;
/// assert_eq!((settings.database, settings.max_arguments), (2, 1 << 20));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
///
/// Fields may be added in a minor release: end a literal with `..RedisSettings::default()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "snake_case", deny_unknown_fields, default)
)]
pub struct RedisSettings {
    /// The longest request, and the longest reply, in bytes. Default: 16 MiB. The server itself takes
    /// values of 512 MiB, but whoever passes replies on holds each of them whole.
    pub max_body: usize,
    /// How many arguments a request may have, its command among them. Default: 1,048,576, as in the
    /// server.
    pub max_arguments: usize,
    /// The database that all connections are of. Default: 0. Clients may select this one alone.
    pub database: u16,
    /// Who may log in by AUTH or HELLO, and what each may do. If there are users, each client must
    /// log in as one of them before anything else, and until then its requests may have 10 arguments
    /// and 16 KiB. Default: none, and no client has to log in. At most 65,535. Their secrets are not
    /// set here but where they are checked, by `proxy::Users`. The connections to the upstream are
    /// the same for all: a user can't have a login of its own there.
    pub users: BTreeMap<String, RedisUser>,
    /// Commands that the table doesn't know, such as those of modules: whether they are sent like
    /// those that only read and write keys. Default: no, they are refused.
    pub unknown_commands: bool,
    /// Whether SCAN, HSCAN, SSCAN and ZSCAN pin their connection until they have come to an end. Their
    /// cursors mean something to one server alone, so with several upstreams they must; the program sees
    /// to that. Default: no.
    pub pin_scans: bool,
    /// The version of the server that clients are told by HELLO. Default: `7.0.0`, in which all that
    /// clients do by HELLO exists.
    pub server_version: String,
}

impl Default for RedisSettings {
    fn default() -> Self {
        RedisSettings {
            max_body: 16 << 20,
            max_arguments: 1 << 20,
            database: 0,
            users: BTreeMap::new(),
            unknown_commands: false,
            pin_scans: false,
            server_version: String::from("7.0.0"),
        }
    }
}
