//! How what is outgoing leaves the machine: by a caller or by the driver, each byte once and in
//! order.

use std::task::Waker;

use super::{
    Machine,
    carried::{Carried, Id},
    of,
    outcomes::Duties,
    pipeline::AttendedBy,
};
use crate::pool::unstable::Recall;

impl<K: Carried> Machine<K> {
    /// Swaps what is outgoing for the empty buffer `rest`, and what is to be kept of the requests in
    /// it for the empty `asked`. Whether there was anything.
    pub(in crate::client::pipelined) fn take(
        &mut self,
        id: Id,
        rest: &mut Vec<u8>,
        asked: &mut Vec<K::Asked>,
    ) -> bool {
        debug_assert!(rest.is_empty(), "what came before must go before");
        debug_assert!(asked.is_empty(), "what came before must go before");
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return false;
        };
        pipeline.attended = AttendedBy::Nobody;
        std::mem::swap(&mut pipeline.outgoing, rest);
        std::mem::swap(&mut pipeline.asked, asked);
        pipeline.handed = pipeline.appended;
        !rest.is_empty()
    }

    /// A caller who was to write can't. The driver, who has to be woken.
    pub(in crate::client::pipelined) fn leave_to_driver(&mut self, id: Id) -> Option<Waker> {
        let pipeline = of(&mut self.pipelines, id)?;
        if pipeline.attended == AttendedBy::Caller {
            pipeline.attended = AttendedBy::Driver;
        }
        Some(pipeline.driver.clone())
    }

    /// What the driver has been told.
    pub(in crate::client::pipelined) fn duties(&mut self, id: Id) -> Duties {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return Duties::default();
        };
        Duties {
            serve: match pipeline.recall {
                Recall::No | Recall::AfterWaiters => self.waiting.first(id.serial).is_some(),
                // Those that no other pipeline may serve may have to be released.
                Recall::Now => self.waiting.bound_to(id.serial).next().is_some(),
            },
            write: pipeline.attended == AttendedBy::Driver,
            look: pipeline.hurry,
        }
    }

    /// The driver sends a heartbeat, unless something is on its way out anyhow.
    pub(in crate::client::pipelined) fn beat(&mut self, id: Id, heartbeat: &[u8]) -> bool {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return false;
        };
        let sends = pipeline.outgoing.is_empty();
        if sends {
            pipeline.outgoing.extend_from_slice(heartbeat);
            pipeline.appended += heartbeat.len() as u64;
            pipeline.attended = AttendedBy::Driver;
        }
        sends
    }
}
