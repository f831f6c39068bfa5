//! The grammar of endpoints. Every fault says what was found, where, and what to write instead. It
//! doesn't repeat the text, because [`EndpointError`] shows it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use super::{
    Endpoint, EndpointError, Host, HostName, HostPort,
    error::Fault,
    scheme::{SCHEMES, is_scheme, is_slip, known_schemes},
};

/// The longest path of a socket, in bytes: `sun_path` without the NUL at its end.
pub(super) const LONGEST_PATH: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};

/// The longest name and the longest label, in characters.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        endpoint(text).map_err(|fault| EndpointError::new(text, fault))
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &str) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl FromStr for HostName {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let name = match text.parse::<Ipv4Addr>() {
            Ok(_) => Err(Fault::new(
                0,
                "an address instead of a name",
                "use Host::Address",
            )),
            Err(_) => host_name(text),
        };
        name.map_err(|fault| EndpointError::new(text, fault))
    }
}

fn endpoint(text: &str) -> Result<Endpoint, Fault> {
    if text.is_empty() {
        return Err(Fault::new(
            0,
            "no endpoint",
            "write tcp://host:port or unix:///path",
        ));
    }
    if text.starts_with(char::is_whitespace) {
        return Err(Fault::new(0, "white space", "remove it"));
    }
    match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let begin = scheme.len() + "://".len();
            with_scheme(&scheme.to_ascii_lowercase(), rest, begin)
        }
        _ => without_scheme(text),
    }
}

fn with_scheme(scheme: &str, rest: &str, begin: usize) -> Result<Endpoint, Fault> {
    let in_text = |fault: Fault| fault.after(begin);
    let advice = match scheme {
        "tcp" => return host_port(rest).map(Endpoint::Tcp).map_err(in_text),
        #[cfg(feature = "tls")]
        "tls" => return host_port(rest).map(Endpoint::Tls).map_err(in_text),
        #[cfg(not(feature = "tls"))]
        "tls" => {
            return Err(Fault::new(
                0,
                "tls:// in a build without TLS",
                "add the feature `tls` of millpond",
            ));
        }
        "unix" => return path(rest).map(Endpoint::Unix).map_err(in_text),
        "" => return Err(Fault::new(0, "no scheme", known_schemes())),
        "http" | "https" => {
            "this speaks plain sockets, not HTTP; write tcp://host:port, or tls://host:port for TLS"
        }
        // `tcps` is one letter from `tcp`, but it means TLS.
        "tcps" | "ssl" => "did you mean tls://?",
        _ => match SCHEMES.iter().find(|known| is_slip(scheme, known)) {
            Some(&"tcp") => "did you mean tcp://?",
            Some(&"tls") => "did you mean tls://?",
            Some(_) => "did you mean unix:///?",
            None => known_schemes(),
        },
    };
    Err(Fault::new(0, "unknown scheme", advice))
}

fn without_scheme(text: &str) -> Result<Endpoint, Fault> {
    if text.starts_with('/') {
        return Err(Fault::new(
            0,
            "a path without a scheme",
            "write unix:// before it",
        ));
    }
    if let Some((scheme, rest)) = text.split_once(':')
        && rest.starts_with('/')
        && SCHEMES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(scheme))
    {
        return Err(Fault::new(
            scheme.len(),
            "no \"://\" after the scheme",
            known_schemes(),
        ));
    }
    host_port(text).map(Endpoint::Tcp)
}

fn path(text: &str) -> Result<PathBuf, Fault> {
    if !text.starts_with('/') {
        return Err(Fault::new(
            0,
            "no absolute path",
            "write three slashes, as in unix:///run/name.sock",
        ));
    }
    if let Some(at) = text.find(char::is_control) {
        return Err(Fault::new(
            at,
            "a control character in the path",
            "remove it",
        ));
    }
    if text.len() > LONGEST_PATH {
        let at = text
            .char_indices()
            .find(|(at, character)| at + character.len_utf8() > LONGEST_PATH)
            .map_or(0, |(at, _)| at);
        return Err(Fault::new(
            at,
            format!(
                "a path of {} bytes, of which {LONGEST_PATH} fit,",
                text.len()
            ),
            "use a shorter path or a symbolic link to its folder",
        ));
    }
    if text.ends_with('/') {
        return Err(Fault::new(
            text.len() - 1,
            "a slash at the end of the path",
            "name the socket, not a folder",
        ));
    }
    Ok(PathBuf::from(text))
}

fn host_port(text: &str) -> Result<HostPort, Fault> {
    refuse_what_urls_have(text)?;
    if text.starts_with('[') {
        return bracketed(text);
    }
    let Some((host, port)) = text.split_once(':') else {
        let (at, problem) = match text {
            "" => (0, "no host"),
            _ => (text.len(), "no port"),
        };
        return Err(Fault::new(at, problem, "write host:port"));
    };
    if let Some(second) = port.find(':') {
        if is_ipv6(text) {
            return Err(Fault::new(
                0,
                "an IPv6 address without brackets",
                "put it in brackets: [address]:port",
            ));
        }
        return Err(Fault::new(
            host.len() + 1 + second,
            "a second \":\"",
            "write host:port",
        ));
    }
    if host.is_empty() {
        return Err(Fault::new(
            0,
            "no host",
            "write 127.0.0.1 for this machine, or to listen on all its addresses 0.0.0.0 or [::]",
        ));
    }
    let host = match host.parse::<Ipv4Addr>() {
        Ok(address) => Host::Address(IpAddr::V4(address)),
        Err(_) => Host::Name(host_name(host)?),
    };
    let begin = text.len() - port.len();
    let port = number(port).map_err(|fault| fault.after(begin))?;
    Ok(HostPort { host, port })
}

