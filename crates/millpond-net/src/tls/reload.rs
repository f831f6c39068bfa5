//! A configuration that follows the files it was made from: when they are looked at, what is kept
//! if the new ones are unfit. What the configuration is, [`Settings`] say.
//!
//! Files may be on a disk that doesn't answer. So they are looked at on a thread for blocking work,
//! once a second at most and one look at a time; the handshake that is due for a look waits for it
//! for a moment, and all others go on with what there is.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    runtime,
    time::{Instant, timeout},
};
use tracing::dispatcher;

use super::{TlsConfigError, files::Stamp};
use millpond_words::Chain;

/// Files aren't looked at more often than this: a burst of handshakes costs one look.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// How long a handshake waits for a look at the files. A disk that is well takes a millisecond.
const WORTH_WAITING: Duration = Duration::from_millis(100);

/// What a configuration is made from.
pub(super) trait Settings: Send + Sync + 'static {
    /// What handshakes need.
    type Config: Send + Sync + 'static;

    /// The files that [`load`](Settings::load) reads, in an order that stays.
    fn files(&self) -> Vec<&Path>;

    /// Reads the files, and puts everything together.
    fn load(&self) -> Result<Self::Config, TlsConfigError>;
}

/// Settings, and the configuration that was last made from them.
pub(super) struct Reloading<S: Settings> {
    settings: S,
    /// Held only to copy or to replace the reference.
    current: Mutex<Arc<S::Config>>,
    /// Held while the files are looked at and read, by threads for blocking work only. Handshakes
    /// try it, and never wait for it. Taken before `current`.
    watch: Mutex<Watch>,
}

/// Where the configuration of handshakes comes from.
pub(super) enum Source<S: Settings> {
    /// It is made from settings, and follows their files.
    Made(Arc<Reloading<S>>),
    /// It was given as it is.
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

    /// Reads the files now. There are none behind a configuration that was given.
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
    /// Of the files that `current` was made from, taken before they were read: what is written
    /// meanwhile is noticed at the next look.
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
    /// The last look found files that can't be used, and said so.
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

    /// The configuration for a handshake that begins now. Of new files, if a look is due and
    /// doesn't take long.
    ///
    /// Outside of a tokio runtime the files are looked at by this thread.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<S::Config> {
        let now = Instant::now();
        if self.claim_look(now) {
            match runtime::Handle::try_current() {
                Ok(runtime) => {
                    let reloading = Arc::clone(self);
                    // Whoever listens to this thread's events hears of unfit files.
                    let listener = dispatcher::get_default(Clone::clone);
                    let look = move || dispatcher::with_default(&listener, || reloading.look());
                    let looking = runtime.spawn_blocking(look);
                    // What takes longer serves later handshakes.
                    let _ = timeout(WORTH_WAITING, looking).await;
                }
                Err(_) => self.look(),
            }
        }
        self.current.lock().clone()
    }

    /// Whether a look is due and nobody is at it: then it is this caller's to do.
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
        // Nobody claims a look while this is held: so there are two threads at most here, however
        // long a disk takes.
        let watch = &mut *self.watch.lock();
        let stamps = stamps(&self.settings);
        if stamps == watch.stamps {
            watch.warned = false;
            return;
        }
        // If this fails the old stamps stay, so that the next look tries again even if nothing has
        // changed by then: what was missing may have been a permission.
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
        // Outside the lock: it may be the last reference to many certificates.
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

    /// Settings that count how often they are loaded, fail when told to, and can be held up while
    /// they load.
    struct Script {
        file: PathBuf,
        fails: AtomicBool,
        loads: AtomicU32,
        /// Told when a load after the first has begun, and when it may go on.
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
                begun.lock().send(()).expect("somebody holds it up");
                go_on.lock().recv().expect("somebody lets it go on");
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
    async fn a_look_that_is_held_up_holds_up_no_handshake_and_nobody_else_looks() {
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
