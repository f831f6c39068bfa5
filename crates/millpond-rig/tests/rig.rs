//! The rig keeps what it promises: what is dropped is gone, what is set is set, and nothing
//! outlives it.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use millpond_rig::{
    CLIENT, Console, Outcome, Rig, SERVER, SERVER_V6, Scene, Side, available, servers,
};

const ECHO: &str = "10.77.0.2:7000";
const SOON: Duration = Duration::from_secs(5);
/// Long enough for a packet on this wire, which takes some 50 µs.
const IN_VAIN: Duration = Duration::from_millis(500);

fn scene(test: &str) -> Scene {
    Scene::of_test(test).server("echo", servers::echo)
}

fn dial(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, IN_VAIN)?;
    stream.set_read_timeout(Some(IN_VAIN))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"token")?;
    let mut reply = [0; 5];
    stream.read_exact(&mut reply)?;
    assert_eq!(&reply, b"token");
    Ok(())
}

fn kind<T: std::fmt::Debug>(result: std::io::Result<T>) -> ErrorKind {
    result.expect_err("it must fail").kind()
}

/// This program once more, to play what is no test of its own.
fn part(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("its own path"));
    command
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env("RIG_TEST_PART", name)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Whether this part was called for, and not by somebody who runs the ignored tests.
fn is_called_for(part: &str) -> bool {
    std::env::var("RIG_TEST_PART").is_ok_and(|called| called == part)
}

/// Waits until `holds`, which must come about soon.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "it didn't come about that {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_two_sides_reach_each_other() {
    scene("the_two_sides_reach_each_other").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        let mut stream = dial(echo.address())?;
        exchange(&mut stream)?;
        assert_eq!(stream.local_addr()?.ip(), IpAddr::from(CLIENT));
        assert_eq!(echo.ask_for_number("accepted")?, 1);

        // The other way round, and with sockets of this process that live in the server side.
        let here = TcpListener::bind((CLIENT, 0))?;
        let address = here.local_addr()?;
        let mut there = Side::Server.enter(|| TcpStream::connect(address))??;
        assert_eq!(there.local_addr()?.ip(), IpAddr::from(SERVER));
        let (mut accepted, _) = here.accept()?;
        there.write_all(b"hello")?;
        let mut five = [0; 5];
        accepted.read_exact(&mut five)?;
        Ok(())
    });
}

#[test]
fn the_machines_own_network_is_out_of_reach() {
    if available().is_err() {
        return scene("the_machines_own_network_is_out_of_reach").check(|_| Ok(())); // which says why
    }
    let namespace = fs::read_link("/proc/thread-self/ns/net").expect("/proc");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut part = part("a_look_at_the_machines_own_network");
    part.env(
        "RIG_TEST_OUTSIDE",
        format!("{address} {}", namespace.display()),
    );
    let output = part.stderr(Stdio::piped()).output().expect("itself");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn a_scene_is_never_played_in_the_machines_own_network() {
    let name = "a_scene_is_never_played_in_the_machines_own_network";
    if std::env::var_os("RIG_TEST_FORGED").is_some() {
        return scene(name).check(|_| Ok(()));
    }
    for outside in [None, Some("net:[1]"), own_namespaces().as_deref()] {
        let mut forged = part(name);
        forged
            .env("RIG_TEST_FORGED", "1")
            .env("MILLPOND_RIG_ROLE", "scene")
            .env("MILLPOND_RIG_SCENE", name);
        if let Some(outside) = outside {
            forged.env("MILLPOND_RIG_OUTSIDE", outside);
        }
        let output = forged.stderr(Stdio::piped()).output().expect("itself");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("aren't namespaces of a rig's own"),
            "{said}"
        );
    }
}

/// As the rig writes them down.
fn own_namespaces() -> Option<String> {
    let name = |which: &str| {
        Some(
            fs::read_link(format!("/proc/self/ns/{which}"))
                .ok()?
                .display()
                .to_string(),
        )
    };
    Some(format!("{} {}", name("net")?, name("mnt")?))
}

