//! Endpoints and the streams that lead to them: TCP, TLS and Unix sockets. Knows nothing of pools and frames.

mod endpoint;
pub mod system;
#[cfg(feature = "tls")]
pub mod tls;

pub use self::endpoint::{Endpoint, EndpointError, Host, HostName, HostPort};
