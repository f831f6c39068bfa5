//! Reads routes from a TOML file: all of them, or what is wrong with one.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use millpond::{
    client::ClientSettings,
    framing::{LengthJson, Protocol},
    net::{Endpoint, EndpointError},
    pool::PoolSettings,
    proxy::{Mode, RouteSettings},
    server::ServerSettings,
};
use serde::Deserialize;
use toml::Spanned;

use super::plan::{Plan, To};
use crate::{
    commands::{listening::ListenFlags, tls::TlsFlags},
    complaint::Complaint,
    fault::{self, Source},
    framing::default_name,
};

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    route: BTreeMap<String, Spanned<Table>>,
}

/// One route.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: Spanned<String>,
    to: Spanned<OneOrMore>,
    #[serde(default = "default_protocol")]
    framing: Protocol,
    #[serde(default)]
    mode: Option<Mode>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    #[serde(default)]
    insecure_bind: bool,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
    #[serde(default)]
    server: ServerSettings,
    #[serde(default)]
    client: ClientSettings,
    #[serde(default)]
    pool: PoolSettings,
    #[serde(default)]
    route: RouteSettings,
}

/// An endpoint, or a list of some.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn default_protocol() -> Protocol {
    LengthJson::default().into()
}

/// The routes of a file, in the order of their names.
pub(super) fn read(file: &Path) -> Result<Vec<Plan>, Complaint> {
    let told = |text: String| Complaint::usage(format!("--config: {text}"));
    let text = fault::read_file(file).map_err(told)?;
    plans(&Source::of_file(file, &text)).map_err(told)
}

fn plans(source: &Source<'_>) -> Result<Vec<Plan>, String> {
    let document: Document = source.read()?;
    if document.route.is_empty() {
        return Err(String::from(
            "the file has no route; begin one with [route.NAME], and give it listen and to",
        ));
    }
    let plans = document.route.into_iter();
    plans
        .map(|(name, table)| plan(name, table, source))
        .collect()
}

fn plan(name: String, table: Spanned<Table>, source: &Source<'_>) -> Result<Plan, String> {
    let span = table.span();
    let wrong =
        |said: &dyn fmt::Display| source.point(span.clone(), &format!("route {name}: {said}"));
    let endpoint = |text: &String, span| -> Result<Endpoint, String> {
        // The error shows the text itself.
        let wrong = |error: EndpointError| source.point(span, &error.to_string());
        text.parse().map_err(wrong)
    };
    let table = table.into_inner();
    let listen = endpoint(table.listen.get_ref(), table.listen.span())?;
    let to = match table.to.get_ref() {
        OneOrMore::One(to) => std::slice::from_ref(to),
        OneOrMore::More(to) => to,
    };
    if to.is_empty() {
        return Err(wrong(&"to is empty: give it an endpoint at least"));
    }
    let to = to
        .iter()
        .map(|to| endpoint(to, table.to.span()))
        .collect::<Result<Vec<_>, _>>()?;
    if table.tls_cert.is_some() != table.tls_key.is_some() {
        return Err(wrong(&"tls_cert and tls_key belong together: give both"));
    }
    if table.cert.is_some() != table.key.is_some() {
        return Err(wrong(&"cert and key belong together: give both"));
    }
    let mode = mode(&table).map_err(|error| wrong(&error))?;
    let listening = ListenFlags {
        tls_cert: table.tls_cert,
        tls_key: table.tls_key,
        tls_client_ca: table.tls_client_ca,
        insecure_bind: table.insecure_bind,
    };
    let upstream = TlsFlags {
        ca: table.ca,
        cert: table.cert,
        key: table.key,
        server_name: table.server_name,
    };
    let told = |complaint: Complaint| wrong(&in_keys(complaint.text()));
    let preset = table.framing.preset().name;
    let upstreams = to.into_iter().map(|endpoint| {
        let tls = upstream.towards(&endpoint)?;
        Ok(To { endpoint, tls })
    });
    let upstreams = upstreams.collect::<Result<_, _>>().map_err(told)?;
    let plan = Plan {
        certificates: listening.certificates(&listen).map_err(told)?,
        demands_certificates: listening.demands_certificates(),
        insecure_bind: listening.insecure_bind,
        name: Some(name.clone()),
        listen,
        upstreams,
        framing_flag: match preset == default_name() {
            true => String::new(),
            false => format!(" --framing {preset}"),
        },
        protocol: table.framing,
        mode,
        server: table.server,
        client: table.client,
        pool: table.pool,
        route: table.route,
    };
    plan.settled().map_err(|error| wrong(&error))
}

