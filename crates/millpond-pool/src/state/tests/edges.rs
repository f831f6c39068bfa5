//! Counts which edges of the state diagram were taken, by which operation, and says which there
//! are.

use std::fmt::{Debug, Write};

use super::{Checking, Eviction, Payload, Refusal, Stage, Standing, State};
use diagram::{CONNECTIONS, HANDING_ON, WAITERS};

mod diagram;

/// The transitions of the machine, as the tables name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Acquire,
    Wait,
    Poll,
    Cancel,
    Release,
    ReleaseToReset,
    Discard,
    Reject,
    Detach,
    DialOk,
    DialFailed,
    DialAbandoned,
    CheckFit,
    CheckUnfit,
    Closed,
    Look,
    LookedFit,
    LookedUnfit,
    Tick,
    Pause,
    Resume,
    Resize,
    Retire,
    RetireOne,
    Drain,
    Close,
}

/// A connection's stages, with the reasons for a check told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum C {
    Vacant,
    Connecting,
    Idle,
    Probed,
    Reset,
    LookedAt,
    Granted,
    Active,
    Closing,
}

/// A waiter's standings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum W {
    Gone,
    InLine,
    Parked,
    Granted,
    Refused,
}

const OPS: usize = Op::Close as usize + 1;
const STAGES: usize = C::Closing as usize + 1;
const STANDINGS: usize = W::Refused as usize + 1;
const REFUSALS: [Refusal; 7] = [
    Refusal::Closed,
    Refusal::Draining,
    Refusal::RuntimeEnded,
    Refusal::Full,
    Refusal::TimedOut,
    Refusal::Unavailable,
    Refusal::Shed,
];

/// What has been seen so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) transitions: u64,
    connections: [[[u64; STAGES]; STAGES]; OPS],
    /// From one waiter's hands straight into another's.
    handed_on: [u64; OPS],
    waiters: [[[u64; STANDINGS]; STANDINGS]; OPS],
    evictions: [u64; Eviction::COUNT],
    refusals: [u64; REFUSALS.len()],
}

/// Where everything was at one moment: by slot, whose connection (and whose grant) it was; by node,
/// whose caller it was.
#[derive(Default)]
pub(super) struct Whereabouts {
    slots: Vec<(u64, C, Option<u32>)>,
    waiters: Vec<(u32, W)>,
}

impl Whereabouts {
    pub(super) fn of<P: Payload<Tag = u32>>(state: &State<P>) -> Self {
        let slots = state.slots().all().iter().map(|slot| {
            let (stage, to) = match slot.stage {
                Stage::Vacant => (C::Vacant, None),
                Stage::Connecting => (C::Connecting, None),
                Stage::Idle(_) => (C::Idle, None),
                Stage::Checking(Checking::Probe) => (C::Probed, None),
                Stage::Checking(Checking::Reset) => (C::Reset, None),
                Stage::Checking(Checking::Look) => (C::LookedAt, None),
                Stage::Granted { to, .. } => (C::Granted, Some(state.waiters().at(to).terms.tag)),
                Stage::Active { .. } => (C::Active, None),
                Stage::Closing => (C::Closing, None),
            };
            (slot.number, stage, to)
        });
        let waiters = state.waiters().all().iter().map(|waiter| {
            let standing = match waiter.standing {
                Standing::Vacant => W::Gone,
                Standing::Queued => W::InLine,
                Standing::Parked | Standing::Called => W::Parked,
                Standing::Granted(_) => W::Granted,
                Standing::Refused(_) => W::Refused,
            };
            (waiter.terms.tag, standing)
        });
        Whereabouts {
            slots: slots.collect(),
            waiters: waiters.collect(),
        }
    }
}

impl Tally {
    pub(super) fn count(&mut self, op: Op, before: &Whereabouts, after: &Whereabouts) {
        self.transitions += 1;
        let edges = &mut self.connections[op as usize];
        for (index, &(number, to, holder)) in after.slots.iter().enumerate() {
            let was = before.slots.get(index).copied();
            let (number_before, from, holder_before) = was.unwrap_or((number, C::Vacant, None));
            if number_before != number {
                // The slot was left and taken again.
                if from != C::Vacant {
                    edges[from as usize][C::Vacant as usize] += 1;
                }
                edges[C::Vacant as usize][to as usize] += 1;
            } else if from != to {
                edges[from as usize][to as usize] += 1;
            } else if holder != holder_before {
                self.handed_on[op as usize] += 1;
            }
        }
        let edges = &mut self.waiters[op as usize];
        for (index, &(id, to)) in after.waiters.iter().enumerate() {
            let was = before.waiters.get(index).copied().filter(|was| was.0 == id);
            let from = was.map_or(W::Gone, |was| was.1);
            if from != to {
                edges[from as usize][to as usize] += 1;
            }
        }
    }

    pub(super) fn count_eviction(&mut self, reason: Eviction) {
        self.evictions[reason as usize] += 1;
    }

