//! The slots: what stage each is in, and the order within a stage. A slot has room for one
//! connection.
//!
//! Every change of stage goes through [`Slots::shift`], so a slot is always in exactly the list of
//! its stage, and a count is the length of a list.

use super::{
    lease::Lease,
    list::{Linked, Links, List},
    moment::Moment,
    payload::Payload,
    waiters::WaiterIndex,
};

/// The right to act for one slot. It can't be copied, so a connection has exactly one owner, and
/// every way to finish consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the slot of a key that is dropped is lost to the pool for ever"]
pub(crate) struct SlotKey(u32);

impl SlotKey {
    pub(crate) fn index(&self) -> u32 {
        self.0
    }
}

/// Numbers a pool's connections in the order of their dials; never used twice.
pub(crate) type ConnectionNumber = u64;

/// Why a connection is being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checking {
    /// Probed on behalf of a caller who waits for it.
    Probe,
    /// Reset after its release.
    Reset,
    /// Looked at while idle, between two instants: it goes back where it was.
    Look,
}

/// What a slot holds, by stage. The connection itself is here only while nobody else has it.
#[derive(Debug)]
pub(crate) enum Stage<P: Payload> {
    /// No connection.
    Vacant,
    /// A dial is under way.
    Connecting,
    /// Ready to be lent.
    Idle(P::Connection),
    /// With the task that checks it.
    Checking(Checking),
    /// Offered to a waiter who hasn't picked it up yet: revocable.
    Granted {
        connection: P::Connection,
        to: WaiterIndex,
    },
    /// Lent.
    Active {
        tag: P::Tag,
        lease: Lease,
        reported: bool,
    },
    /// With whoever closes it.
    Closing,
}

/// The lists, one per stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum StageName {
    Vacant,
    Connecting,
    Idle,
    Checking,
    Granted,
    Active,
    Closing,
}

impl StageName {
    const COUNT: usize = 7;

    #[cfg(test)]
    pub(crate) const ALL: [StageName; Self::COUNT] = [
        StageName::Vacant,
        StageName::Connecting,
        StageName::Idle,
        StageName::Checking,
        StageName::Granted,
        StageName::Active,
        StageName::Closing,
    ];
}

impl<P: Payload> Stage<P> {
    pub(crate) fn name(&self) -> StageName {
        match self {
            Stage::Vacant => StageName::Vacant,
            Stage::Connecting => StageName::Connecting,
            Stage::Idle(_) => StageName::Idle,
            Stage::Checking(_) => StageName::Checking,
            Stage::Granted { .. } => StageName::Granted,
            Stage::Active { .. } => StageName::Active,
            Stage::Closing => StageName::Closing,
        }
    }
}

/// Room for one connection.
#[derive(Debug)]
pub(crate) struct Slot<P: Payload> {
    pub(crate) stage: Stage<P>,
    links: Links,
    /// Changes with every dial, so that what is said of an earlier connection in this slot is
    /// recognised as old news.
    pub(crate) number: ConnectionNumber,
    /// When this stage began. In the idle list: since when the connection is idle; sorted, oldest
    /// first.
    pub(crate) since: Moment,
    /// When its dial began.
    pub(super) dialled: Moment,
    /// When the dial began; once it has succeeded, when it ended.
    pub(crate) opened: Moment,
    /// The end of its lifetime, jitter included.
    pub(crate) expires: Moment,
    /// How often it has been lent.
    pub(crate) uses: u64,
    /// The pool's generation at its dial; an older one is retired.
    pub(crate) generation: u32,
    /// Has been released clean once, or has lived through an idle tick: the endpoint is more than
    /// a listener that hangs up.
    pub(crate) proven: bool,
    /// The connector has been asked to report what arrives while it is idle.
    pub(crate) watched: bool,
    pub(crate) label: P::Label,
}

impl<P: Payload> Linked for Slot<P> {
    fn links(&self) -> Links {
        self.links
    }
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// All slots.
#[derive(Debug)]
pub(crate) struct Slots<P: Payload> {
    slots: Vec<Slot<P>>,
    lists: [List; StageName::COUNT],
    next_number: ConnectionNumber,
}

impl<P: Payload> Slots<P> {
    pub(super) fn new() -> Self {
        Slots {
            slots: Vec::new(),
            lists: [List::EMPTY; StageName::COUNT],
            next_number: 1,
        }
    }

    #[inline]
    pub(crate) fn count(&self, stage: StageName) -> usize {
        self.list(stage).len()
    }

    /// Connecting, idle, checking, active (granted ones included) and closing together.
    #[inline]
    pub(crate) fn occupied(&self) -> usize {
        self.slots.len() - self.count(StageName::Vacant)
    }

