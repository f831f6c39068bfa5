//! Hears what pools, or others, warn and inform of through `tracing`.
//!
//! A test that uses this is the only one of its process: `tracing` caches for all threads who is
//! interested in an event, as seen by whichever thread meets it first, and other tests' threads
//! hear nothing.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

#[derive(Clone)]
pub(crate) struct Warnings {
    target: &'static str,
    level: Level,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Default for Warnings {
    fn default() -> Self {
        Warnings::of("millpond::pool")
    }
}

impl Warnings {
    pub(crate) fn of(target: &'static str) -> Self {
        Warnings {
            target,
            level: Level::INFO,
            heard: Arc::default(),
        }
    }

    /// Hears debug events as well.
    #[allow(dead_code, reason = "each test binary uses its own part of this")]
    pub(crate) fn and_debug(mut self) -> Self {
        self.level = Level::DEBUG;
        self
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target() == self.target
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.heard.lock().unwrap().push(fields.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
