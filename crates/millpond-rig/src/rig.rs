//! The rig: makes the server side, the wire and the private `/etc/hosts`, and starts servers. Its
//! faults are in `faults`.

use std::{
    cell::Cell,
    fmt::Write as _,
    fs,
    io::ErrorKind,
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};

use crate::{Error, Server, Side, messages};

/// The client side's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The server side's address. [`Rig::add_server_address`] adds more, for instance 10.77.0.3.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The client side's IPv6 address, if the scene has asked for one.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// The server side's IPv6 address, if the scene has asked for one.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// The private files that are mounted over those of the machine.
const HOSTS: &str = "/run/rig-hosts";
const NSSWITCH: &str = "/run/rig-nsswitch.conf";

/// The nft table that both sides have when a scene begins. The chain `counting` sees packets before
/// the chain `input`, which may drop them.
const TABLE: &str = "
table inet rig {
    chain counting { type filter hook input priority -10; }
    chain input { type filter hook input priority 0; }
    chain output { type filter hook output priority 0; }
}
";

/// Two namespaces and the wire between them. The scene runs in the client side.
///
/// A rig isn't `Send`: its servers end when the thread that started them does.
#[derive(Debug)]
pub struct Rig {
    servers: Vec<&'static str>,
    /// The arguments with which this program comes to this scene.
    own_arguments: Vec<String>,
    pub(crate) counters: Cell<u32>,
    stays_here: PhantomData<*const ()>,
}

impl Rig {
    /// Makes a rig. This process must be in new namespaces.
    pub(crate) fn make(
        servers: Vec<&'static str>,
        own_arguments: Vec<String>,
        ipv6: bool,
    ) -> Result<Rig, Error> {
        refuse_a_network_in_use()?;
        mount_over("tmpfs", "/run", Some("tmpfs"))?;
        let ip = |arguments: &str| -> Result<(), Error> {
            let arguments: Vec<_> = arguments.split(' ').collect();
            Side::Client.run("ip", &arguments).map(drop)
        };
        ip("netns add server")?;
        ip("link add client0 type veth peer name server0 netns server")?;
        let sides = [
            (Side::Client, "", "client0", CLIENT, CLIENT_V6),
            (Side::Server, "-n server ", "server0", SERVER, SERVER_V6),
        ];
        for (side, prefix, link, v4, v6) in sides {
            ip(&format!("{prefix}address add {v4}/24 dev {link}"))?;
            if ipv6 {
                // The address must outlive a cut of the wire, as the IPv4 address does. No other
                // host is on the wire, so no address needs to be checked for duplicates.
                side.sysctl(&format!("net.ipv6.conf.{link}.keep_addr_on_down"), "1")?;
                side.sysctl(&format!("net.ipv6.conf.{link}.accept_dad"), "0")?;
                ip(&format!("{prefix}address add {v6}/64 dev {link} nodad"))?;
            }
            ip(&format!("{prefix}link set lo up"))?;
            ip(&format!("{prefix}link set {link} up"))?;
            side.nft(TABLE)?;
        }
        let rig = Rig {
            servers,
            own_arguments,
            counters: Cell::new(0),
            stays_here: PhantomData,
        };
        rig.own_names()?;
        await_the_wire(SERVER.into())?;
        if ipv6 {
            await_the_wire(SERVER_V6.into())?;
        }
        Ok(rig)
    }

    /// Starts one of the scene's servers in the server side, and waits until it is ready. The first
    /// argument of most servers is their address.
    ///
    /// # Errors
    ///
    /// If it can't be started, or ends before it is ready.
    ///
    /// # Panics
    ///
    /// If the scene knows no server of that name.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Result<Server, Error> {
        assert!(
            self.servers.contains(&name),
            "the scene knows no server {name}, only {:?}",
            self.servers
        );
        Server::start(name, &self.own_arguments, arguments)
    }

    /// Gives the server side one more address.
    ///
    /// # Errors
    ///
    /// If it has that one already.
    pub fn add_server_address(&self, address: IpAddr) -> Result<(), Error> {
        let (prefix, flags): (u8, &[&str]) = match address {
            IpAddr::V4(_) => (24, &[]),
            IpAddr::V6(_) => (64, &["nodad"]),
        };
        let address = format!("{address}/{prefix}");
        let arguments = ["address", "add", &address, "dev", "server0"];
        Side::Server
            .run("ip", &[&arguments, flags].concat())
            .map(drop)
    }

    /// Sets what names resolve to from now on, besides `localhost`. No DNS server is asked. A name
    /// may occur several times, once for each of its addresses.
    ///
    /// # Errors
    ///
    /// If the file can't be written.
    pub fn names(&self, names: &[(&str, IpAddr)]) -> Result<(), Error> {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for (name, address) in names {
            let _ = writeln!(text, "{address} {name}");
        }
        // Written in place: a new file wouldn't be the one that is mounted.
        fs::write(HOSTS, text).map_err(|error| Error::io(format!("write {HOSTS}"), error))
    }

    /// Hands a line to the process that plays the scene, which returns it in
    /// [`Outcome::Played`](crate::Outcome::Played).
    pub fn report(&self, line: &str) {
        messages::report(line);
    }

    /// Makes names resolve by this scene's own `/etc/hosts` and by nothing else.
    fn own_names(&self) -> Result<(), Error> {
        self.names(&[])?;
        fs::write(NSSWITCH, "hosts: files\n")
            .map_err(|error| Error::io(format!("write {NSSWITCH}"), error))?;
        for (own, theirs) in [(HOSTS, "/etc/hosts"), (NSSWITCH, "/etc/nsswitch.conf")] {
            // If the machine has no nsswitch.conf, libc also asks DNS, which doesn't answer here.
            if Path::new(theirs).exists() {
                mount_over(own, theirs, None)?;
            }
        }
        Ok(())
    }
}

/// Fails if this network namespace has addresses. A new one has none, not even that of the
/// loopback. This is the second check that a rig isn't made in the machine's own network;
/// [`Role::of_this_process`](crate::role::Role::of_this_process) has made the first.
fn refuse_a_network_in_use() -> Result<(), Error> {
    let addresses = Side::Client.run("ip", &["-brief", "address", "show"])?;
    match addresses.contains('/') {
        true => Err(Error::NotNew { addresses }),
        false => Ok(()),
    }
}

/// Waits until a dial is accepted or refused. The kernel takes up to a second to notice that a new
/// wire is up.
fn await_the_wire(to: IpAddr) -> Result<(), Error> {
    const DISCARD: u16 = 9; // the port of the service `discard`, which isn't run any more
    let start = Instant::now();
    loop {
        match TcpStream::connect_timeout(&(to, DISCARD).into(), Duration::from_millis(50)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) if start.elapsed() > Duration::from_secs(5) => {
                return Err(Error::io(format!("reach {to} over the new wire"), error));
            }
            // Sleep, because this error may come at once: the network may be unreachable.
            Err(_) => thread::sleep(Duration::from_millis(5)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Mounts a file, or a new file system of this kind, over something.
fn mount_over(what: &str, over: &str, kind: Option<&str>) -> Result<(), Error> {
    let flags = match kind {
        Some(_) => MsFlags::empty(),
        None => MsFlags::MS_BIND,
    };
    mount(Some(what), over, kind, flags, None::<&str>)
        .map_err(|error| Error::io(format!("mount {what} over {over}"), error))
}
