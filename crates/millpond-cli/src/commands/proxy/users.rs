//! The users of a route, as a file has them: each is written once, and both the framing, which says
//! what each may do, and the route, which checks their secrets, get them from here.

use std::{collections::BTreeMap, fmt, ops::Range};

use millpond::{
    framing::{Protocol, Redis, RedisSettings, RedisUser},
    proxy::{SecretHash, Users},
};
use toml::Spanned;

use super::{secrets::filled, tables::User};

/// What is wrong, and where.
pub(super) struct Wrong {
    pub(super) said: String,
    pub(super) span: Range<usize>,
}

/// The users, and the framing with them.
pub(super) fn read(
    users: Spanned<BTreeMap<String, Spanned<User>>>,
    protocol: Option<Protocol>,
) -> Result<(Users, Protocol), Wrong> {
    let span = users.span();
    let users = users.into_inner();
    let wrong = |said: &dyn fmt::Display| Wrong {
        said: said.to_string(),
        span: span.clone(),
    };
    let Some(redis) = protocol.as_ref().and_then(Protocol::as_redis) else {
        return Err(wrong(
            &"users are for framing redis: clients of other framings don't log in; leave them out",
        ));
    };
    if users.is_empty() {
        return Err(wrong(
            &"users is empty: name one at least, or leave it out and let everybody in",
        ));
    }
    if users.len() > usize::from(u16::MAX) {
        return Err(wrong(
            &"users are more than 65535, and so many there can be",
        ));
    }
    let (mut checked, mut known) = (Users::new(), redis.settings().users.clone());
    if !known.is_empty() {
        return Err(wrong(&TWICE));
    }
    for (name, user) in users {
        let span = user.span();
        let user = user.into_inner();
        let hash = hash(&user.secret_hash).map_err(|said| Wrong {
            said: format!("users.{name}: secret_hash: {said}"),
            span,
        })?;
        let commands = user.commands;
        known.insert(name.clone(), RedisUser { commands });
        checked = checked.user(name, hash);
    }
    let redis = Redis::from(RedisSettings {
        users: known,
        ..redis.settings().clone()
    });
    Ok((checked, redis.into()))
}

/// Of users that only the framing knows.
pub(super) const TWICE: &str = "framing.redis.users have no secrets, so nobody could log in; write users as tables of the route, [route.NAME.users], each with its secret_hash";

/// Whether only the framing knows of users.
pub(super) fn lack_secrets(protocol: Option<&Protocol>, users: Option<&Users>) -> bool {
    let redis = protocol.and_then(Protocol::as_redis);
    users.is_none() && redis.is_some_and(|redis| !redis.settings().users.is_empty())
}

/// No error of it shows what was written: it may be the secret itself.
fn hash(written: &str) -> Result<SecretHash, String> {
    let text = filled(written.as_bytes())?;
    let text = String::from_utf8(text).map_err(|_| String::from("it is no text"))?;
    let hash = text.trim_end().parse::<SecretHash>();
    hash.map_err(|error| format!("{error}; millpond hash-secret makes one"))
}