    pub(super) fn count_refusal(&mut self, why: Refusal) {
        let index = REFUSALS.iter().position(|&refusal| refusal == why);
        self.refusals[index.expect("all are listed")] += 1;
    }

    /// The counts as a table, and what is wrong with them: edges seen that there aren't, or too
    /// seldom those that there are.
    pub(super) fn report(&self, least: u64) -> (String, Vec<String>) {
        let mut rows = counted("", &self.connections, CONNECTIONS);
        rows.extend(counted("waiter ", &self.waiters, WAITERS));
        for (reason, seen) in Eviction::ALL.iter().zip(self.evictions) {
            rows.push((format!("evicted: {reason}"), seen));
        }
        for (refusal, seen) in REFUSALS.iter().zip(self.refusals) {
            rows.push((format!("refused: {refusal:?}"), seen));
        }
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|(name, seen)| (name, seen, least))
            .collect();
        for &(op, rarer) in HANDING_ON {
            let name = format!("{op:?}: Granted -> Granted to the next");
            rows.push((name, self.handed_on[op as usize], least / rarer));
        }
        let mut table = String::new();
        let mut faults = Vec::new();
        for (name, seen, least) in rows {
            writeln!(table, "{seen:>10}  {name}").expect("a string takes everything");
            if seen < least {
                faults.push(format!("{name}: {seen} times, at least {least} expected"));
            }
        }
        faults.extend(self.unexpected());
        (table, faults)
    }

    fn unexpected(&self) -> Vec<String> {
        let mut faults = unlisted("", &self.connections, CONNECTIONS);
        faults.extend(unlisted("waiter ", &self.waiters, WAITERS));
        for op in ALL_OPS {
            let seen = self.handed_on[op as usize];
            if seen > 0 && HANDING_ON.iter().all(|&(other, _)| other != op) {
                faults.push(format!("{op:?}: handed on {seen} times, and shouldn't be"));
            }
        }
        faults
    }
}

/// Operations, and the edges that each of them can take.
type Edges<P> = &'static [(&'static [Op], &'static [(P, P)])];

fn counted<P: Index, const N: usize>(
    what: &str,
    seen: &[[[u64; N]; N]; OPS],
    listed: Edges<P>,
) -> Vec<(String, u64)> {
    let mut rows = Vec::new();
    for (ops, edges) in listed {
        let by = if ops.len() > 4 {
            String::from("[coming to rest]")
        } else {
            format!("{ops:?}")
        };
        for (from, to) in *edges {
            let times = |op: &Op| seen[*op as usize][from.index()][to.index()];
            rows.push((
                format!("{by}: {what}{from:?} -> {to:?}"),
                ops.iter().map(times).sum(),
            ));
        }
    }
    rows
}

fn unlisted<P: Index, const N: usize>(
    what: &str,
    seen: &[[[u64; N]; N]; OPS],
    listed: Edges<P>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for op in ALL_OPS {
        for (from, to) in P::ALL
            .iter()
            .flat_map(|from| P::ALL.iter().map(move |to| (from, to)))
        {
            let times = seen[op as usize][from.index()][to.index()];
            let is_listed = |(ops, edges): &(&[Op], &[(P, P)])| {
                ops.contains(&op) && edges.contains(&(*from, *to))
            };
            if times > 0 && !listed.iter().any(is_listed) {
                faults.push(format!(
                    "{op:?}: {what}{from:?} -> {to:?}: {times} times, and isn't in the diagram"
                ));
            }
        }
    }
    faults
}

trait Index: Copy + Debug + PartialEq + 'static {
    const ALL: &'static [Self];
    fn index(self) -> usize;
}

impl Index for C {
    const ALL: &'static [C] = &[
        C::Vacant,
        C::Connecting,
        C::Idle,
        C::Probed,
        C::Reset,
        C::LookedAt,
        C::Granted,
        C::Active,
        C::Closing,
    ];
    fn index(self) -> usize {
        self as usize
    }
}

impl Index for W {
    const ALL: &'static [W] = &[W::Gone, W::InLine, W::Parked, W::Granted, W::Refused];
    fn index(self) -> usize {
        self as usize
    }
}

const ALL_OPS: [Op; OPS] = [
    Op::Acquire,
    Op::Wait,
    Op::Poll,
    Op::Cancel,
    Op::Release,
    Op::ReleaseToReset,
    Op::Discard,
    Op::Reject,
    Op::Detach,
    Op::DialOk,
    Op::DialFailed,
    Op::DialAbandoned,
    Op::CheckFit,
    Op::CheckUnfit,
    Op::Closed,
    Op::Look,
    Op::LookedFit,
    Op::LookedUnfit,
    Op::Tick,
    Op::Pause,
    Op::Resume,
    Op::Resize,
    Op::Retire,
    Op::RetireOne,
    Op::Drain,
    Op::Close,
];
