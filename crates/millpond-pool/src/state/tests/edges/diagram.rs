//! Every edge there is: the diagram at the top of the machine, with the operations that take each.
//! What isn't here must never be seen; what is here must be seen often. Where several operations
//! are named together, they are counted together.

use super::{
    C,
    C::{Active, Closing, Connecting, Idle, LookedAt, Probed, Reset, Vacant},
    Edges,
    Op::{self, *},
    W,
};

pub(super) const CONNECTIONS: Edges<C> = &[
    // Coming to rest: dials begin, idle connections are given to those in line, or probed for
    // them, or found to be at their end.
    (
        COMING_TO_REST,
        &[
            (Vacant, Connecting),
            (Idle, C::Granted),
            (Idle, Probed),
            (Idle, Closing),
        ],
    ),
    // Callers.
    (&[Acquire], &[(Idle, Active), (Idle, Closing)]),
    (
        &[Wait, Tick],
        &[
            (C::Granted, Idle),
            (C::Granted, Probed),
            (C::Granted, Closing),
        ],
    ),
    // From idle when its grant had been revoked, and others were idle by then.
    (&[Poll], &[(C::Granted, Active), (Idle, Active)]),
    (
        &[Cancel],
        &[
            (C::Granted, Idle),
            (C::Granted, Probed),
            (C::Granted, Closing),
        ],
    ),
    // Borrowers.
    (
        &[Release],
        &[
            (Active, Idle),
            (Active, Probed),
            (Active, C::Granted),
            (Active, Closing),
        ],
    ),
    (&[ReleaseToReset], &[(Active, Reset), (Active, Closing)]),
    (&[Discard], &[(Active, Closing)]),
    (&[Reject], &[(Active, Closing)]),
    (&[Detach], &[(Active, Vacant)]),
    // The pool's own work.
    (
        &[DialOk],
        &[
            (Connecting, Idle),
            (Connecting, C::Granted),
            (Connecting, Closing),
        ],
    ),
    (&[DialFailed], &[(Connecting, Vacant)]),
    (&[DialAbandoned], &[(Connecting, Vacant)]),
    (
        &[CheckFit],
        &[(Probed, Idle), (Probed, C::Granted), (Probed, Closing)],
    ),
    (
        &[CheckFit],
        &[
            (Reset, Idle),
            (Reset, Probed),
            (Reset, C::Granted),
            (Reset, Closing),
        ],
    ),
    (&[CheckUnfit], &[(Probed, Closing), (Reset, Closing)]),
    (&[Look], &[(Idle, LookedAt)]),
    (
        &[LookedFit],
        &[
            (LookedAt, Idle),
            (LookedAt, Probed),
            (LookedAt, C::Granted),
            (LookedAt, Closing),
        ],
    ),
    (&[LookedUnfit], &[(LookedAt, Closing)]),
    (&[Closed], &[(Closing, Vacant)]),
    // Verbs and time.
    (&[Tick], &[(Idle, Closing)]),
    (&[Resize], &[(Idle, Closing)]),
    (&[Retire], &[(Idle, Closing)]),
    (&[RetireOne], &[(Idle, Closing)]),
    (&[Drain], &[(Idle, Closing)]),
    (&[Close], &[(Idle, Closing), (C::Granted, Closing)]),
];

/// A grant that goes from one waiter straight to another. One that is revoked does while the
/// answers to a call come in; else it goes to nobody before somebody comes for it.
/// With each how many times more seldom than the others it is seen: a tick hands on only where two
/// grants are overdue in a row.
pub(super) const HANDING_ON: &[(Op, u64)] = &[(Wait, 1), (Cancel, 1), (Tick, 10)];

pub(super) const WAITERS: Edges<W> = &[
    // Granted, or refused since they have waited too long.
    (
        COMING_TO_REST,
        &[(W::InLine, W::Granted), (W::InLine, W::Refused)],
    ),
    (
        &[Wait],
        &[
            (W::Gone, W::InLine),
            (W::Gone, W::Granted),
            (W::Granted, W::Parked),
            (W::InLine, W::Parked),
        ],
    ),
    // Parked ones get back in line, and may be served, or be too late, in the same poll.
    (
        &[Poll],
        &[
            (W::InLine, W::Gone),
            (W::Parked, W::InLine),
            (W::Parked, W::Gone),
        ],
    ),
    (&[Poll], &[(W::Granted, W::Gone), (W::Refused, W::Gone)]),
    (&[Cancel], &[(W::InLine, W::Gone), (W::Parked, W::Gone)]),
    (&[Cancel], &[(W::Granted, W::Gone), (W::Refused, W::Gone)]),
    (&[Release], &[(W::InLine, W::Granted)]),
    (&[DialOk], &[(W::InLine, W::Granted)]),
    (&[CheckFit], &[(W::InLine, W::Granted)]),
    (&[LookedFit], &[(W::InLine, W::Granted)]),
    (&[Resume], &[(W::InLine, W::Granted)]),
    // The endpoint is unavailable.
    (
        &[DialFailed],
        &[(W::InLine, W::Refused), (W::Parked, W::Refused)],
    ),
    (
        &[Discard, Reject],
        &[(W::InLine, W::Refused), (W::Parked, W::Refused)],
    ),
    (
        &[CheckUnfit, LookedUnfit],
        &[(W::InLine, W::Refused), (W::Parked, W::Refused)],
    ),
    // Overdue, or unavailable; a granted one that is refused had its grant revoked first.
    (&[Tick], &[(W::InLine, W::Refused), (W::Parked, W::Refused)]),
    (
        &[Tick],
        &[(W::Granted, W::Parked), (W::Granted, W::Refused)],
    ),
    // Called.
    (&[Tick], &[(W::InLine, W::Parked)]),
    (
        &[Close],
        &[
            (W::InLine, W::Refused),
            (W::Parked, W::Refused),
            (W::Granted, W::Refused),
        ],
    ),
];

/// All but a look, a pause and a close.
const COMING_TO_REST: &[Op] = &[
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
    LookedFit,
    LookedUnfit,
    Tick,
    Resume,
    Resize,
    Retire,
    RetireOne,
    Drain,
];