fn refuse_what_urls_have(text: &str) -> Result<(), Fault> {
    if text.contains('@') {
        return Err(Fault::new(
            0,
            "user info",
            "an endpoint has none: remove everything up to \"@\"",
        ));
    }
    let Some(at) = text.find(['/', '?', '#']) else {
        return Ok(());
    };
    let problem = match &text[at..] {
        "/" => "a slash at the end",
        part if part.starts_with('/') => "a path",
        part if part.starts_with('?') => "a query",
        _ => "a fragment",
    };
    Err(Fault::new(at, problem, "an endpoint ends with its port"))
}

/// Whether this is an IPv6 address without brackets, perhaps with a port. Without brackets the two
/// look alike: `::1:80` is either.
fn is_ipv6(text: &str) -> bool {
    let without_zone = text.split('%').next().unwrap_or(text);
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    is_address(without_zone)
        || without_zone
            .rsplit_once(':')
            .is_some_and(|(address, _)| is_address(address))
}

fn bracketed(text: &str) -> Result<HostPort, Fault> {
    let Some((address, port)) = text[1..].split_once(']') else {
        return Err(Fault::new(0, "\"[\" without \"]\"", "write [address]:port"));
    };
    if let Some(at) = address.find('%') {
        return Err(Fault::new(
            1 + at,
            "a zone id",
            "endpoints have none, since it means something on one machine only; use an address that needs none",
        ));
    }
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        return Err(Fault::new(
            1,
            "no IPv6 address in brackets",
            "write it as in [::1]:80, and names and IPv4 addresses without brackets",
        ));
    };
    let begin = text.len() - port.len();
    let Some(port) = port.strip_prefix(':') else {
        return Err(Fault::new(
            begin,
            "no port after the address",
            "write [address]:port",
        ));
    };
    let port = number(port).map_err(|fault| fault.after(begin + 1))?;
    Ok(HostPort {
        host: Host::Address(IpAddr::V6(address)),
        port,
    })
}

fn number(text: &str) -> Result<u16, Fault> {
    let advice = "a port is a number from 0 to 65535";
    if text.is_empty() {
        return Err(Fault::new(0, "no port", advice));
    }
    if let Some(at) = text.find(|character: char| !character.is_ascii_digit()) {
        return Err(Fault::new(at, "no digit in the port", advice));
    }
    if text.len() > 5 {
        return Err(Fault::new(5, "a sixth digit in the port", advice));
    }
    text.parse()
        .map_err(|_| Fault::new(0, "a port beyond 65535", advice))
}

/// Parses a host's name. Callers have checked that the text isn't an IPv4 address.
fn host_name(text: &str) -> Result<HostName, Fault> {
    if is_read_as_number(text) {
        return Err(Fault::new(
            0,
            "a number that is no IPv4 address",
            "write four numbers from 0 to 255 without leading zeros; resolvers read others in surprising ways",
        ));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let mut begin = 0;
    for part in name.split('.') {
        label(part).map_err(|fault| fault.after(begin))?;
        begin += part.len() + 1;
    }
    if name.len() > LONGEST_NAME {
        return Err(Fault::new(
            LONGEST_NAME,
            format!("a name of {} characters", name.len()),
            format!("a name has at most {LONGEST_NAME}"),
        ));
    }
    Ok(HostName(text.to_ascii_lowercase().into()))
}

/// Whether `inet_aton`, which resolvers call first, may read this as an address: decimal, octal or
/// hexadecimal numbers between dots.
fn is_read_as_number(text: &str) -> bool {
    let is_number = |label: &str| match label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"))
    {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    };
    text.contains(|character: char| character.is_ascii_digit()) && text.split('.').all(is_number)
}

fn label(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::new(
            0,
            "an empty label",
            "a name has something between its dots",
        ));
    }
    let is_allowed =
        |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if let Some((at, found)) = text.char_indices().find(|&(_, found)| !is_allowed(found)) {
        return Err(if found.is_ascii() {
            Fault::new(
                at,
                "a character that no name has",
                "use letters, digits, \"-\", \"_\" and dots",
            )
        } else {
            Fault::new(at, "a character beyond ASCII", "write the name as xn--…")
        });
    }
    if text.len() > LONGEST_LABEL {
        return Err(Fault::new(
            LONGEST_LABEL,
            format!("a label of {} characters", text.len()),
            format!("a label has at most {LONGEST_LABEL}"),
        ));
    }
    for (at, is_hyphen) in [
        (0, text.starts_with('-')),
        (text.len() - 1, text.ends_with('-')),
    ] {
        if is_hyphen {
            return Err(Fault::new(
                at,
                "\"-\" at a label's edge",
                "a label begins and ends with a letter, a digit or \"_\"",
            ));
        }
    }
    Ok(())
}
