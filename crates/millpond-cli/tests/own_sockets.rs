//! `millpond doctor --pid` looks at the sockets of this very process.
//!
//! A program of its own: sockets of tests that ran beside it would be counted as well.

#![cfg(target_os = "linux")]

mod common;

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    process,
};

use common::{
    findings::{findings, marked, names, says},
    run,
};

#[test]
fn a_process_that_leaves_close_wait_and_listens_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let leaked = TcpStream::connect(address).expect("connects");
    drop(listener.accept().expect("accepts"));
    // The peer's end was read, and the socket isn't closed.
    assert_eq!((&leaked).read(&mut [0; 1]).expect("an end"), 0);
    let pid = process::id().to_string();
    let found = findings(&run(&["doctor", "--json", "--pid", &pid, "keepalive"], ""));
    assert_eq!(names(&found)[..2], ["keepalive", "process-descriptors"]);
    let close_wait = marked(&found, "process-close-wait", "warning");
    says(close_wait, "found", &format!("to {address}"));
    says(
        marked(&found, "process-listeners", "good"),
        "found",
        &address.to_string(),
    );
    drop(leaked);
    let found = findings(&run(
        &["doctor", "--json", "--pid", &pid, "process-close-wait"],
        "",
    ));
    assert_eq!(names(&found), ["process-close-wait"]);
    assert!(
        !found[0]["found"]
            .as_str()
            .expect("text")
            .contains(&address.to_string()),
        "{found:?}"
    );
}
