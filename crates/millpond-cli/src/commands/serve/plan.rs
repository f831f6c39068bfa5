//! Checks the flags, as far as that is possible without opening a socket.

use std::{
    env, fs,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use millpond::{
    net::{Endpoint, ListenOptions},
    server::Bodies,
};

use super::{arguments::Arguments, exec::Exec, handlers::ChosenHandler};
use crate::{
    commands::{
        form::Form,
        listening::{certificates::Certificates, max_connections},
    },
    complaint::Complaint,
    descriptors::{self, PER_PROGRAM, for_programs},
    framing::{self, Spoken},
};

/// What is to be served, where and within which limits.
pub(super) struct Plan {
    pub(super) endpoint: Endpoint,
    pub(super) spoken: Spoken,
    pub(super) listen_options: ListenOptions,
    pub(super) certificates: Option<Certificates>,
    pub(super) demands_certificates: bool,
    pub(super) insecure_bind: bool,
    pub(super) handler: ChosenHandler,
    pub(super) max_handled: Option<usize>,
    /// How many programs may run at once, if there are any; the descriptors may allow fewer.
    pub(super) programs: Option<usize>,
    pub(super) deadline: Option<Duration>,
    pub(super) heartbeat: Duration,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_address: Option<usize>,
    pub(super) max_bytes: usize,
    pub(super) max_bytes_per_connection: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) drain: Duration,
    pub(super) form: Form,
}

pub(super) fn parse(arguments: &Arguments) -> Result<Plan, Complaint> {
    let endpoint = crate::commands::endpoint("--listen", &arguments.listen)?;
    let spoken = arguments.framing.spoken()?;
    let certificates = arguments.tls.certificates(&endpoint)?;
    let mut listen_options = ListenOptions::default();
    if let Some(Certificates { tls, .. }) = &certificates {
        listen_options = listen_options.tls(tls.clone());
    }
    let room = descriptors::room();
    let processes = processes(arguments.max_processes, room);
    let (handler, max_handled) = handler(arguments, &spoken, processes)?;
    // Descriptors of programs aren't available for connections.
    let programs = matches!(handler, ChosenHandler::Exec(_)).then_some(processes);
    let room = room.map(|room| room.saturating_sub(programs.map_or(0, for_programs)));
    let unless_zero = |time: Duration| (!time.is_zero()).then_some(time);
    let per_address = arguments.max_connections_per_address;
    Ok(Plan {
        endpoint,
        spoken,
        listen_options,
        certificates,
        demands_certificates: arguments.tls.demands_certificates(),
        insecure_bind: arguments.tls.insecure_bind,
        handler,
        max_handled,
        programs: programs.map(|programs| arguments.max_processes.unwrap_or(programs)),
        deadline: unless_zero(arguments.deadline),
        heartbeat: arguments.heartbeat,
        max_connections: max_connections(arguments.max_connections, room),
        max_connections_per_address: (per_address > 0).then_some(per_address),
        max_bytes: arguments.max_bytes.get(),
        max_bytes_per_connection: arguments.max_bytes_per_connection.get(),
        idle_timeout: unless_zero(arguments.idle_timeout),
        drain: arguments.drain,
        form: match arguments.json {
            true => Form::Json,
            false => Form::Text,
        },
    })
}

/// The handler, and how many requests it may have at once, unless that is the default.
fn handler(
    arguments: &Arguments,
    spoken: &Spoken,
    processes: usize,
) -> Result<(ChosenHandler, Option<usize>), Complaint> {
    let bodies = match arguments.raw || !spoken.carries_json() {
        true => Bodies::Opaque,
        false => Bodies::Json,
    };
    match arguments.handler.as_str() {
        "echo" => Ok((ChosenHandler::Echo(spoken.protocol.clone(), bodies), None)),
        "reference" if !spoken.carries_json() => Err(Complaint::usage(format!(
            "the handler reference is for the framing {}, since its replies are JSON: with {} take echo or exec:PROGRAM ARGS…",
            framing::default_name(),
            spoken.name()
        ))),
        "reference" if arguments.raw => Err(Complaint::usage(
            "--raw is for the handlers echo and exec: the reference's replies are JSON in any case",
        )),
        "reference" => Ok((ChosenHandler::Reference, None)),
        other => match other.strip_prefix("exec:") {
            Some(command) => {
                let exec = exec(command, processes, bodies, spoken.max_body)?;
                let at_once = processes.saturating_add(arguments.max_waiting);
                Ok((ChosenHandler::Exec(exec), Some(at_once)))
            }
            None => Err(Complaint::usage(format!(
                "there is no handler '{other}'; there are echo, reference and exec:PROGRAM ARGS…"
            ))),
        },
    }
}

/// How many programs run at once: as asked, but programs use at most half of the descriptors. The
/// others are for connections.
fn processes(asked: Option<usize>, room: Option<u64>) -> usize {
    let by_default = || {
        let processors = thread::available_parallelism().map_or(2, NonZeroUsize::get);
        (2 * processors).max(4)
    };
    let can_be = room.map_or(usize::MAX, |room| {
        usize::try_from(room / 2 / PER_PROGRAM).unwrap_or(usize::MAX)
    });
    let asked = asked.unwrap_or_else(by_default);
    asked.min(can_be).max(1)
}

fn exec(
    command: &str,
    processes: usize,
    bodies: Bodies,
    max_reply: usize,
) -> Result<Exec, Complaint> {
    let words = shell_words::split(command)
        .map_err(|error| Complaint::usage(format!("--handler exec:{command}: {error}")))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(Complaint::usage(
            "--handler exec: names no program; write exec:PROGRAM ARGS…, like 'exec:jq -c .name'",
        ));
    };
    let found = find(program).ok_or_else(|| {
        let place = match program.contains('/') {
            true => "there",
            false => "in the folders of PATH",
        };
        Complaint::usage(format!(
            "--handler exec: no program '{program}' can be run: there is none {place}"
        ))
    })?;
    Ok(Exec::new(
        found,
        arguments.to_vec(),
        processes,
        bodies,
        max_reply,
    ))
}

/// Finds a program by the rules of execvp(3).
fn find(program: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = PathBuf::from(program);
        return is_program(&path).then_some(path);
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| is_program(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_half_of_the_descriptors_at_most() {
        assert_eq!(processes(Some(64), Some(192)), 24);
        assert_eq!(processes(Some(64), Some(960)), 64);
        assert_eq!(processes(Some(64), Some(0)), 1);
        assert_eq!(processes(Some(3), None), 3);
        assert!(processes(None, None) >= 4);
    }
}
