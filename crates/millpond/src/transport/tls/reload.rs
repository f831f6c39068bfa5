//! A configuration that follows the files it was made from: when they are looked at, what is kept if the new ones are unfit. What the
//! configuration is, [`Settings`] say.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{TlsConfigError, files::Stamp};

/// Files aren't looked at more often than this: a burst of handshakes costs one look.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What a configuration is made from.
pub(super) trait Settings {
    /// What handshakes need.
    type Config;

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
    /// Held while the files are looked at and read. Handshakes never wait for it: while one of them reads, the others go on with what
    /// there is. Taken before `current`.
    watch: Mutex<Watch>,
}

struct Watch {
    /// Of the files that `current` was made from, taken before they were read: what is written meanwhile is noticed at the next look.
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

    /// The configuration for a handshake that begins now.
    pub(super) fn current(&self) -> Arc<S::Config> {
        if let Some(mut watch) = self.watch.try_lock() {
            self.look(&mut watch, Instant::now());
        }
        self.current.lock().clone()
    }

    /// Reads the files now, whether they have changed or not.
    pub(super) fn reload(&self) -> Result<(), TlsConfigError> {
        let mut watch = self.watch.lock();
        watch.looked = Instant::now();
        let stamps = stamps(&self.settings);
        self.replace(&mut watch, stamps)
    }

    fn look(&self, watch: &mut Watch, now: Instant) {
        if watch.stamps.is_empty() || now.saturating_duration_since(watch.looked) < BETWEEN_LOOKS {
            return;
        }
        watch.looked = now;
        let stamps = stamps(&self.settings);
        if stamps == watch.stamps {
            watch.warned = false;
            return;
        }
        // If this fails the old stamps stay, so that the next look tries again even if nothing has changed by then: what was missing may
        // have been a permission.
        if let Err(error) = self.replace(watch, stamps)
            && !watch.warned
        {
            watch.warned = true;
            tracing::warn!(
                target: "millpond::transport",
                %error,
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
        tracing::debug!(target: "millpond::transport", "certificate files were read again");
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

    /// Settings that count how often they are loaded, fail when told to, and can be held up while they load.
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
        let reloading = Reloading::new(Script::new("same")).expect("a file");
        for _ in 0..3 {
            tokio::time::advance(BETWEEN_LOOKS).await;
            assert_eq!(*reloading.current(), 1);
        }
        assert_eq!(reloading.settings.loads.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_used_is_tried_again_once_a_second_though_nothing_has_changed() {
        let reloading = Reloading::new(Script::new("again")).expect("a file");
        reloading.settings.change("new text");
        reloading.settings.fails.store(true, SeqCst);
        tokio::time::advance(BETWEEN_LOOKS).await;
        for _ in 0..5 {
            assert_eq!(*reloading.current(), 1, "the old one serves");
        }
        assert_eq!(reloading.settings.loads.load(SeqCst), 2);
        reloading.settings.fails.store(false, SeqCst);
        tokio::time::advance(BETWEEN_LOOKS).await;
        assert_eq!(*reloading.current(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_handshake_reads_the_others_go_on_with_what_there_is() {
        let (begin, begun) = mpsc::channel();
        let (go_on, wait) = mpsc::channel();
        let mut script = Script::new("held-up");
        script.held_up = Some((Mutex::new(begin), Mutex::new(wait)));
        let reloading = Reloading::new(script).expect("a file");
        reloading.settings.change("new text");
        std::thread::scope(|threads| {
            let reader = threads.spawn(|| reloading.reload());
            begun.recv().expect("it reads");
            assert_eq!(*reloading.current(), 1);
            go_on.send(()).expect("it reads");
            reader.join().expect("no panic").expect("a file");
        });
        assert_eq!(*reloading.current(), 2);
    }
}
