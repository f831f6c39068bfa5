//! One file or folder per command.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod man;
pub(crate) mod serve;
mod tls;

use std::path::PathBuf;

use millpond::transport::Endpoint;

use crate::{complaint::Complaint, exit::Exit};

/// An error of the library as those know it who connect by this program: it names flags, not the settings that they are for.
fn in_flags(text: &str) -> String {
    const FLAGS: [(&str, &str); 4] = [
        ("identity_files", "--cert and --key"),
        ("server_name", "--server-name"),
        ("with ca_file", "with --ca"),
        (
            "look at min_version here and at the peer's settings",
            "look at the peer's settings",
        ),
    ];
    FLAGS.iter().fold(text.to_owned(), |text, (setting, flag)| {
        text.replace(setting, flag)
    })
}

/// An error about one of these files, with the flag that has named it, if a single one has.
fn of_file(error: &str, files: &[(&str, Option<&PathBuf>)]) -> String {
    let is_about = |path: &PathBuf| {
        let rest = error.strip_prefix(&path.display().to_string());
        rest.is_some_and(|rest| rest.starts_with(' '))
    };
    let mut named = files.iter().filter(|(_, path)| path.is_some_and(is_about));
    match (named.next(), named.next()) {
        (Some((flag, _)), None) => format!("{flag}: {error}"),
        _ => error.to_owned(),
    }
}

/// The endpoint that was given to a flag, or what is wrong with it and where.
fn endpoint(flag: &str, text: &str) -> Result<Endpoint, Complaint> {
    text.parse()
        .map_err(|error| Complaint::usage(format!("{flag}: {error:#}")))
}

/// The runtime that a command runs on.
fn runtime() -> Result<tokio::runtime::Runtime, Complaint> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Complaint::of(Exit::Failure, &format!("no runtime could be started: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_with_its_flag() {
        let (short, long) = (PathBuf::from("ca"), PathBuf::from("ca.pem"));
        let files = [("--ca", Some(&short)), ("--key", None), ("--cert", Some(&long))];
        assert_eq!(of_file("ca.pem is empty", &files), "--cert: ca.pem is empty");
        assert_eq!(of_file("ca is empty", &files), "--ca: ca is empty");
        assert_eq!(of_file("there is no file", &files), "there is no file");
        let twice = [("--ca", Some(&short)), ("--key", Some(&short))];
        assert_eq!(of_file("ca is empty", &twice), "ca is empty");
    }

    #[test]
    fn settings_are_named_by_their_flags() {
        for (said, shown) in [
            ("give one with identity_files", "give one with --cert and --key"),
            ("give its CA with ca_file, or", "give its CA with --ca, or"),
            ("or set it with server_name", "or set it with --server-name"),
            ("or name a file with ca_file", "or name a file with --ca"),
        ] {
            assert_eq!(in_flags(said), shown);
        }
    }
}
