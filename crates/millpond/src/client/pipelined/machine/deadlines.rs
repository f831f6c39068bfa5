//! Until when there must be replies, and whose time is up.

use tokio::time::Instant;

use super::{
    Machine,
    carried::{Carried, Id},
    of,
    outcomes::Overdue,
};

impl<K: Carried> Machine<K> {
    /// The driver looks by itself: whose time is up. It will look again at `next`, or earlier. A
    /// reply whose caller has gone has until `grace` from when it is next, if it hasn't less.
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
            // Who was told while others were before it, or has left: its reply has from when it is
            // next.
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
                        // The other of a trial: both are told the same, at the pipeline's end.
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

    /// When the driver will look by itself: who can't wait that long must wake it.
    pub(in crate::client::pipelined) fn will_look(&mut self, id: Id, at: Instant) {
        if let Some(pipeline) = of(&mut self.pipelines, id) {
            pipeline.looks_at = Some(at);
        }
    }
}