/// Not a test of its own: what [`the_machines_own_network_is_out_of_reach`] has played.
#[test]
#[ignore = "played by the_machines_own_network_is_out_of_reach"]
fn a_look_at_the_machines_own_network() {
    if !is_called_for("a_look_at_the_machines_own_network") {
        return;
    }
    scene("a_look_at_the_machines_own_network").check(|_| {
        let outside = std::env::var("RIG_TEST_OUTSIDE")?;
        let (address, namespace) = outside.split_once(' ').ok_or("two words")?;
        let address: SocketAddr = address.parse()?;
        for side in [Side::Client, Side::Server] {
            let (here, dialled) =
                side.enter(|| (fs::read_link("/proc/thread-self/ns/net"), dial(address)))?;
            assert_ne!(here?.display().to_string(), namespace, "{side:?}");
            assert_eq!(kind(dialled), ErrorKind::ConnectionRefused, "{side:?}");
        }
        Ok(())
    });
}

#[test]
fn what_is_dropped_is_gone_until_the_rules_are_lifted() {
    scene("what_is_dropped_is_gone_until_the_rules_are_lifted").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        let mut old = dial(echo.address())?;
        exchange(&mut old)?;

        rig.lose_syns(echo.address())?;
        assert_eq!(kind(dial(echo.address())), ErrorKind::TimedOut);
        exchange(&mut old)?;
        rig.lift_rules()?;
        let mut other = dial(echo.address())?;
        exchange(&mut other)?;

        let flows = rig.connections(echo.address())?;
        assert_eq!(flows.len(), 2, "{flows:?}");
        let lost = flows
            .into_iter()
            .find(|flow| Some(flow.local) == old.local_addr().ok());
        rig.lose_connections(&[lost.ok_or("the old one")?])?;
        assert_eq!(kind(exchange(&mut old)), ErrorKind::WouldBlock);
        exchange(&mut other)?;
        exchange(&mut dial(echo.address())?)?;

        rig.lose_packets(echo.address())?;
        assert_eq!(kind(exchange(&mut other)), ErrorKind::WouldBlock);
        assert_eq!(kind(dial(echo.address())), ErrorKind::TimedOut);
        rig.lift_rules()?;

        rig.refuse(echo.address())?;
        assert_eq!(kind(dial(echo.address())), ErrorKind::ConnectionRefused);
        rig.lift_rules()?;
        exchange(&mut dial(echo.address())?)?;
        Ok(())
    });
}

#[test]
fn a_rule_of_the_clients_own_side_holds_too() {
    scene("a_rule_of_the_clients_own_side_holds_too").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        Side::Client.nft("add rule inet rig output tcp dport 7000 drop")?;
        assert_eq!(kind(dial(echo.address())), ErrorKind::TimedOut);
        rig.lift_rules()?;
        exchange(&mut dial(echo.address())?)?;
        Ok(())
    });
}

#[test]
fn a_cut_wire_carries_nothing_until_it_is_mended() {
    scene("a_cut_wire_carries_nothing_until_it_is_mended")
        .ipv6()
        .check(|rig| {
            let fourth = rig.start("echo", &[ECHO])?;
            let sixth = rig.start("echo", &[&format!("[{SERVER_V6}]:7000")])?;
            let mut stream = dial(fourth.address())?;
            exchange(&mut stream)?;
            exchange(&mut dial(sixth.address())?)?;
            rig.cut_wire()?;
            assert_eq!(kind(exchange(&mut stream)), ErrorKind::WouldBlock);
            rig.mend_wire()?;
            until("IPv4 works again", || dial(fourth.address()).is_ok());
            until("IPv6 works again", || dial(sixth.address()).is_ok());
            Ok(())
        });
}

#[test]
fn a_sysctl_takes_effect_on_its_side_only() {
    scene("a_sysctl_takes_effect_on_its_side_only").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        let before = Side::Server.sysctl_value("net.ipv4.ip_local_port_range")?;
        Side::Client.sysctl("net.ipv4.ip_local_port_range", "40000 40003")?;
        assert_eq!(
            Side::Server.sysctl_value("net.ipv4.ip_local_port_range")?,
            before
        );
        let mut held = Vec::new();
        for _ in 0..4 {
            let stream = dial(echo.address())?;
            assert!((40000..=40003).contains(&stream.local_addr()?.port()));
            held.push(stream);
        }
        assert_eq!(kind(dial(echo.address())), ErrorKind::AddrNotAvailable);

        Side::Server.sysctl("net.ipv4.tcp_syn_retries", "1")?;
        assert_eq!(Side::Server.sysctl_value("net.ipv4.tcp_syn_retries")?, "1");
        assert_ne!(Side::Client.sysctl_value("net.ipv4.tcp_syn_retries")?, "1");
        assert!(Side::Client.sysctl("net.ipv4.no_such", "1").is_err());
        Ok(())
    });
}

