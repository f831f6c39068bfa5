//! The handlers to choose from.

use bytes::Bytes;
use millpond::{
    framing::{Failure, Protocol},
    server::{Bodies, Handler, Reply, Request},
};

use super::exec::Exec;

/// The prefix of the reference server's replies: "the server's data:".
const REFERENCE: &str = "服务端的数据数据:";

/// Who answers.
pub(super) enum ChosenHandler {
    /// The request is the reply, or what is the smallest one in this protocol.
    Echo(Protocol, Bodies),
    /// As the article's server: a JSON string that quotes the request's text.
    Reference,
    /// A program is started for each request.
    Exec(Exec),
}

impl ChosenHandler {
    /// The name of the flag's value.
    pub(super) fn name(&self) -> &'static str {
        match self {
            ChosenHandler::Echo(..) => "echo",
            ChosenHandler::Reference => "reference",
            ChosenHandler::Exec(_) => "exec",
        }
    }
}

impl Handler for ChosenHandler {
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        match self {
            ChosenHandler::Echo(protocol, _) => protocol.echo(request.frame()).map(Reply::bodies),
            ChosenHandler::Reference => Ok(reference(request.body()).into()),
            ChosenHandler::Exec(exec) => exec.answer(request.body()).await.map(Reply::from),
        }
    }

    fn bodies(&self) -> Bodies {
        match self {
            ChosenHandler::Echo(_, bodies) => *bodies,
            ChosenHandler::Reference => Bodies::Json,
            ChosenHandler::Exec(exec) => exec.bodies(),
        }
    }
}

fn reference(body: &[u8]) -> Bytes {
    // It has been checked to be JSON, which is UTF-8.
    let reply = format!("{REFERENCE}{}", String::from_utf8_lossy(body));
    serde_json::to_vec(&reply).expect("a string is JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_answers_as_the_articles_server() {
        let reply = reference(br#"{"a":"a"}"#);
        assert_eq!(reply, r#""服务端的数据数据:{\"a\":\"a\"}""#.as_bytes());
        assert_eq!(reply.len(), 40, "the reference exchange's length");
        assert_eq!(reference(br#""Tue, 03 Apr 2018 06:12:37 GMT""#).len(), 60);
    }
}
