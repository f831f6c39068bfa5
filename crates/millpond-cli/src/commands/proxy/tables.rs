//! The tables of a file of routes, as they are written.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use millpond::{
    client::ClientSettings,
    connectors::Ejection,
    framing::{LengthJson, Octets, Protocol, RedisCommands},
    pool::PoolSettings,
    proxy::{Mode, RouteSettings},
    server::ServerSettings,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Spanned;

use crate::framing::RAW;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) route: BTreeMap<String, Spanned<Table>>,
}

/// One route.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// Where clients connect to.
    pub(super) listen: Spanned<String>,
    /// The upstream; or a list of upstreams that do the same, each an endpoint or a table with
    /// `endpoint` and `max_size`, which is how many connections it may have.
    pub(super) to: Spanned<To>,
    /// The protocol: the name of a preset, a table with its settings, or `raw` for bytes without
    /// frames.
    #[serde(default)]
    pub(super) framing: Spoken,
    /// How upstream connections are lent: `exchange`, `pipeline` or `session`.
    #[serde(default)]
    pub(super) mode: Option<Mode>,
    /// The certificate of the clients' side, a PEM file, where `listen` is `tls://`.
    pub(super) tls_cert: Option<PathBuf>,
    /// Its private key.
    pub(super) tls_key: Option<PathBuf>,
    /// Whose certificates clients must have.
    pub(super) tls_client_ca: Option<PathBuf>,
    /// Listens where other machines can connect, without client certificates.
    #[serde(default)]
    pub(super) insecure_bind: bool,
    /// Whom to trust, where `to` is `tls://`. Default: whom the system trusts.
    pub(super) ca: Option<PathBuf>,
    /// The route's own certificate, for upstreams that demand one.
    pub(super) cert: Option<PathBuf>,
    /// Its private key.
    pub(super) key: Option<PathBuf>,
    /// The name that the upstream's certificate must have. Default: the endpoint's host.
    pub(super) server_name: Option<String>,
    /// What is exchanged on a new upstream connection before it is lent: a list of steps.
    pub(super) on_connect: Option<Spanned<Vec<Step>>>,
    /// What a probe of an upstream exchanges, behind `on_connect`: a list of steps.
    pub(super) probe: Option<Spanned<Vec<Step>>>,
    /// Who may log in, by name: a table for each. If there are any, clients must log in before all
    /// else. For `redis`, by AUTH and HELLO. Default: no users, and no client has to log in.
    pub(super) users: Option<Spanned<BTreeMap<String, Spanned<User>>>>,
    /// When upstreams are ejected and probed.
    #[serde(default)]
    pub(super) ejection: Ejection,
    /// Limits of the clients' side.
    #[serde(default)]
    pub(super) server: ServerSettings,
    /// The upstream's side, each request.
    pub(super) client: Option<ClientSettings>,
    /// The upstream's side, connections.
    #[serde(default)]
    pub(super) pool: PoolSettings,
    /// Connections that clients have to themselves.
    pub(super) route: Option<RouteSettings>,
}

/// A framing; `None`: bytes without frames.
#[derive(Clone)]
pub(super) struct Spoken(pub(super) Option<Protocol>);

impl Default for Spoken {
    fn default() -> Self {
        Spoken(Some(LengthJson::default().into()))
    }
}

impl<'de> Deserialize<'de> for Spoken {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ProtocolOrRaw)
    }
}

struct ProtocolOrRaw;

impl<'de> Visitor<'de> for ProtocolOrRaw {
    type Value = Spoken;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a framing's name, \"{RAW}\", or a table with a framing's settings"
        )
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Spoken, E> {
        match name {
            RAW => Ok(Spoken(None)),
            _ => Protocol::deserialize(name.into_deserializer())
                .map(Some)
                .map(Spoken),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Spoken, A::Error> {
        Protocol::deserialize(MapAccessDeserializer::new(map))
            .map(Some)
            .map(Spoken)
    }
}

/// One exchange of a login or a probe.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// The body of a request, with `${file:PATH}` and `${env:NAME}` in it. Without it the server
    /// speaks first.
    pub(super) send: Option<Octets>,
    /// What the body of the answer must begin with.
    #[serde(default)]
    pub(super) expect: Octets,
}

/// Who may log in.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, remote = "User")]
pub(super) struct User {
    /// The hash of the user's secret, which `millpond hash-secret` prints, with `${file:PATH}` and
    /// `${env:NAME}` in it.
    pub(super) secret_hash: String,
    /// Which commands the user may send: their names, `@read`, `@transaction` or `@pubsub`. Default:
    /// all that the route sends at all.
    pub(super) commands: Option<RedisCommands>,
}

/// What is written in the place of a table may be a secret, which no error shows.
impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(UserTable)
    }
}

struct UserTable;

impl<'de> Visitor<'de> for UserTable {
    type Value = User;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with secret_hash")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<User, E> {
        Err(E::custom("a table with secret_hash belongs here"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<User, A::Error> {
        User::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Upstreams.
#[derive(Clone)]
pub(super) struct To(pub(super) Vec<Destination>);

/// One of them.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    pub(super) endpoint: String,
    pub(super) max_size: Option<u32>,
}

impl<'de> Deserialize<'de> for To {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = To;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint, a table with endpoint and max_size, or a list of these")
    }

    fn visit_str<E: Error>(self, endpoint: &str) -> Result<To, E> {
        Ok(To(vec![Destination {
            endpoint: endpoint.to_owned(),
            max_size: None,
        }]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<To, A::Error> {
        let one = Destination::deserialize(MapAccessDeserializer::new(map))?;
        Ok(To(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<To, A::Error> {
        let mut to = Vec::new();
        while let Some(To(some)) = list.next_element()? {
            to.extend(some);
        }
        Ok(To(to))
    }
}
