//! JSON as RFC 8259 writes it down, rule by rule, by a reader that recurses: whether a body is one
//! text. Each rule takes what it is of the bytes' beginning, and answers with what is behind it.

/// How deep arrays and objects may be nested: a number of the protocol's, not of this library's.
const DEEPEST: usize = 64;

/// Whether these bytes are one JSON text, nested at most 64 deep, and nothing but white space
/// around it.
pub fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
        && value(blank(bytes), 0).is_some_and(|rest| blank(rest).is_empty())
}

fn blank(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !b" \t\n\r".contains(byte));
    &text[end.unwrap_or(text.len())..]
}

fn value(text: &[u8], depth: usize) -> Option<&[u8]> {
    for word in ["null", "true", "false"] {
        if let Some(rest) = text.strip_prefix(word.as_bytes()) {
            return Some(rest);
        }
    }
    match text.first()? {
        b'"' => string(text),
        b'[' => sequence(text, depth + 1, b'[', b']', value),
        b'{' => sequence(text, depth + 1, b'{', b'}', member),
        _ => number(text),
    }
}

/// An array's values or an object's members.
fn sequence(
    text: &[u8],
    depth: usize,
    open: u8,
    close: u8,
    element: fn(&[u8], usize) -> Option<&[u8]>,
) -> Option<&[u8]> {
    if depth > DEEPEST {
        return None;
    }
    let mut rest = blank(text.strip_prefix(&[open])?);
    if let Some(rest) = rest.strip_prefix(&[close]) {
        return Some(rest);
    }
    loop {
        rest = blank(element(rest, depth)?);
        if let Some(rest) = rest.strip_prefix(&[close]) {
            return Some(rest);
        }
        rest = blank(rest.strip_prefix(b",")?);
    }
}

fn member(text: &[u8], depth: usize) -> Option<&[u8]> {
    let rest = blank(string(text)?).strip_prefix(b":")?;
    value(blank(rest), depth)
}

fn string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'u', a, b, c, d, rest @ ..]
                if [a, b, c, d].iter().all(|hex| hex.is_ascii_hexdigit()) =>
            {
                rest
            }
            [b'\\', escaped, rest @ ..] if b"\"\\/bfnrt".contains(escaped) => rest,
            [b'\\', ..] | [0..0x20, ..] | [] => return None,
            [_, rest @ ..] => rest,
        };
    }
}

fn number(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = match text.strip_prefix(b"0") {
        Some(rest) => rest,
        None => digits(text)?,
    };
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = digits(fraction)?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = match exponent {
            [b'+' | b'-', exponent @ ..] => digits(exponent)?,
            _ => digits(exponent)?,
        };
    }
    Some(rest)
}

/// At least one.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let end = end.unwrap_or(text.len());
    (end > 0).then(|| &text[end..])
}
