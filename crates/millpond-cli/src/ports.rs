//! The local ports towards one destination, for loads that open many short connections: how many
//! may still be used, so that other programs keep some, and how many are in TIME_WAIT.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use millpond::kernel::{PortUse, port_use};
use tokio::{sync::Mutex, task::spawn_blocking, time::sleep};

/// The share of the ports that may be in use before the load stops.
const SHARE: f64 = 0.8;

/// How many connections may be opened where the kernel can't be asked: about a third of Linux's
/// default range.
const UNKNOWN_PORTS: i64 = 10_000;

/// How often, and at which intervals, sockets are looked at until they have reached TIME_WAIT.
const SETTLING_LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The budget of ports towards a destination. Each connection takes one. When the budget is used
/// up, the kernel is asked again, since some ports may be free by then.
#[derive(Clone)]
pub(crate) struct Ports {
    destination: SocketAddr,
    left: Arc<AtomicI64>,
    used_up: Arc<AtomicBool>,
    /// Held by whoever asks the kernel.
    asking: Arc<Mutex<()>>,
}

impl Ports {
    pub(crate) async fn towards(destination: SocketAddr) -> Ports {
        Ports {
            destination,
            left: Arc::new(AtomicI64::new(
                left(destination).await.unwrap_or(UNKNOWN_PORTS),
            )),
            used_up: Arc::default(),
            asking: Arc::default(),
        }
    }

    /// Whether a connection was refused a port.
    pub(crate) fn are_used_up(&self) -> bool {
        self.used_up.load(Ordering::Relaxed)
    }

    /// Takes a port, if one is left.
    pub(crate) async fn take(&self) -> bool {
        if self.are_used_up() {
            return false;
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return true;
        }
        let _asking = self.asking.lock().await;
        // Another caller may have asked meanwhile.
        if self.are_used_up() {
            return false;
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return true;
        }
        match left(self.destination).await {
            Some(left) if left > 0 => {
                self.left.store(left - 1, Ordering::Relaxed);
                true
            }
            _ => {
                self.used_up.store(true, Ordering::Relaxed);
                false
            }
        }
    }
}

/// How many more ports may be used; `None` if the kernel doesn't tell.
async fn left(destination: SocketAddr) -> Option<i64> {
    let ports = use_of(destination).await?;
    let allowed = (f64::from(ports.available()) * SHARE) as i64;
    Some(allowed - i64::from(ports.in_use_towards))
}

/// How many sockets towards a destination are in TIME_WAIT; `None` if the kernel doesn't tell. A
/// socket gets there once the server has closed its end as well, which may be a moment after the
/// last reply, so this waits for sockets that are on their way there.
pub(crate) async fn time_wait(destination: SocketAddr) -> Option<u32> {
    let mut ports = use_of(destination).await?;
    for _ in 0..SETTLING_LOOKS {
        let before = ports.in_use_towards - ports.in_time_wait_towards;
        if before == 0 {
            break;
        }
        sleep(BETWEEN_LOOKS).await;
        ports = use_of(destination).await?;
        // The others are open, and stay so.
        if ports.in_use_towards - ports.in_time_wait_towards == before {
            break;
        }
    }
    Some(ports.in_time_wait_towards)
}

async fn use_of(destination: SocketAddr) -> Option<PortUse> {
    spawn_blocking(move || port_use(destination))
        .await
        .ok()?
        .ok()
}
