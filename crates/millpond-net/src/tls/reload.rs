//! A configuration that follows the files it was made from: when it looks at the files, and what it
//! keeps if the new ones can't be used. [`Settings`] define what the configuration is.
//!
//! A disk may not answer. So a thread for blocking work looks at the files, at most once a second
//! and one look at a time. The handshake that starts a look waits up to 100 ms for it. All other
//! handshakes use the present configuration at once.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    runtime,
    time::{Instant, timeout},
};
use tracing::dispatcher;

use super::{TlsConfigError, files::Stamp};
use millpond_words::Chain;

/// The least time between two looks at the files: a burst of handshakes costs one look.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// How long a handshake waits for a look at the files. A healthy disk needs about a millisecond.
const WORTH_WAITING: Duration = Duration::from_millis(100);

/// What a configuration is made from.
pub(super) trait Settings: Send + Sync + 'static {
    /// What handshakes need.
    type Config: Send + Sync + 'static;

    /// The files that [`load`](Settings::load) reads, always in the same order.
    fn files(&self) -> Vec<&Path>;

    /// Reads the files, and puts everything together.
    fn load(&self) -> Result<Self::Config, TlsConfigError>;
}

/// Settings, and the configuration that was last made from them.
pub(super) struct Reloading<S: Settings> {
    settings: S,
    /// Held only to copy or to replace the reference.
    current: Mutex<Arc<S::Config>>,
    /// Held while the files are looked at and read. Handshakes only try to lock it, and never wait
    /// for it. Taken before `current`.
    watch: Mutex<Watch>,
}

/// Where the configuration of handshakes comes from.
pub(super) enum Source<S: Settings> {
    /// Made from settings; it follows their files.
    Made(Arc<Reloading<S>>),
    /// Given as it is; it never changes.
    Given(Arc<S::Config>),
}

impl<S: Settings> Source<S> {
    /// The configuration for a handshake that begins now.
    pub(super) async fn current(&self) -> Arc<S::Config> {
        match self {
            Source::Made(reloading) => reloading.current().await,
            Source::Given(config) => Arc::clone(config),
        }
    }

    /// Reads the files now. A configuration that was given has no files, so this does nothing.
    pub(super) fn reload(&self) -> Result<(), TlsConfigError> {
        match self {
            Source::Made(reloading) => reloading.reload(),
            Source::Given(_) => Ok(()),
        }
    }

    pub(super) fn settings(&self) -> Option<&S> {
        match self {
            Source::Made(reloading) => Some(reloading.settings()),
            Source::Given(_) => None,
        }
    }
}

impl<S: Settings> Clone for Source<S> {
    fn clone(&self) -> Self {
        match self {
            Source::Made(reloading) => Source::Made(Arc::clone(reloading)),
            Source::Given(config) => Source::Given(Arc::clone(config)),
        }
    }
}

struct Watch {
    /// The stamps of the files that `current` was made from. They are taken before the files are
    /// read, so that the next look notices what is written meanwhile.
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
    /// The log already has a warning that the files can't be used.
    warned: bool,
}

impl<S: Settings> Reloading<S> {
    pub(super) fn new(settings: S) -> Result<Self, TlsConfigError> {
        let looked = Instant::now();
        let stamps = stamps(&settings);
        let config = settings.load()?;
        Ok(Reloading {
            settings,
            current: Mutex::new(Arc::new(config)),
            watch: Mutex::new(Watch {
                stamps,
                looked,
                warned: false,
            }),
        })
    }

    pub(super) fn settings(&self) -> &S {
        &self.settings
    }

    /// The configuration for a handshake that begins now. If a look is due, this waits up to 100 ms
    /// for it, so that the configuration is that of the new files.
    ///
    /// Outside of a tokio runtime this thread looks at the files itself.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<S::Config> {
        let now = Instant::now();
        if self.claim_look(now) {
            match runtime::Handle::try_current() {
                Ok(runtime) => {
                    let reloading = Arc::clone(self);
                    // The thread for blocking work logs to this thread's subscriber.
                    let listener = dispatcher::get_default(Clone::clone);
                    let look = move || dispatcher::with_default(&listener, || reloading.look());
                    let looking = runtime.spawn_blocking(look);
                    // A look that takes longer goes on, and serves later handshakes.
                    let _ = timeout(WORTH_WAITING, looking).await;
                }
                Err(_) => self.look(),
            }
        }
        self.current.lock().clone()
    }

    /// Whether this caller must look: a look is due, and no other one runs.
    fn claim_look(&self, now: Instant) -> bool {
        let Some(mut watch) = self.watch.try_lock() else {
            return false;
        };
        if watch.stamps.is_empty() || now.saturating_duration_since(watch.looked) < BETWEEN_LOOKS {
            return false;
        }
        watch.looked = now;
        true
    }

    /// Reads the files now, whether they have changed or not.
    pub(super) fn reload(&self) -> Result<(), TlsConfigError> {
        let mut watch = self.watch.lock();
        watch.looked = Instant::now();
        let stamps = stamps(&self.settings);
        self.replace(&mut watch, stamps)
    }

    fn look(&self) {
        // No look is claimed while this lock is held. So at most two threads are here, however long
        // a disk takes.
        let watch = &mut *self.watch.lock();
        let stamps = stamps(&self.settings);
        if stamps == watch.stamps {
            watch.warned = false;
            return;
        }
        // If this fails, the old stamps stay, so that the next look tries again even if the files
        // haven't changed: a permission may have been missing, which isn't part of a stamp.
        if let Err(error) = self.replace(watch, stamps)
            && !watch.warned
        {
            watch.warned = true;
            tracing::warn!(
                target: "millpond::net",
                error = %Chain(&error),
                "certificate files have changed and can't be used; the old ones stay in use until they can"
            );
        }
    }

    fn replace(&self, watch: &mut Watch, stamps: Vec<Option<Stamp>>) -> Result<(), TlsConfigError> {
        let config = Arc::new(self.settings.load()?);
        let old = std::mem::replace(&mut *self.current.lock(), config);
        // Outside the lock, because this may free many certificates.
        drop(old);
        watch.stamps = stamps;
        watch.warned = false;
        tracing::debug!(target: "millpond::net", "certificate files were read again");
        Ok(())
    }
}

