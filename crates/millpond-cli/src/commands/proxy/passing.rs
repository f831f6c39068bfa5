//! What passes on: a route of requests, or one of bytes.

use std::time::Duration;

use millpond::{
    framing::Protocol,
    net::Listener,
    proxy::{RawRoute, RawSnapshot, Route, RouteSnapshot},
    server::{Running, ServeError, ServerSettings},
};
use serde::Serialize;

/// See the module.
pub(super) enum Passing {
    Requests(Route<Protocol>),
    Bytes(RawRoute),
}

/// One of them at an instant.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Passed {
    Requests(Box<RouteSnapshot>),
    Bytes(Box<RawSnapshot>),
}

impl Passing {
    pub(super) fn serve(
        &self,
        settings: ServerSettings,
        listener: Listener,
    ) -> Result<Running, ServeError> {
        match self {
            Passing::Requests(route) => route.server().settings(settings).serve(listener),
            Passing::Bytes(route) => route.serve(settings, listener),
        }
    }

    /// Closes the upstream's connections; those that are still lent, when they come back.
    pub(super) async fn close(&self, within: Duration) {
        let _ = match self {
            Passing::Requests(route) => route.client().pool().close(within).await,
            Passing::Bytes(route) => route.pool().close(within).await,
        };
    }

    pub(super) fn snapshot(&self) -> Passed {
        match self {
            Passing::Requests(route) => Passed::Requests(Box::new(route.snapshot())),
            Passing::Bytes(route) => Passed::Bytes(Box::new(route.snapshot())),
        }
    }
}
