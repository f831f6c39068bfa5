//! Servers for many scenes: one that echoes, one that hangs up, one that never accepts. The first
//! argument of each is its address. Each answers the command `accepted` with the number of
//! connections that it has accepted.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use socket2::{Domain, Socket, Type};

use crate::{Console, Result};

/// Sends back what it receives. Argument: its address.
///
/// # Errors
///
/// If it can't listen there.
pub fn echo(console: Console) -> Result {
    accepting(console, |mut stream| {
        thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..read]).is_err() {
                    return;
                }
            }
        });
    })
}

/// Accepts connections, and closes them at once. Argument: its address.
///
/// # Errors
///
/// If it can't listen there.
pub fn hang_up(console: Console) -> Result {
    accepting(console, drop)
}

/// Accepts connections, counts them and passes each to `handle`, all on one thread. Other servers
/// are made of this.
///
/// # Errors
///
/// If it can't listen at the address that is the first argument.
pub fn accepting(console: Console, mut handle: impl FnMut(TcpStream) + Send + 'static) -> Result {
    let listener = TcpListener::bind(console.argument::<SocketAddr>(0)?)?;
    console.ready(listener.local_addr()?);
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    thread::spawn(move || {
        // Skip errors: `accept` fails if a connection was aborted in the queue.
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Relaxed);
            handle(stream);
        }
    });
    console.answer_until_closed(|command| match command {
        "accepted" => accepted.load(Relaxed).to_string(),
        _ => format!("what is {command:?}?"),
    });
    Ok(())
}

/// Listens and never accepts. Arguments: its address; its backlog. The kernel completes one
/// connection more than the backlog, and then drops SYNs.
///
/// # Errors
///
/// If it can't listen there.
pub fn never_accept(console: Console) -> Result {
    let address: SocketAddr = console.argument(0)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(console.argument(1)?)?;
    let bound = socket.local_addr()?.as_socket();
    console.ready(bound.unwrap_or(address));
    console.answer_until_closed(|command| match command {
        "accepted" => "0".to_owned(),
        _ => format!("what is {command:?}?"),
    });
    Ok(())
}
