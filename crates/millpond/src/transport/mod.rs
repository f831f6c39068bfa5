//! Endpoints and the streams that lead to them: TCP, TLS and Unix sockets. Knows nothing of pools and frames.

#[cfg(feature = "tls")]
pub mod tls;
