//! Values of RESP, as the tests read them: by a small reader of their own.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// A value; of errors, texts and numbers what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Null,
    Error(String),
    Array(Vec<Value>),
    Push(Vec<Value>),
    /// Keys and values in turn; an array in RESP2.
    Map(Vec<Value>),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    pub(crate) fn texts(texts: &[&str]) -> Self {
        Value::Array(texts.iter().map(|text| Value::text(*text)).collect())
    }

    /// As the wire has it, for a client of this version.
    pub(crate) fn put(&self, resp3: bool, out: &mut Vec<u8>) {
        match self {
            Value::Text(text) if text == "OK" || text == "QUEUED" || text == "PONG" => {
                out.extend_from_slice(format!("+{text}\r\n").as_bytes());
            }
            Value::Text(text) => {
                out.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
            }
            Value::Number(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Value::Null if resp3 => out.extend_from_slice(b"_\r\n"),
            Value::Null => out.extend_from_slice(b"$-1\r\n"),
            Value::Error(error) => out.extend_from_slice(format!("-{error}\r\n").as_bytes()),
            Value::Array(values) | Value::Push(values) | Value::Map(values) => {
                let (kind, count) = match self {
                    Value::Push(_) if resp3 => ('>', values.len()),
                    Value::Map(_) if resp3 => ('%', values.len() / 2),
                    _ => ('*', values.len()),
                };
                out.extend_from_slice(format!("{kind}{count}\r\n").as_bytes());
                for value in values {
                    value.put(resp3, out);
                }
            }
        }
    }

    /// The next value; `None` at the end of the stream.
    pub(crate) async fn read<R: AsyncReadExt + Unpin>(from: &mut BufReader<R>) -> Option<Value> {
        let mut line = String::new();
        from.read_line(&mut line)
            .await
            .ok()
            .filter(|&length| length > 0)?;
        let line = line.strip_suffix("\r\n")?;
        let (kind, rest) = line.split_at(1);
        Some(match kind {
            "+" => Value::text(rest),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Number(rest.parse().expect("a number")),
            "_" => Value::Null,
            "$" if rest == "-1" => Value::Null,
            "$" => {
                let length: usize = rest.parse().expect("a length");
                let mut text = vec![0; length + 2];
                from.read_exact(&mut text).await.ok()?;
                text.truncate(length);
                Value::Text(String::from_utf8(text).expect("text"))
            }
            "*" if rest == "-1" => Value::Null,
            "*" | ">" | "%" => {
                let count: usize = rest.parse().expect("a count");
                let count = if kind == "%" { 2 * count } else { count };
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    values.push(Box::pin(Value::read(from)).await?);
                }
                match kind {
                    ">" => Value::Push(values),
                    "%" => Value::Map(values),
                    _ => Value::Array(values),
                }
            }
            _ => panic!("a value was expected: {line}"),
        })
    }
}

/// A request as the wire has it.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    out
}
