//! `millpond hash-secret`: the hash by which a route knows a secret.

use std::io::{self, IsTerminal, Read, Write};

use millpond::proxy::SecretHash;
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};

use crate::{
    complaint::{Complaint, say},
    exit::Exit,
    output,
};

/// Longer than any secret that a client sends: before its login a request has 16 KiB at most.
const LONGEST: usize = 16 << 10;

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond hash-secret
  millpond hash-secret < secret.txt > secret.hash

The secret is a line that isn't shown while it is typed, twice; or all of stdin, but for the end of \
its last line. The hash is argon2id's. It goes into a file of routes, as the secret_hash of a user, \
or into a file that secret_hash names. Each time it is another one, for it begins with random bytes.

Exit codes: 0 a hash; 1 it can't be made, or stdin can't be read; 2 no secret, one that is too \
long, or two that differ.")]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Exit {
    carry_out().unwrap_or_else(Complaint::report)
}

fn carry_out() -> Result<Exit, Complaint> {
    let secret = match io::stdin().is_terminal() {
        true => typed()?,
        false => piped()?,
    };
    if secret.is_empty() {
        return Err(Complaint::usage("the secret is empty"));
    }
    let hash = SecretHash::of(&secret);
    let hash = hash.map_err(|error| Complaint::of(Exit::Failure, &error))?;
    output::write(format!("{hash}\n").as_bytes(), Exit::Ok)
}

/// All of stdin.
fn piped() -> Result<Vec<u8>, Complaint> {
    let mut secret = Vec::new();
    let read = io::stdin()
        .take(LONGEST as u64 + 2)
        .read_to_end(&mut secret);
    read.map_err(unreadable)?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
        secret.pop_if(|byte| *byte == b'\r');
    }
    match secret.len() > LONGEST {
        true => Err(too_long()),
        false => Ok(secret),
    }
}

fn unreadable(error: io::Error) -> Complaint {
    Complaint::of(Exit::Failure, &format!("stdin can't be read: {error}"))
}

fn too_long() -> Complaint {
    Complaint::usage("the secret has more than 16 KiB, which no client can send")
}

/// The same line twice.
fn typed() -> Result<Vec<u8>, Complaint> {
    let quiet = Quiet::begin().map_err(|error| {
        Complaint::of(
            Exit::Failure,
            &format!("the terminal would show the secret: {error}"),
        )
    })?;
    let secret = line("Secret: ")?;
    let again = line("The same again: ")?;
    drop(quiet);
    match secret == again {
        true => Ok(secret),
        false => Err(Complaint::usage(
            "these are two secrets; nothing was hashed",
        )),
    }
}

/// A line, key by key, so that Ctrl-C leaves the terminal as it was.
fn line(asked: &str) -> Result<Vec<u8>, Complaint> {
    let _ = write!(io::stderr(), "{asked}");
    let mut line = Vec::new();
    for key in io::stdin().lock().bytes() {
        match key.map_err(unreadable)? {
            b'\r' | b'\n' => break,
            // Ctrl-C, and Ctrl-D where nothing is typed.
            3 => return Err(stopped()),
            4 if line.is_empty() => return Err(stopped()),
            // Backspace takes a character, and Ctrl-U all.
            8 | 127 => while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {},
            21 => line.clear(),
            key => line.push(key),
        }
        if line.len() > LONGEST {
            return Err(too_long());
        }
    }
    say("");
    Ok(line)
}

fn stopped() -> Complaint {
    Complaint::of(Exit::Interrupted, &"stopped; nothing was hashed")
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> nix::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        let shows = LocalFlags::ECHO | LocalFlags::ECHONL;
        quiet.local_flags &= !(shows | LocalFlags::ICANON | LocalFlags::ISIG);
        termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}
