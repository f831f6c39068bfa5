//! pool
mod config;
mod error;
mod eviction;
mod state;
pub use config::*;
pub use eviction::*;
