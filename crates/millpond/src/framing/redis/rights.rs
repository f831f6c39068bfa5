//! Who a client is by the number in its state, and whether it may send what it sends.

use std::collections::BTreeMap;

use super::{
    super::Note,
    commands::Decision,
    demands::{Request, shown},
    state::Flags,
    users::RedisUser,
};

/// The users by their numbers, which are those of their names' order, from 1 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Users {
    users: Vec<(String, RedisUser)>,
}

impl Users {
    pub(super) fn of(users: &BTreeMap<String, RedisUser>) -> Self {
        // What has no number is nobody.
        let users = users.iter().take(u16::MAX.into());
        Users {
            users: users
                .map(|(name, user)| (name.clone(), user.clone()))
                .collect(),
        }
    }

    /// Whether a client of this state has to log in before it may do anything else.
    pub(super) fn await_login(&self, state: &Note) -> bool {
        !self.is_empty() && Flags::user_of(state) == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Which of the users it is; 0 if it is none.
    pub(super) fn number(&self, name: &[u8]) -> u16 {
        let found = self
            .users
            .binary_search_by(|(known, _)| known.as_bytes().cmp(name));
        found.map_or(0, |place| place as u16 + 1)
    }

    /// Why this user may not send this, in the words of the server. Nobody, who is 0, may what all
    /// may: whether there must be a login, is asked before.
    pub(super) fn forbids(&self, user: u16, request: &Request<'_>) -> Option<String> {
        let (name, user) = self.users.get(usize::from(user).checked_sub(1)?)?;
        let permitted = user.commands.as_ref()?;
        let command = match request.command {
            Some(command) if matches!(command.decision, Decision::Here(_)) => return None,
            Some(command) if permitted.permits(command) => return None,
            Some(command) => command.shown(),
            None => shown(request.name).to_lowercase(),
        };
        Some(format!(
            "NOPERM User {} has no permissions to run the '{command}' command",
            name.escape_debug()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_of_the_names_order() {
        let users = ["zoe", "ann", "Ann", ""].map(|name| (name.to_owned(), RedisUser::default()));
        let numbered = Users::of(&BTreeMap::from(users));
        for (name, number) in [
            ("", 1),
            ("Ann", 2),
            ("ann", 3),
            ("zoe", 4),
            ("an", 0),
            ("ann ", 0),
        ] {
            assert_eq!(numbered.number(name.as_bytes()), number, "{name}");
        }
    }
}
