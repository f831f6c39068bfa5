//! Network namespaces for tests: a client side and a server side with a wire between them, and
//! faults on that wire.
//!
//! A [`Scene`] runs in namespaces that it makes for itself and that end with it. It never touches
//! the machine's own network, mounts or `/etc/hosts`. If namespaces aren't allowed or a tool is
//! missing, [`available`] says what. This crate knows nothing of pools.
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
//! How it works: the program runs itself again under `unshare`. An environment variable makes the
//! second process the scene. The scene is in the *client side*. It makes the *server side* (a named
//! namespace, in a private `/run`) and a veth pair between the two. Each server is one more process
//! of the same program, which first enters the server side. When a scene ends for any reason, so do
//! its servers; when the program that started the scene ends, so does the scene.
//!
//! A test is skipped where no rig can be made. With the environment variable `MILLPOND_RIG=require`
//! it fails instead.

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
