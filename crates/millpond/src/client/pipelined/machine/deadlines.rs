//! The deadlines of replies.

use tokio::time::Instant;

use super::{
    Machine,
    carried::{Carried, Id},
    of,
    outcomes::Overdue,
};

impl<K: Carried> Machine<K> {
    /// The driver looks at the clock: whose deadlines have passed. It will look again at `next`, or
    /// earlier. A reply whose caller has gone is waited for until `grace` once it is the next, or
    /// until its own deadline if that is earlier.
    pub(in crate::client::pipelined) fn overdue(
        &mut self,
        id: Id,
        now: Instant,
        grace: Instant,
        gone: impl Fn(&K::Reply) -> bool,
    ) -> Overdue<K> {
        let mut overdue = Overdue {
            expired: Vec::new(),
            head: false,
            next: None,
        };
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return overdue;
        };
        pipeline.hurry = false;
        pipeline.looks_at = None;
        if let Some(until) = pipeline.trial.as_ref().and_then(|trial| trial.until) {
            overdue.head = until <= now;
            overdue.next = Some(until);
        }
        let half_answered = overdue.next.is_some();
        for (position, expected) in pipeline.expected.iter_mut().enumerate() {
            // A caller that timed out behind others, or has gone: the time for its reply is counted
            // from when the reply is the next one.
            if position == 0 && expected.reply.as_ref().is_some_and(&gone) {
                overdue.expired.extend(expected.reply.take());
                let deadline = expected.deadline;
                expected.deadline = Some(deadline.map_or(grace, |deadline| deadline.min(grace)));
            }
            if position == 0 {
                expected.deadline.get_or_insert(grace);
            }
            match expected.deadline {
                Some(deadline) if deadline <= now => {
                    overdue.head |= position == 0;
                    if position == 0 && half_answered {
                        // The second of a trial: both callers are told the same when the pipeline
                        // ends.
                        continue;
                    }
                    expected.deadline = None;
                    overdue.expired.extend(expected.reply.take());
                }
                Some(deadline) => {
                    overdue.next = Some(overdue.next.map_or(deadline, |next| next.min(deadline)))
                }
                None => {}
            }
        }
        overdue
    }

    /// When the driver will look at the clock. A request with an earlier deadline must wake it.
    pub(in crate::client::pipelined) fn will_look(&mut self, id: Id, at: Instant) {
        if let Some(pipeline) = of(&mut self.pipelines, id) {
            pipeline.looks_at = Some(at);
        }
    }
}
