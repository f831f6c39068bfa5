//! Managers that were written for bb8 and deadpool, as connectors: which of their methods is called
//! when, and what becomes of a connection by what they answer. The managers are the tests' own.

#![cfg(any(feature = "bb8", feature = "deadpool"))]

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool")]
mod deadpool;
mod scripted;
