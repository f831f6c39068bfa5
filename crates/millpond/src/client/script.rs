//! Requests whose answers are known, for logins and probes that can be written down.

use std::{error::Error, fmt, sync::Arc};

use super::login::{Login, LoginError, LoginHook};
use crate::framing::{Framing, Octets};

/// Requests, and how the server answers each: what a connection needs before it is lent
/// ([`ClientBuilder::on_connect`]), or what shows that a server works ([`ClientBuilder::probe`]).
///
/// What is sent may be secret: it is shown by no error and by no `Debug`. Nor are answers, which may
/// repeat it.
///
/// [`ClientBuilder::on_connect`]: super::ClientBuilder::on_connect
/// [`ClientBuilder::probe`]: super::ClientBuilder::probe
#[derive(Clone, Default)]
pub struct Script {
    steps: Arc<Vec<Step>>,
}

#[derive(Clone)]
struct Step {
    /// `None`: the server speaks first.
    send: Option<Vec<u8>>,
    expect: Octets,
}

impl Script {
    /// Without a step.
    pub fn new() -> Self {
        Script::default()
    }

    /// Sends a request of this body. The body of its reply must begin with `expect`; anything will
    /// do if that is empty.
    pub fn step(self, send: impl Into<Vec<u8>>, expect: impl Into<Octets>) -> Self {
        self.with(Some(send.into()), expect.into())
    }

    /// The server sends something without being asked, which must begin with `expect`.
    pub fn greeting(self, expect: impl Into<Octets>) -> Self {
        self.with(None, expect.into())
    }

    fn with(mut self, send: Option<Vec<u8>>, expect: Octets) -> Self {
        Arc::make_mut(&mut self.steps).push(Step { send, expect });
        self
    }

    /// What carries it out; `None` if there is nothing to do.
    pub(super) fn hook<F: Framing>(self) -> Option<LoginHook<F>> {
        if self.steps.is_empty() {
            return None;
        }
        Some(LoginHook::new(move |login| self.clone().carried_out(login)))
    }

    async fn carried_out<F: Framing>(
        self,
        mut login: Login<F>,
    ) -> Result<Login<F>, Box<dyn Error + Send + Sync>> {
        for (at, step) in self.steps.iter().enumerate() {
            let number = at + 1;
            let answer = match &step.send {
                Some(body) => login.exchange(body).await,
                None => login.greeting().await,
            };
            let answer = answer.map_err(|cause| ScriptError::Failed { number, cause })?;
            if !answer.starts_with(&step.expect) {
                let expect = step.expect.clone();
                return Err(ScriptError::Unexpected { number, expect }.into());
            }
        }
        Ok(login)
    }
}

/// How many steps there are, and nothing of what they send.
impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({} steps)", self.steps.len())
    }
}

/// Why a script wasn't carried out.
#[derive(Debug, thiserror::Error)]
enum ScriptError {
    #[error("step {number}")]
    Failed {
        number: usize,
        #[source]
        cause: LoginError,
    },
    #[error("step {number}: the answer doesn't begin with {expect:?}")]
    Unexpected { number: usize, expect: Octets },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_never_shown() {
        let script = Script::new().step("sesame", "+OK").greeting("220");
        assert_eq!(format!("{script:?}"), "Script(2 steps)");
    }
}
