//! One file or folder per command.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod man;
pub(crate) mod serve;
mod tls;

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
