//! The builder of a route: a setter for each setting, with its default and the reason for it.

use std::{fmt, sync::Arc, time::Duration};

use super::{route::Route, settings::RouteSettings, users};
use crate::{
    client::Client,
    framing::{Framing, LengthJson},
};

/// Builds a [`Route`].
#[must_use]
pub struct RouteBuilder<F: Framing = LengthJson> {
    /// One for each lane.
    clients: Vec<Client<F>>,
    settings: RouteSettings,
    logins: Option<Arc<users::Logins>>,
}

impl<F: Framing> Route<F> {
    /// A route to the client's endpoint, with the default settings. The client's pool says how many
    /// connections there are, how many requests may wait for one, and how long.
    pub fn to(client: Client<F>) -> Self {
        Route::builder(client).build()
    }

    /// Where a route with other settings begins.
    pub fn builder(client: Client<F>) -> RouteBuilder<F> {
        RouteBuilder::new(client)
    }
}

impl<F: Framing> RouteBuilder<F> {
    fn new(client: Client<F>) -> Self {
        RouteBuilder {
            clients: vec![client],
            settings: RouteSettings::default(),
            logins: None,
        }
    }

    /// Who may log in, where the framing's clients log in by a name and a secret, as those of
    /// [`Redis`](crate::framing::Redis) do. Who must, and what each may do, are settings of the
    /// framing: give it the same names. Default: none, and all who try are refused.
    /// With the feature `users`.
    #[cfg(feature = "users")]
    pub fn users(mut self, users: super::Users) -> Self {
        let pool = self.clients[0].pool();
        self.logins = Some(users::Logins::new(pool.name(), users));
        self
    }

    /// A client for the next of the framing's [lanes](Framing::lanes), which was built
    /// [for it](crate::client::ClientBuilder::lane), with the same framing and the same mode. Its pool
    /// is one of its own, and so are its limits. Clients of a lane for which there is none are told
    /// so.
    pub fn lane(mut self, client: Client<F>) -> Self {
        self.clients.push(client);
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: RouteSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Lends a connection to one client from its first request on, for as long as it stays: for
    /// protocols that keep a state on the connection of which the framing knows nothing. If nothing
    /// is under way on it when the client leaves, the next client is lent it, so what a client has
    /// changed of its state must be of no harm to others. Default: no, for then there are as many
    /// upstream connections as clients.
    pub fn session(mut self, session: bool) -> Self {
        self.settings.session = session;
        self
    }

    /// How many upstream connections clients may have to themselves at a time, since their requests
    /// [pin](crate::framing::Demand::pins) them. Those beyond wait, as long as they would for a
    /// connection. Default: half of the pool's `max_size`, and at least one, so that the requests of
    /// all others go on; in a session route, all of them. More than `max_size` is as much as that.
    pub fn max_pins(mut self, max: u32) -> Self {
        self.settings.max_pins = Some(max);
        self
    }

    /// How long a client may have a connection to itself; `None`: without a limit. After that the
    /// connection to the upstream is closed, and the client's with its next request.
    /// Default: 10 minutes. A transaction takes far less, and what a client has begun and forgotten
    /// is kept from the others for no longer.
    pub fn max_pin_age(mut self, age: Option<Duration>) -> Self {
        self.settings.max_pin_age = age;
        self
    }

    /// The route.
    pub fn build(self) -> Route<F> {
        Route::new(self.clients, self.settings, self.logins)
    }
}

impl<F: Framing> fmt::Debug for RouteBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteBuilder")
            .field("clients", &self.clients)
            .field("settings", &self.settings)
            .finish()
    }
}