fn stamps(settings: &impl Settings) -> Vec<Option<Stamp>> {
    settings.files().into_iter().map(Stamp::of).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        path::PathBuf,
        process,
        sync::{
            atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
            mpsc,
        },
    };

    use super::*;

    type Signal = Mutex<mpsc::Sender<()>>;

    /// Settings that count how often they are loaded, can be made to fail, and can be held up while
    /// they load.
    struct Script {
        file: PathBuf,
        fails: AtomicBool,
        loads: AtomicU32,
        /// The first says that a load after the first one has begun, the second lets it go on.
        held_up: Option<(Signal, Mutex<mpsc::Receiver<()>>)>,
    }

    impl Script {
        fn new(name: &str) -> Script {
            let file = env::temp_dir().join(format!("millpond-reload-{name}-{}", process::id()));
            fs::write(&file, "old").expect("a file");
            Script {
                file,
                fails: AtomicBool::new(false),
                loads: AtomicU32::new(0),
                held_up: None,
            }
        }

        fn change(&self, text: &str) {
            fs::write(&self.file, text).expect("a file");
        }
    }

    impl Settings for Script {
        type Config = u32;

        fn files(&self) -> Vec<&Path> {
            vec![&self.file]
        }

        fn load(&self) -> Result<u32, TlsConfigError> {
            let number = self.loads.fetch_add(1, SeqCst) + 1;
            if let (Some((begun, go_on)), 2..) = (&self.held_up, number) {
                begun.lock().send(()).expect("the test holds it up");
                go_on.lock().recv().expect("the test lets it go on");
            }
            match self.fails.load(SeqCst) {
                true => Err(TlsConfigError::NoIdentity),
                false => Ok(number),
            }
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.file);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_have_not_changed_are_not_read_again() {
        let reloading = Arc::new(Reloading::new(Script::new("same")).expect("a file"));
        for _ in 0..3 {
            tokio::time::advance(BETWEEN_LOOKS).await;
            assert_eq!(*reloading.current().await, 1);
        }
        assert_eq!(reloading.settings.loads.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_used_is_tried_again_once_a_second_though_nothing_has_changed() {
        let reloading = Arc::new(Reloading::new(Script::new("again")).expect("a file"));
        reloading.settings.change("new text");
        reloading.settings.fails.store(true, SeqCst);
        tokio::time::advance(BETWEEN_LOOKS).await;
        for _ in 0..5 {
            assert_eq!(*reloading.current().await, 1, "the old one serves");
        }
        assert_eq!(reloading.settings.loads.load(SeqCst), 2);
        reloading.settings.fails.store(false, SeqCst);
        tokio::time::advance(BETWEEN_LOOKS).await;
        assert_eq!(*reloading.current().await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_held_up_holds_up_no_handshake_and_no_second_look_begins() {
        let (begin, begun) = mpsc::channel();
        let (go_on, wait) = mpsc::channel();
        let mut script = Script::new("held-up");
        script.held_up = Some((Mutex::new(begin), Mutex::new(wait)));
        let reloading = Arc::new(Reloading::new(script).expect("a file"));
        reloading.settings.change("new text");
        tokio::time::advance(BETWEEN_LOOKS).await;
        // A paused clock stands still while a thread for blocking work is busy.
        tokio::time::resume();
        assert_eq!(*reloading.current().await, 1, "it has waited in vain");
        begun.recv().expect("it reads");
        for _ in 0..100 {
            assert_eq!(*reloading.current().await, 1);
        }
        go_on.send(()).expect("it reads");
        while *reloading.current().await == 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(reloading.settings.loads.load(SeqCst), 2);
    }

    #[test]
    fn outside_of_a_runtime_the_caller_looks() {
        use std::{
            future::Future,
            pin::pin,
            task::{Context, Poll, Waker},
        };
        let reloading = Arc::new(Reloading::new(Script::new("outside")).expect("a file"));
        reloading.settings.change("new text");
        reloading.watch.lock().looked -= BETWEEN_LOOKS;
        let current = pin!(reloading.current());
        let current = current.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(current, Poll::Ready(config) if *config == 2));
    }
}
