//! The frames of one reply, put at the end of a batch: as many as the request demands, and each what
//! the framing takes for the request's.

use std::borrow::Cow;

use crate::{
    framed::Asked,
    framing::{Answer, Context, Failure, FrameError, Framing, Note, Replies, Told, extent_of},
    server::reply::{Parts, Reply},
};

/// Why a handler's reply can't be sent.
#[derive(Debug, thiserror::Error)]
enum Unsendable {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it has {0} than its request gets")]
    Number(Cow<'static, str>),
    #[error("its frame is no reply to the request")]
    Mismatch,
}

/// Where the reply to one request is put.
pub(super) struct Replying<'r, F> {
    pub(super) framing: &'r F,
    /// What the request asks for, if the framing looks at requests.
    pub(super) asked: Option<&'r Asked>,
    /// The connection's.
    pub(super) state: &'r mut Note,
    pub(super) batch: &'r mut Vec<u8>,
}

impl<F: Framing> Replying<'_, F> {
    /// Adds a reply. After an error the batch and the state are as they were.
    pub(super) fn add(&mut self, reply: &Reply) -> Result<(), Failure> {
        let begins = self.batch.len();
        let before = self.asked.map(|_| self.state.clone());
        self.add_parts(reply).map_err(|error| {
            self.batch.truncate(begins);
            if let Some(before) = before {
                *self.state = before;
            }
            Failure::handler_failed(format!("the reply can't be sent: {error}"))
        })
    }

    fn add_parts(&mut self, reply: &Reply) -> Result<(), Unsendable> {
        let mut is_answered = false;
        match &reply.0 {
            Parts::Body(body) => self.add_body(body, &mut is_answered)?,
            Parts::Bodies(bodies) => {
                for body in bodies {
                    self.add_body(body, &mut is_answered)?;
                }
            }
            Parts::Frames(frames) => {
                for frame in frames {
                    self.add_frame(frame.as_bytes(), &mut is_answered)?;
                }
            }
            Parts::PassedOn(replied) => {
                for frame in replied.frames() {
                    self.add_frame(frame.as_bytes(), &mut is_answered)?;
                }
            }
            Parts::Local(reply) => self.add_frame(reply.frame(), &mut is_answered)?,
        }
        match is_answered {
            true => Ok(()),
            false => Err(Unsendable::Number("fewer frames".into())),
        }
    }

    fn add_body(&mut self, body: &[u8], is_answered: &mut bool) -> Result<(), Unsendable> {
        let begins = self.batch.len();
        self.framing
            .encode(context(self.asked, self.state), body, self.batch)?;
        if self.asked.is_some() {
            // A body that becomes two frames would answer two requests.
            let frame = &self.batch[begins..];
            extent_of(self.framing, context(self.asked, self.state), frame)?;
        }
        self.added(begins, is_answered)
    }

    fn add_frame(&mut self, bytes: &[u8], is_answered: &mut bool) -> Result<(), Unsendable> {
        // It may have been found by another framing.
        extent_of(self.framing, context(self.asked, self.state), bytes)?;
        let begins = self.batch.len();
        self.batch.extend_from_slice(bytes);
        self.added(begins, is_answered)
    }

    /// A frame was added: it gets the request's id, and what it is to the request is looked at.
    fn added(&mut self, begins: usize, is_answered: &mut bool) -> Result<(), Unsendable> {
        if *is_answered {
            return Err(Unsendable::Number("more frames".into()));
        }
        let Some(asked) = self.asked else {
            *is_answered = true;
            return Ok(());
        };
        let frame = &mut self.batch[begins..];
        let length = frame.len();
        if let (Some(field), Some(id)) = (self.framing.id(), asked.id())
            && !field.write(frame, id)
        {
            return Err(FrameError::NoId { length }.into());
        }
        let note = Some(&asked.demand.note);
        match self.framing.answers(note, frame, self.state) {
            Answer::Last => *is_answered = true,
            Answer::More if asked.demand.replies == Replies::Several => {}
            Answer::More => return Err(Unsendable::Number("more frames".into())),
            Answer::Push => {}
            Answer::Mismatch => return Err(Unsendable::Mismatch),
        }
        Ok(())
    }

    /// Adds what tells of a failure, if the protocol has such a reply.
    pub(super) fn add_failure(&mut self, request: &[u8], failure: &Failure) -> Told {
        let begins = self.batch.len();
        let context = context(self.asked, self.state);
        let told = (self.framing).encode_failure(context, request, failure, self.batch);
        if told == Told::ByReply
            && let Some(asked) = self.asked
        {
            let frame = &mut self.batch[begins..];
            if let (Some(field), Some(id)) = (self.framing.id(), asked.id()) {
                field.write(frame, id);
            }
            let note = Some(&asked.demand.note);
            self.framing.failed(note, frame, self.state);
        }
        told
    }
}

/// What is known of the reply to this request.
fn context<'r>(asked: Option<&'r Asked>, state: &'r Note) -> Context<'r> {
    match asked {
        Some(asked) => Context::reply(&asked.demand.note, state),
        None => Context::REPLY,
    }
}
