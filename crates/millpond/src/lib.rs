//! millpond
pub mod pool;
