//! Replies as they come, and the ends of pipelines.

use std::task::Waker;

use super::{
    Machine,
    carried::{Carried, Id},
    of,
    outcomes::{Answered, Came, Ended, Released, Unanswered},
    pipeline::Expected,
};
use crate::{client::failure::Progress, pool::unstable::Recall};

impl<K: Carried> Machine<K> {
    /// A reply has come, while so many bytes lay unwritten. `tell` is given what can be told now.
    pub(in crate::client::pipelined) fn came(
        &mut self,
        id: Id,
        body: K::Body,
        unwritten: usize,
        tell: &mut Vec<Answered<K>>,
    ) -> Came {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return Came::Unasked;
        };
        pipeline.settle_silent(unwritten, tell);
        let written = pipeline.written(unwritten);
        // One that gets no reply and is still there hasn't been written, nor has what is behind it.
        let is_owed = |next: &Expected<K>| !next.silent && next.begins < written;
        if !pipeline.expected.front().is_some_and(is_owed) {
            return Came::Unasked;
        }
        let expected = pipeline.expected.pop_front().expect("its reply is owed");
        pipeline.bytes -= expected.length;
        // Whoever is told has a tick to say that the server takes no more.
        pipeline.used = true;
        let ends = expected.begins + expected.length as u64;
        let told = expected.reply.map(|reply| Answered {
            reply,
            body,
            is_silent: false,
        });
        match &mut pipeline.trial {
            Some(trial) if trial.answered == 0 => {
                trial.answered = 1;
                trial.until = expected.deadline;
                trial.held = told;
            }
            Some(trial) => {
                tell.extend(trial.held.take());
                tell.extend(told);
                pipeline.trial = None;
                self.proven = true;
            }
            None => {
                if let Some(told) = told {
                    tell.push(told);
                }
            }
        }
        pipeline.settle_silent(unwritten, tell);
        match ends <= written {
            true => Came::Expected,
            false => Came::Early,
        }
    }

    /// Requests that get no reply are answered when they have been written, in their turn. `tell`
    /// is given them.
    pub(in crate::client::pipelined) fn settle_silent(
        &mut self,
        id: Id,
        unwritten: usize,
        tell: &mut Vec<Answered<K>>,
    ) {
        if let Some(pipeline) = of(&mut self.pipelines, id) {
            pipeline.settle_silent(unwritten, tell);
        }
    }

    /// Whether a request is in flight that gets no reply.
    pub(in crate::client::pipelined) fn has_silent(&mut self, id: Id) -> bool {
        of(&mut self.pipelines, id).is_some_and(|pipeline| pipeline.silent > 0)
    }

    /// Whether a reply may come, while so many bytes that were taken lie unwritten.
    pub(in crate::client::pipelined) fn owes(&mut self, id: Id, unwritten: usize) -> bool {
        of(&mut self.pipelines, id).is_some_and(|pipeline| pipeline.owes(unwritten))
    }

    /// Whether the pipeline may end, since nothing was begun on it nor answered since the last
    /// time; then it has.
    pub(in crate::client::pipelined) fn end_if_quiet(&mut self, id: Id) -> Option<Released> {
        let pipeline = of(&mut self.pipelines, id)?;
        let idle = pipeline.expected.is_empty() && pipeline.outgoing.is_empty();
        let wanted_back = match pipeline.recall {
            Recall::Now => true,
            Recall::AfterWaiters => self.waiting.first(id.serial).is_none(),
            Recall::No => false,
        };
        let quiet = idle && (wanted_back || !pipeline.used);
        pipeline.used = false;
        quiet.then(|| {
            self.pipelines[id.at] = None;
            self.release(id)
        })
    }

    /// The server takes no more requests on this connection: nothing more is begun on it, and it
    /// ends when all that is in flight has been answered. The driver, who has to be woken.
    pub(in crate::client::pipelined) fn retire(&mut self, id: Id) -> Option<Waker> {
        let pipeline = of(&mut self.pipelines, id)?;
        pipeline.retired = true;
        let is_news = std::mem::replace(&mut pipeline.recall, Recall::Now) != Recall::Now;
        is_news.then(|| pipeline.driver.clone())
    }

    pub(in crate::client::pipelined) fn is_retired(&mut self, id: Id) -> bool {
        of(&mut self.pipelines, id).is_some_and(|pipeline| pipeline.retired)
    }

    /// A pipeline breaks off, while so many bytes lay unwritten. `partial`: a part of the next
    /// reply has come.
    pub(in crate::client::pipelined) fn end(
        &mut self,
        id: Id,
        unwritten: usize,
        partial: bool,
    ) -> Ended<K> {
        let mut silent = Vec::new();
        self.settle_silent(id, unwritten, &mut silent);
        let mut ended = Ended {
            silent,
            unanswered: Vec::new(),
            trial: None,
            released: Released::default(),
        };
        if of(&mut self.pipelines, id).is_none() {
            return ended;
        }
        let mut pipeline = self.pipelines[id.at].take().expect("just seen");
        let written = pipeline.written(unwritten);
        if let Some(trial) = &mut pipeline.trial {
            // Only two that were written together say anything of how the peer reads.
            let second = pipeline.expected.get(1 - trial.answered);
            let both = second.is_some_and(|second| second.begins < written);
            ended.trial = both.then_some(trial.answered);
            let held = trial.held.take().map(|held| Unanswered {
                reply: held.reply,
                progress: Progress::Answered,
            });
            ended.unanswered.extend(held);
        }
        let mut next = true;
        for expected in pipeline.expected.drain(..) {
            let progress = match expected.begins < written {
                false => Progress::Unsent,
                true if partial && next && !expected.silent => Progress::Answered,
                true => Progress::Unanswered,
            };
            next &= expected.silent;
            let unanswered = expected.reply.map(|reply| Unanswered { reply, progress });
            ended.unanswered.extend(unanswered);
        }
        ended.released = self.release(id);
        ended.released.leases += self.lease_more();
        ended
    }
}
