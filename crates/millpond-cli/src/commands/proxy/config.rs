//! Reads routes from a TOML file: all of them, or what is wrong with one.

use std::{fmt, ops::Range, path::Path};

use millpond::{
    client::Script,
    net::{Endpoint, EndpointError},
    proxy::Mode,
};
use toml::Spanned;

use super::{
    arguments::MAX_SIZE,
    place::Place,
    plan::{Plan, To},
    secrets::filled,
    tables::{Document, Step, Table},
    users,
};
use crate::{
    commands::{
        listening::{ListenFlags, max_connections},
        tls::TlsFlags,
    },
    complaint::Complaint,
    descriptors,
    fault::{self, Source},
    framing::default_name,
};

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
    let written = source.read()?;
    let plans = document.route.into_iter();
    let mut plans = plans
        .map(|(name, table)| plan(name, table, source, &written))
        .collect::<Result<Vec<_>, _>>()?;
    share_descriptors(&mut plans, &written);
    Ok(plans)
}

/// Whether the file says this of a route, where the library has a default of its own.
fn says(written: &toml::Table, route: Option<&str>, [table, key]: [&str; 2]) -> bool {
    let route = written.get("route").zip(route);
    let route = route.and_then(|(routes, name)| routes.get(name));
    route.and_then(|route| route.get(table)?.get(key)).is_some()
}

/// Routes that don't say how many clients they have share what the others leave of the descriptors.
fn share_descriptors(plans: &mut [Plan], written: &toml::Table) {
    let Some(mut room) = descriptors::room() else {
        return;
    };
    let mut sharing = Vec::new();
    for plan in plans {
        let key = ["server", "max_connections"];
        let clients = match says(written, plan.name.as_deref(), key) {
            true => plan.server.max_connections as u64,
            false => 0,
        };
        room = room.saturating_sub(clients.saturating_add(plan.upstream_connections()));
        if clients == 0 {
            sharing.push(plan);
        }
    }
    let share = room / (sharing.len() as u64).max(1);
    for plan in sharing {
        plan.server.max_connections = max_connections(None, Some(share));
    }
}

fn plan(
    name: String,
    table: Spanned<Table>,
    source: &Source<'_>,
    written: &toml::Table,
) -> Result<Plan, String> {
    let span = table.span();
    let at = |span: Range<usize>, said: &dyn fmt::Display| {
        source.point(span, &format!("route {name}: {said}"))
    };
    let wrong = |said: &dyn fmt::Display| at(span.clone(), said);
    let endpoint = |text: &str, span| -> Result<Endpoint, String> {
        // The error shows the text itself.
        let wrong = |error: EndpointError| source.point(span, &error.to_string());
        text.parse().map_err(wrong)
    };
    let mut table = table.into_inner();
    let listen = endpoint(table.listen.get_ref(), table.listen.span())?;
    let to = &table.to.get_ref().0;
    if to.is_empty() {
        return Err(wrong(&"to is empty: give it an endpoint at least"));
    }
    if table.tls_cert.is_some() != table.tls_key.is_some() {
        return Err(wrong(&"tls_cert and tls_key belong together: give both"));
    }
    if table.cert.is_some() != table.key.is_some() {
        return Err(wrong(&"cert and key belong together: give both"));
    }
    let mode = mode(&table).map_err(|error| wrong(&error))?;
    let told = |complaint: Complaint| wrong(&in_keys(complaint.text()));
    let upstream = TlsFlags {
        ca: table.ca,
        cert: table.cert,
        key: table.key,
        server_name: table.server_name,
    };
    let mut upstreams = Vec::new();
    for to in to {
        let endpoint = endpoint(&to.endpoint, table.to.span())?;
        let tls = upstream.towards(&endpoint).map_err(told)?;
        if to.max_size == Some(0) {
            return Err(at(
                table.to.span(),
                &"max_size is 0, and must be at least 1",
            ));
        }
        upstreams.push(To {
            endpoint,
            tls,
            max_size: to.max_size,
        });
    }
    // As many as all upstreams together may have, or one would wait for room at one of them.
    let most = upstreams
        .iter()
        .try_fold(0_u32, |sum, to| Some(sum.saturating_add(to.max_size?)));
    if !says(written, Some(&name), ["pool", "max_size"]) {
        table.pool.max_size = most.unwrap_or(MAX_SIZE).min(MAX_SIZE);
    } else if most.is_some_and(|most| table.pool.max_size > most) {
        let said = "pool.max_size is more than the max_size of all upstreams together";
        return Err(at(table.to.span(), &said));
    }
    let script = |steps: Option<Spanned<Vec<Step>>>| match steps {
        Some(steps) => {
            let span = steps.span();
            script(steps.into_inner()).map_err(|error| at(span, &error))
        }
        None => Ok(Script::new()),
    };
    let listening = ListenFlags {
        tls_cert: table.tls_cert,
        tls_key: table.tls_key,
        tls_client_ca: table.tls_client_ca,
        insecure_bind: table.insecure_bind,
    };
    // Without a framing, only what is said bounds a pin's age.
    let mut route = table.route.unwrap_or_default();
    if table.framing.0.is_none() && !says(written, Some(&name), ["route", "max_pin_age_seconds"]) {
        route.max_pin_age = None;
    }
    let client = table.client.unwrap_or_default();
    // As by flags: the handler, which passes on, has as long as the request.
    if !says(written, Some(&name), ["server", "handler_deadline_seconds"]) {
        table.server.handler_deadline = Some(client.deadline);
    }
    let mut users = None;
    if let Some(written) = table.users {
        let read = users::read(written, table.framing.0).map_err(|it| at(it.span, &it.said))?;
        (users, table.framing.0) = (Some(read.0), Some(read.1));
    }
    let plan = Plan {
        certificates: listening.certificates(&listen).map_err(told)?,
        demands_certificates: listening.demands_certificates(),
        insecure_bind: listening.insecure_bind,
        name: Some(name.clone()),
        place: Some(Place {
            file: source.file.unwrap_or(Path::new("")).to_owned(),
            text: source.text.into(),
            route: name.clone(),
            span: span.clone(),
        }),
        listen,
        upstreams,
        ejection: table.ejection,
        on_connect: script(table.on_connect)?,
        probe: script(table.probe)?,
        framing_flag: match &table.framing.0 {
            Some(protocol) if protocol.preset().name != default_name() => {
                format!(" --framing {}", protocol.preset().name)
            }
            _ => String::new(),
        },
        mode,
        route,
        protocol: table.framing.0,
        users,
        server: table.server,
        client,
        pool: table.pool,
    };
    plan.settled().map_err(|error| wrong(&error))
}