/// The mode that is named, or that the settings mean.
fn mode(table: &Table) -> Result<Mode, &'static str> {
    let (session, pipelines) = (table.route.session, table.client.pipelining.is_some());
    match table.mode {
        Some(Mode::Exchange | Mode::Pipeline) if session => {
            Err("route.session is true, and mode is another; write mode = \"session\" alone")
        }
        Some(Mode::Exchange | Mode::Session) if pipelines => {
            Err("client.pipelining is for mode = \"pipeline\"; leave it out, or change the mode")
        }
        Some(mode) => Ok(mode),
        None if session && pipelines => {
            Err("it can't be route.session and client.pipelining at once")
        }
        None if session => Ok(Mode::Session),
        None if pipelines => Ok(Mode::Pipeline),
        None => Ok(Mode::Exchange),
    }
}

/// Replaces flags by the keys of the file, which have the same names.
fn in_keys(text: &str) -> String {
    const KEYS: [(&str, &str); 8] = [
        ("--tls-client-ca", "tls_client_ca"),
        ("--tls-cert", "tls_cert"),
        ("--tls-key", "tls_key"),
        ("--insecure-bind", "insecure_bind"),
        ("--server-name", "server_name"),
        ("--cert", "cert"),
        ("--key", "key"),
        ("--ca", "ca"),
    ];
    KEYS.iter()
        .fold(text.to_owned(), |text, (flag, key)| text.replace(flag, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Plan>, String> {
        plans(&Source::of_file(Path::new("routes.toml"), text))
    }

    fn refused(text: &str) -> String {
        read(text)
            .err()
            .unwrap_or_else(|| panic!("{text} was read"))
    }

    #[test]
    fn every_table_is_read_and_the_rest_keeps_its_defaults() {
        let plans = read(
            "[route.orders]\nlisten = '127.0.0.1:1'\nto = '127.0.0.1:2'\nframing = 'mllp'\nmode = 'pipeline'\n\
             server.max_connections = 7\nclient.pipelining.depth = 3\npool.max_size = 4\nroute.max_pins = 2\n\
             [route.another]\nlisten = '127.0.0.1:3'\nto = '127.0.0.1:2'\nroute.session = true\n",
        )
        .expect("routes");
        let [another, orders] = &plans[..] else {
            panic!("two")
        };
        assert_eq!(another.mode, Mode::Session);
        assert_eq!(another.protocol.preset().name, "length-json");
        assert_eq!(orders.name.as_deref(), Some("orders"));
        assert_eq!(orders.mode, Mode::Pipeline);
        assert_eq!(orders.server.max_connections, 7);
        assert_eq!(
            orders.client.pipelining,
            Some(millpond::client::Pipelining::default().depth(3))
        );
        assert_eq!((orders.pool.max_size, orders.route.max_pins), (4, Some(2)));
        assert_eq!(orders.framing_flag, " --framing mllp");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let route = "[route.a]\nlisten = '127.0.0.1:1'\nto = '127.0.0.1:2'\n";
        for (more, place, said) in [
            ("pool.max_sise = 4", "line 4, ", "did you mean max_size?"),
            ("mod = 'exchange'", "line 4, ", "did you mean mode?"),
            ("mode = 'pipelined'", "line 4, ", "did you mean pipeline?"),
            ("framing = 'mlpl'", "line 4, ", "did you mean mllp?"),
            (
                "tls_cert = 'a'",
                "line 1, ",
                "tls_cert and tls_key belong together",
            ),
            (
                "ca = 'a'",
                "line 1, ",
                "route a: ca, cert, key and server_name are for TLS",
            ),
            (
                "mode = 'exchange'\nclient.pipelining.depth = 3",
                "line 1, ",
                "client.pipelining is for",
            ),
        ] {
            let told = refused(&format!("{route}{more}\n"));
            assert!(told.starts_with(&format!("routes.toml, {place}")), "{told}");
            assert!(told.contains(said), "{told}");
        }
        let told = refused("[route.a]\nlisten = '127.0.0.1:1'\nto = 'tcp://::1:80'\n");
        assert!(told.starts_with("routes.toml, line 3, "), "{told}");
        assert!(refused("").contains("route"), "{}", refused(""));
        assert!(refused("[route]\n").contains("[route.NAME]"));
    }
}
