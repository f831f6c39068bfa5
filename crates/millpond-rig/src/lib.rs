//! Network namespaces for tests: a client side and a server side with a wire between them, and
//! faults on that wire.
//!
//! A [`Scene`] runs in namespaces that it makes for itself and that end with it; the machine's own
//! network, its mounts and its `/etc/hosts` are never touched. Where that isn't allowed, or a tool
//! is missing, [`available`] says what exactly. This crate owns the stage, not the play: it knows
//! nothing of pools.
//!
//! ```no_run
//! use std::{io::Read, net::TcpStream};
//! use millpond_rig::{Scene, servers};
//!
//! #[test]
//! fn a_lost_wire_is_noticed() {
//!     Scene::of_test("a_lost_wire_is_noticed").server("echo", servers::echo).check(|rig| {
//!         let echo = rig.start("echo", &["10.77.0.2:7000"])?;
//!         let mut stream = TcpStream::connect(echo.address())?;
//!         rig.cut_wire()?;
//!         stream.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
//!         assert!(stream.read(&mut [0]).is_err());
//!         Ok(())
//!     });
//! }
//! ```
//!
//! How it works: the program runs itself again under `unshare`, and an environment variable tells
//! the second one that it is the scene. That one is in the *client side*. It makes the *server
//! side* (a named namespace, in a private `/run`) and a veth pair between the two. Each server is
//! the same program a third time, which enters the server side before it does anything else.
//! A server ends with its scene, and the scene with the program that started it, however they end.
//!
//! With the environment variable `MILLPOND_RIG=require` a missing rig fails the test instead of
//! skipping it.

#![cfg(target_os = "linux")]

mod available;
mod error;
mod faults;
mod messages;
mod rig;
mod role;
mod scene;
mod server;
pub mod servers;
mod side;

pub use self::{
    available::{Unavailable, available},
    error::Error,
    faults::{SynCounter, Syns},
    rig::{CLIENT, CLIENT_V6, Rig, SERVER, SERVER_V6},
    scene::{Failure, Outcome, Scene},
    server::{Console, Server},
    side::{Flow, Side},
};

/// What scenes and servers return: any error will do.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