#[test]
fn names_resolve_as_the_scene_says() {
    scene("names_resolve_as_the_scene_says").check(|rig| {
        let resolve = || -> Option<Vec<IpAddr>> {
            let found = ("db.test", 7000).to_socket_addrs().ok()?;
            Some(found.map(|address| address.ip()).collect())
        };
        assert_eq!(resolve(), None);
        rig.names(&[("db.test", SERVER.into())])?;
        assert_eq!(resolve(), Some(vec![SERVER.into()]));
        let third = IpAddr::from([10, 77, 0, 3]);
        rig.names(&[("db.test", third), ("db.test", SERVER.into())])?;
        let mut both = resolve().unwrap_or_default();
        both.sort();
        assert_eq!(both, [SERVER.into(), third]);

        rig.add_server_address(third)?;
        let echo = rig.start("echo", &["10.77.0.3:7000"])?;
        exchange(&mut dial(echo.address())?)?;
        Ok(())
    });
}

#[test]
fn dials_are_counted_also_those_that_are_dropped_or_refused() {
    scene("dials_are_counted_also_those_that_are_dropped_or_refused").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        let elsewhere = SocketAddr::from((SERVER, 7001));
        let (here, there) = (rig.count_syns(echo.address())?, rig.count_syns(elsewhere)?);
        let _open = [dial(echo.address())?, dial(echo.address())?];
        assert_eq!(kind(dial(elsewhere)), ErrorKind::ConnectionRefused);
        rig.lose_syns(echo.address())?;
        assert_eq!(kind(dial(echo.address())), ErrorKind::TimedOut);
        assert_eq!(here.seen()?.ports, 3);
        assert_eq!((there.seen()?.packets, there.seen()?.ports), (1, 1));
        Ok(())
    });
}

#[test]
fn connections_are_destroyed_on_the_side_that_is_named() {
    scene("connections_are_destroyed_on_the_side_that_is_named").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        for (side, seen) in [
            (Side::Client, ErrorKind::ConnectionAborted),
            (Side::Server, ErrorKind::ConnectionReset),
        ] {
            let mut stream = dial(echo.address())?;
            exchange(&mut stream)?;
            rig.destroy_connections(side, echo.address())?;
            assert_eq!(kind(stream.read(&mut [0])), seen);
        }
        Ok(())
    });
}

#[test]
fn a_full_backlog_drops_the_next_dial() {
    Scene::of_test("a_full_backlog_drops_the_next_dial")
        .server("mute", servers::never_accept)
        .check(|rig| {
            let mute = rig.start("mute", &[ECHO, "1"])?;
            let _fill = [dial(mute.address())?, dial(mute.address())?];
            assert_eq!(kind(dial(mute.address())), ErrorKind::TimedOut);
            Ok(())
        });
}

#[test]
fn one_that_hangs_up_is_seen_to() {
    Scene::of_test("one_that_hangs_up_is_seen_to")
        .server("hang up", servers::hang_up)
        .check(|rig| {
            let server = rig.start("hang up", &[ECHO])?;
            let mut stream = dial(server.address())?;
            assert_eq!(stream.read(&mut [0])?, 0);
            assert_eq!(server.ask_for_number("accepted")?, 1);
            Ok(())
        });
}

#[test]
fn a_suspended_server_is_silent_and_goes_on_when_resumed() {
    scene("a_suspended_server_is_silent_and_goes_on_when_resumed").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        let mut stream = dial(echo.address())?;
        exchange(&mut stream)?;
        echo.suspend()?;
        assert_eq!(kind(exchange(&mut stream)), ErrorKind::WouldBlock);
        // Its kernel still completes connections.
        dial(echo.address())?;
        echo.resume()?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        Ok(())
    });
}

