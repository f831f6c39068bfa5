//! The protocols that come with the library and are made of settings, beside slow references.

mod delimited;
mod length_prefixed;
mod modbus;
mod redis;
#[cfg(unix)]
mod redis_commands;
mod redis_page;
mod redis_reference;
mod reference;
#[cfg(unix)]
mod served;
