//! The server that the rows exchange with: it sends each token of 8 bytes back, followed by the
//! last number of its own address.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    thread,
};

use millpond_rig::{Console, servers};

/// Argument: its address.
pub fn replies(console: Console) -> millpond_rig::Result {
    servers::accepting(console, |stream| {
        // A thread that can't be had costs its connection.
        let _ = thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(move || reply_until_closed(stream));
    })
}

fn reply_until_closed(mut stream: TcpStream) {
    let own = match stream.local_addr().map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) => address.octets()[3],
        Ok(IpAddr::V6(address)) => address.octets()[15],
        Err(_) => return,
    };
    let mut reply = [own; 9];
    while stream.read_exact(&mut reply[..8]).is_ok() {
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}