    /// Established and not on its way out: idle, checking, granted or active.
    pub(crate) fn live(&self) -> usize {
        self.occupied() - self.count(StageName::Connecting) - self.count(StageName::Closing)
    }

    #[inline]
    fn list(&self, stage: StageName) -> &List {
        &self.lists[stage as usize]
    }

    #[inline]
    pub(super) fn front(&self, stage: StageName) -> Option<u32> {
        self.list(stage).front()
    }

    #[inline]
    pub(super) fn back(&self, stage: StageName) -> Option<u32> {
        self.list(stage).back()
    }

    pub(super) fn next(&self, at: u32) -> Option<u32> {
        List::next(&self.slots, at)
    }

    pub(super) fn prev(&self, at: u32) -> Option<u32> {
        List::prev(&self.slots, at)
    }

    #[cfg(test)]
    /// The indices of a stage's slots, from the front.
    pub(super) fn indices(&self, stage: StageName) -> impl Iterator<Item = u32> {
        self.list(stage).iter(&self.slots)
    }

    pub(crate) fn in_stage(&self, stage: StageName) -> impl Iterator<Item = &Slot<P>> {
        self.list(stage)
            .iter(&self.slots)
            .map(|at| &self.slots[at as usize])
    }

    /// Every slot, vacant ones included, in no particular order.
    pub(crate) fn all(&self) -> &[Slot<P>] {
        &self.slots
    }

    /// Those with a connection that isn't on its way out, each with its index.
    pub(crate) fn open_ones(&self) -> impl Iterator<Item = (u32, &Slot<P>)> {
        let with_index = (0..).zip(&self.slots);
        with_index.filter(|(_, slot)| {
            !matches!(
                slot.stage,
                Stage::Vacant | Stage::Connecting | Stage::Closing
            )
        })
    }

    pub(crate) fn of(&self, key: &SlotKey) -> &Slot<P> {
        &self.slots[key.0 as usize]
    }

    #[inline]
    pub(super) fn at(&self, index: u32) -> &Slot<P> {
        &self.slots[index as usize]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, index: u32) -> &mut Slot<P> {
        &mut self.slots[index as usize]
    }

    /// The slot at `index` as long as it is still the same connection's.
    pub(super) fn same(&self, index: u32, number: ConnectionNumber) -> Option<&Slot<P>> {
        self.slots
            .get(index as usize)
            .filter(|slot| slot.number == number)
    }

    /// Moves a slot into another stage, at the end of that stage's list, and returns what it held.
    #[inline(always)]
    pub(super) fn shift(&mut self, at: u32, to: Stage<P>, since: Moment) -> Stage<P> {
        self.shift_before(at, to, since, None)
    }

    /// As [`Slots::shift`], but into the list before `next`.
    #[inline(always)]
    pub(super) fn shift_before(
        &mut self,
        at: u32,
        to: Stage<P>,
        since: Moment,
        next: Option<u32>,
    ) -> Stage<P> {
        let slot = &mut self.slots[at as usize];
        let entered = to.name();
        let from = std::mem::replace(&mut slot.stage, to);
        slot.since = since;
        self.lists[from.name() as usize].remove(&mut self.slots, at);
        self.lists[entered as usize].insert(&mut self.slots, at, next);
        from
    }

    /// What the next dial will be numbered.
    pub(super) fn next_number(&self) -> ConnectionNumber {
        self.next_number
    }

    /// Opens a slot for a new dial.
    pub(super) fn begin_dial(&mut self, now: Moment, generation: u32) -> SlotKey {
        let number = self.next_number;
        self.next_number += 1;
        let fresh = Slot {
            stage: Stage::Connecting,
            links: Links::ALONE,
            number,
            since: now,
            dialled: now,
            opened: now,
            expires: Moment::NEVER,
            uses: 0,
            generation,
            proven: false,
            watched: false,
            label: P::Label::default(),
        };
        let at = match self.front(StageName::Vacant) {
            Some(at) => {
                self.lists[StageName::Vacant as usize].remove(&mut self.slots, at);
                self.slots[at as usize] = fresh;
                at
            }
            None => {
                self.slots.push(fresh);
                u32::try_from(self.slots.len() - 1).expect("max_size is a u32")
            }
        };
        self.lists[StageName::Connecting as usize].push_back(&mut self.slots, at);
        SlotKey(at)
    }

    /// The owner's key to `at`. Only for the moment in which the slot leaves the machine's own
    /// hands.
    #[inline]
    pub(super) fn hand_out(&self, at: u32) -> SlotKey {
        debug_assert!(matches!(
            self.slots[at as usize].stage,
            Stage::Checking(_) | Stage::Active { .. } | Stage::Closing
        ));
        SlotKey(at)
    }
}
