//! Servers for many scenes: one that answers, one that hangs up, one that never accepts. Each takes
//! its address as its first argument and answers the command `accepted` by how many connections it
//! has accepted.

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

/// Sends back what it is sent. Argument: its address.
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

/// Accepts, and closes at once. Argument: its address.
///
/// # Errors
///
/// If it can't listen there.
pub fn hang_up(console: Console) -> Result {
    accepting(console, drop)
}

/// Accepts connections, counts them and hands them to `handle`, on one thread; a server made of it
/// only has to say what it does with one.
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
        // A connection that died in the queue isn't the listener's end.
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
/// connection more than that, and then drops SYNs.
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