#[test]
fn a_dropped_server_is_gone() {
    scene("a_dropped_server_is_gone").check(|rig| {
        let echo = rig.start("echo", &[ECHO])?;
        let (address, id) = (echo.address(), echo.id());
        let mut stream = dial(address)?;
        exchange(&mut stream)?;
        echo.suspend()?; // even so
        drop(echo);
        assert!(!is_running(id));
        assert_eq!(kind(dial(address)), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

fn is_running(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with('Z'))
}

/// Not a test of its own: what [`a_server_ends_with_its_scene_however_that_ends`] plays. Ends as
/// the environment says.
#[test]
#[ignore = "played by a_server_ends_with_its_scene_however_that_ends"]
fn a_scene_that_ends_badly() {
    if !is_called_for("a_scene_that_ends_badly") {
        return;
    }
    scene("a_scene_that_ends_badly").check(|rig: &Rig| {
        let [running, stopped] = [
            rig.start("echo", &[ECHO])?,
            rig.start("echo", &["10.77.0.2:7001"])?,
        ];
        stopped.suspend()?;
        println!(
            "servers {} {} of {}",
            running.id(),
            stopped.id(),
            std::process::id()
        );
        match std::env::var("RIG_TEST_ENDING")
            .unwrap_or_default()
            .as_str()
        {
            "panic" => panic!("as the test wants it"),
            "error" => Err("as the test wants it".into()),
            "abort" => std::process::abort(),
            _ => loop {
                thread::park(); // until this process is killed
            },
        }
    });
}

#[test]
fn a_server_ends_with_its_scene_however_that_ends() {
    if available().is_err() {
        return scene("a_server_ends_with_its_scene_however_that_ends").check(|_| Ok(())); // which says why
    }
    for ending in ["panic", "error", "abort", "killed"] {
        let mut part = part("a_scene_that_ends_badly");
        let mut child = part.env("RIG_TEST_ENDING", ending).spawn().expect("itself");
        let mut out = std::io::BufReader::new(child.stdout.take().expect("asked for"));
        let ids: Vec<u32> = loop {
            let mut line = String::new();
            let read = std::io::BufRead::read_line(&mut out, &mut line).expect("UTF-8");
            assert!(read > 0, "{ending}: it never said which its servers are");
            if let Some((_, ids)) = line.split_once("servers ") {
                break ids
                    .split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect();
            }
        };
        assert_eq!(ids.len(), 3, "{ids:?}");
        if ending == "killed" {
            child.kill().expect("its own child");
        }
        let status = child.wait().expect("its own child");
        assert!(!status.success(), "{ending}");
        for id in ids {
            until(&format!("{id} has ended ({ending})"), || !is_running(id));
        }
    }
}

#[test]
fn a_scene_that_is_never_reached_fails() {
    if available().is_err() {
        return scene("a_scene_that_is_never_reached_fails").check(|_| Ok(()));
    }
    let failure = scene("no_such_test")
        .play(|_| Ok(()))
        .expect_err("no test has that name");
    assert!(failure.to_string().contains("never reached"), "{failure}");
}

#[test]
fn a_scene_that_takes_too_long_is_ended() {
    let limit = Duration::from_millis(500);
    let played = scene("a_scene_that_takes_too_long_is_ended")
        .limit(limit)
        .play(|_| {
            loop {
                thread::park();
            }
        });
    match played {
        Err(failure) => assert!(
            failure.to_string().contains("took longer than 500ms"),
            "{failure}"
        ),
        Ok(Outcome::Skipped(_)) => scene("a_scene_that_takes_too_long_is_ended").check(|_| Ok(())),
        Ok(outcome) => panic!("{outcome}"),
    }
}

#[test]
fn a_report_comes_out_of_the_scene() {
    let played = scene("a_report_comes_out_of_the_scene").play(|rig| {
        rig.report("seven\nand eight");
        Ok(())
    });
    match played {
        Ok(Outcome::Played(reports)) => assert_eq!(reports, ["seven and eight"]),
        Ok(_) => scene("a_report_comes_out_of_the_scene").check(|_| Ok(())),
        Err(failure) => panic!("{failure}"),
    }
}

/// A server that doesn't come up says so.
fn stillborn(_: Console) -> millpond_rig::Result {
    Err("as the test wants it".into())
}

#[test]
fn a_server_that_never_gets_ready_is_an_error_at_once() {
    Scene::of_test("a_server_that_never_gets_ready_is_an_error_at_once")
        .server("stillborn", stillborn)
        .check(|rig| {
            let start = Instant::now();
            let error = rig.start("stillborn", &[]).err().ok_or("it started")?;
            assert!(error.to_string().contains("no answer"), "{error}");
            assert!(start.elapsed() < SOON);
            Ok(())
        });
}
