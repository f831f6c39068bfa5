//! Why the demo can't go on.

use millpond::{client::RequestError, pool::BuildError};

use crate::commands::embedded::ServerError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("the pool can't be built")]
    Pool(#[from] BuildError),
    #[error("a request of the first scene failed")]
    Scene(#[from] RequestError),
}
