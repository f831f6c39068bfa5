//! Requests of one flow that come together: each is appended as if it came behind the one before,
//! in one turn of the lock.

use std::task::Waker;

use tokio::time::Instant;

use super::{
    Machine,
    carried::{Carried, FlowId, Id},
    pipeline::AttendedBy,
};

/// How many of the requests that came together were appended, the first ones of them.
pub(in crate::client::pipelined) struct BegunTogether {
    pub(in crate::client::pipelined) count: usize,
    /// The driver has to be woken.
    pub(in crate::client::pipelined) wake: Option<Waker>,
    /// So many more connections are to be leased.
    pub(in crate::client::pipelined) leases: usize,
}

impl<K: Carried> Machine<K> {
    /// A flow brings several requests. Those are appended that have room at once, to the same
    /// pipeline; the others are the caller's again, to be brought one by one. `frames` are all of
    /// their frames, of which each is as long as `lengths` says. `member` is asked for what each has.
    ///
    /// None is appended before the peer is known to read frames: until then it is tried with two.
    pub(in crate::client::pipelined) fn begin_together(
        &mut self,
        frames: &[u8],
        lengths: impl IntoIterator<Item = usize>,
        deadline: Instant,
        flow: FlowId,
        mut member: impl FnMut(usize) -> (K::Reply, Option<K::Asked>),
    ) -> BegunTogether {
        let mut together = BegunTogether {
            count: 0,
            wake: None,
            leases: 0,
        };
        let mut lengths = lengths.into_iter().peekable();
        let Some(&first) = lengths.peek() else {
            return together;
        };
        if self.refusal.is_some() || !self.proven {
            return together;
        }
        let bound = self.bound(flow);
        let room = match bound {
            Some(id) => Some(id.at).filter(|&at| self.takes_now(at, first)),
            None => self.with_room(first),
        };
        let Some(at) = room else {
            return together;
        };
        if bound.is_none() {
            together.leases = self.lease_to_spread(at);
        }
        let mut rest = frames;
        let mut last = None;
        for length in lengths {
            if !self.takes_now(at, length) {
                break;
            }
            let (frame, behind) = rest.split_at(length);
            rest = behind;
            let (reply, asked) = member(together.count);
            let pipeline = self.pipelines[at].as_mut().expect("it has room");
            let begins = pipeline.append(frame, deadline, reply, asked);
            let serial = pipeline.serial;
            last = Some((Id { at, serial }, begins));
            together.count += 1;
        }
        let pipeline = self.pipelines[at].as_mut().expect("it has room");
        let hurries = !pipeline.looks_by(deadline) && !pipeline.hurry;
        pipeline.hurry |= hurries;
        let is_driven = pipeline.attended == AttendedBy::Nobody;
        if is_driven {
            pipeline.attended = AttendedBy::Driver;
        }
        together.wake = (hurries || is_driven).then(|| pipeline.driver.clone());
        let flow = self.flows.of_mut(flow);
        flow.brought += together.count as u64;
        flow.last = last;
        together
    }
}
