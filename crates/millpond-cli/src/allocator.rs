//! The allocator of the program: mimalloc, which returns memory to the system after a flood of
//! large requests. glibc keeps it.

use std::{hint::black_box, time::Duration};

use tokio::time::interval;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's default delay before it returns what was freed.
const PURGE_DELAY: Duration = Duration::from_secs(1);

/// Large enough that freeing it makes mimalloc look at what else was freed.
const LARGE: usize = 1 << 20;

/// Has freed memory returned to the system even while the program is idle. mimalloc has no thread
/// of its own: what has been free for its delay is returned when a thread frees a large block,
/// whichever thread that is. An idle program never does, so this does it once a second.
/// The block is never touched.
///
/// Never ends. Cancel safe.
pub(crate) async fn return_memory() {
    let mut turns = interval(PURGE_DELAY);
    loop {
        turns.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