fn script(steps: Vec<Step>) -> Result<Script, String> {
    steps.into_iter().try_fold(Script::new(), |script, step| {
        Ok(match step.send {
            Some(send) => script.step(filled(&send)?, step.expect),
            None => script.greeting(step.expect),
        })
    })
}

/// The mode that is named, or that the settings mean.
fn mode(table: &Table) -> Result<Mode, &'static str> {
    let settings = table.route.clone().unwrap_or_default();
    let client = table.client.as_ref();
    let session = settings.session;
    let pipelines = client.is_some_and(|client| client.pipelining.is_some());
    if table.framing.0.is_none() {
        return match table.mode {
            Some(Mode::Exchange | Mode::Pipeline) => Err(
                "framing raw is for mode = \"session\", which needn't be said: bytes don't tell where a request ends",
            ),
            _ if table.on_connect.is_some() || table.probe.is_some() => Err(
                "on_connect and probe are exchanges of frames, of which framing raw knows none; leave them out",
            ),
            _ if client.is_some() => {
                Err("client is about requests, of which framing raw knows none; leave it out")
            }
            _ if session || settings.max_pins.is_some() => Err(
                "with framing raw each client has a connection to itself; of route leave out all but max_pin_age_seconds, and let pool.max_size say how many there may be",
            ),
            _ => Ok(Mode::Session),
        };
    }
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
pub(super) fn in_keys(text: &str) -> String {
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
    use std::time::Duration;

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
        assert_eq!(another.framing(), "length-json");
        assert_eq!(orders.name.as_deref(), Some("orders"));
        assert_eq!(orders.mode, Mode::Pipeline);
        assert_eq!(orders.server.max_connections, 7);
        assert_eq!(
            orders.client.pipelining,
            Some(millpond::client::Pipelining::default().depth(3))
        );
        assert_eq!((orders.pool.max_size, orders.route.max_pins), (4, Some(2)));
        assert_eq!(another.pool.max_size, MAX_SIZE, "as by a flag");
        assert_eq!(orders.framing_flag, " --framing mllp");
    }

    #[test]
    fn upstreams_have_limits_of_their_own_and_a_script() {
        let plans = read(
            "[route.a]\nlisten = '127.0.0.1:1'\nto = ['127.0.0.1:2', { endpoint = '127.0.0.1:3', max_size = 4 }]\n\
             ejection = { after = 5, probe_interval_seconds = 2 }\n\
             on_connect = [{ send = 'AUTH ${env:PATH}', expect = '+OK' }, { expect = [1, 2] }]\n\
             [route.b]\nlisten = '127.0.0.1:4'\nto = { endpoint = '127.0.0.1:2', max_size = 3 }\n",
        )
        .expect("routes");
        let [a, b] = &plans[..] else { panic!("two") };
        let max_sizes: Vec<_> = a.upstreams.iter().map(|to| to.max_size).collect();
        assert_eq!(max_sizes, [None, Some(4)]);
        assert_eq!((a.pool.max_size, b.pool.max_size), (MAX_SIZE, 3));
        assert_eq!(a.ejection.after, 5);
        assert_eq!(format!("{:?}", a.on_connect), "Script(2 steps)");
    }

    #[test]
    fn routes_that_do_not_say_how_many_clients_they_have_share_the_descriptors() {
        let plans = read(
            "[route.a]\nlisten = '127.0.0.1:1'\nto = '127.0.0.1:2'\nserver.max_connections = 1000000\n\
             [route.b]\nlisten = '127.0.0.1:3'\nto = '127.0.0.1:2'\n",
        )
        .expect("routes");
        assert_eq!(plans[0].server.max_connections, 1_000_000);
        if descriptors::room().is_some_and(|room| room < 1_000_000) {
            assert_eq!(plans[1].server.max_connections, 1, "nothing is left");
        }
    }

    #[test]
    fn a_request_has_the_time_that_its_client_is_given() {
        let route = "[route.a]\nlisten = '127.0.0.1:1'\nto = '127.0.0.1:2'\n";
        let plans = read(&format!("{route}client.deadline_seconds = 60")).expect("a route");
        let deadline = plans[0].server.handler_deadline;
        assert!(deadline > Some(Duration::from_secs(60)), "{deadline:?}");
        let said = format!("{route}server.handler_deadline_seconds = 7");
        let plans = read(&said).expect("a route");
        assert_eq!(
            plans[0].server.handler_deadline,
            Some(Duration::from_secs(7))
        );
    }

    #[test]
    fn raw_is_a_session_without_an_age_unless_one_is_said() {
        let raw = "[route.a]\nlisten = '127.0.0.1:1'\nto = '127.0.0.1:2'\nframing = 'raw'\n";
        for (more, age) in [
            ("", None),
            ("mode = 'session'", None),
            ("route = {}", None),
            (
                "route.max_pin_age_seconds = 7",
                Some(Duration::from_secs(7)),
            ),
        ] {
            let plans = read(&format!("{raw}{more}")).expect("a route");
            assert_eq!((plans[0].framing(), plans[0].mode), ("raw", Mode::Session));
            assert_eq!(plans[0].route.max_pin_age, age, "{more}");
        }
        for (more, said) in [
            ("mode = 'pipeline'", "framing raw is for mode = \"session\""),
            ("client.deadline_seconds = 3", "client is about requests"),
            ("route.max_pins = 3", "let pool.max_size say"),
            ("probe = [{ send = 'a' }]", "exchanges of frames"),
            ("route.max_pin_age_seconds = 0", "write \"never\""),
            ("ejection.pause_seconds = 0", "ejection.pause_seconds is 0"),
            ("ejection.probe_interval_seconds = 0", "must be more"),
        ] {
            let told = refused(&format!("{raw}{more}"));
            assert!(told.contains(said), "{told}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let route = "[route.a]\nlisten = '127.0.0.1:1'\nto = '127.0.0.1:2'\n";
        for (more, place, said) in [
            ("pool.max_sise = 4", "line 4, ", "did you mean max_size?"),
            ("mod = 'exchange'", "line 4, ", "did you mean mode?"),
            ("mode = 'pipelined'", "line 4, ", "did you mean pipeline?"),
            ("framing = 'mlpl'", "line 4, ", "did you mean mllp?"),
            ("ejection.aftr = 4", "line 4, ", "did you mean after?"),
            (
                "on_connect = [{ sent = 'x' }]",
                "line 4, ",
                "did you mean send?",
            ),
            (
                "probe = [{ send = '${env:NEVER_SET_HERE}' }]",
                "line 4, ",
                "isn't set",
            ),
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
        for (to, said) in [
            (
                "{ endpoint = '127.0.0.1:2', max_sise = 1 }",
                "did you mean max_size?",
            ),
            (
                "[{ endpoint = '127.0.0.1:2', max_size = 0 }]",
                "max_size is 0",
            ),
            (
                "[7]",
                "an endpoint, a table with endpoint and max_size, or a list",
            ),
            (
                "{ endpoint = '127.0.0.1:2', max_size = 1 }\npool.max_size = 2",
                "of all upstreams together",
            ),
        ] {
            let told = refused(&format!("[route.a]\nlisten = '127.0.0.1:1'\nto = {to}\n"));
            assert!(told.starts_with("routes.toml, line 3, "), "{told}");
            assert!(told.contains(said), "{told}");
        }
        let told = refused("[route.a]\nlisten = '127.0.0.1:1'\nto = 'tcp://::1:80'\n");
        assert!(told.starts_with("routes.toml, line 3, "), "{told}");
        assert!(refused("").contains("route"), "{}", refused(""));
        assert!(refused("[route]\n").contains("[route.NAME]"));
    }
}
