//! The schemes of endpoints: which are known, what could be one, and which one a misspelt scheme
//! stands for.

/// The known ones, TLS's also in a build without TLS.
pub(super) const SCHEMES: [&str; 3] = ["tcp", "tls", "unix"];

/// Whether these characters could be a scheme (RFC 3986), if only of another kind of text, or
/// forgotten.
pub(super) fn is_scheme(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The advice for a text whose scheme is missing or unknown.
pub(super) fn known_schemes() -> &'static str {
    if cfg!(feature = "tls") {
        "write tcp://host:port, tls://host:port or unix:///path"
    } else {
        "write tcp://host:port or unix:///path, or tls://host:port with the feature `tls`"
    }
}

/// Whether `written` is `meant` with one character wrong, missing or too many, or two neighbours
/// exchanged.
pub(super) fn is_slip(written: &str, meant: &str) -> bool {
    let (mut written, mut meant) = (written.as_bytes(), meant.as_bytes());
    while let ([a, rest @ ..], [b, others @ ..]) = (written, meant)
        && a == b
    {
        (written, meant) = (rest, others);
    }
    while let ([rest @ .., a], [others @ .., b]) = (written, meant)
        && a == b
    {
        (written, meant) = (rest, others);
    }
    match (written, meant) {
        ([a, b], [c, d]) => a == d && b == c,
        _ => written.len() <= 1 && meant.len() <= 1,
    }
}
