//! The thread that syncs in the background. Writers do not wait for it.

use std::any::Any;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::error::Error;
use crate::log::state::State;
use crate::log::synced::Position;

/// The shared state of a log, its clones and its consumers. Dropping the last of them syncs the
/// log.
pub(super) struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    _lock: Box<dyn Any + Send + Sync>,
}

struct Shared {
    state: Mutex<State>,
    wanted: Mutex<Signals>,
    changed: Condvar,
}

#[derive(Default)]
struct Signals {
    sync: bool,
    stop: bool,
}

impl Handle {
    /// Creates a handle without a thread: callers request syncs.
    pub fn new(state: State, lock: Box<dyn Any + Send + Sync>) -> Handle {
        let shared =
            Shared { state: Mutex::new(state), wanted: Mutex::default(), changed: Condvar::new() };
        Handle { shared: Arc::new(shared), thread: None, _lock: lock }
    }

    /// Creates a handle with a thread that syncs after each write.
    pub fn with_thread(state: State, lock: Box<dyn Any + Send + Sync>) -> Result<Handle, Error> {
        let mut handle = Handle::new(state, lock);
        let shared = handle.shared.clone();
        let thread =
            std::thread::Builder::new().name("log-sync".to_owned()).spawn(move || shared.follow());
        handle.thread =
            Some(thread.map_err(|error| {
                Error::Unavailable(format!("start the syncing thread: {error}"))
            })?);
        Ok(handle)
    }

    /// Locks the state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Returns whether a thread syncs in the background.
    pub fn has_thread(&self) -> bool {
        self.thread.is_some()
    }

    /// Notifies the thread of a write.
    pub fn request_sync(&self) {
        if self.thread.is_some() {
            let mut wanted = self.shared.wanted();
            if !wanted.sync {
                wanted.sync = true;
                self.shared.changed.notify_one();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.wanted().stop = true;
            self.shared.changed.notify_one();
            // the thread has ended or panicked: nothing is left to do in either case
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the log is held")
    }

    fn wanted(&self) -> MutexGuard<'_, Signals> {
        self.wanted.lock().expect("nothing panics while this is held")
    }

    fn follow(&self) {
        let pause = self.state().options.sync_pause;
        loop {
            let stop = {
                let wanted = self.wanted();
                let mut wanted = self
                    .changed
                    .wait_while(wanted, |wanted| !wanted.sync && !wanted.stop)
                    .expect("nothing panics here");
                wanted.sync = false;
                wanted.stop
            };
            self.sync_once();
            if stop {
                return;
            }
            let waited =
                self.changed.wait_timeout_while(self.wanted(), pause, |wanted| !wanted.stop);
            drop(waited.expect("nothing panics here"));
        }
    }

    /// Syncs without blocking the writers.
    fn sync_once(&self) {
        let (file, number, length) = {
            let mut state = self.state();
            let current = state.current();
            if current.synced == current.length {
                return;
            }
            (current.file.clone(), current.number, current.length)
        };
        let synced = file.sync();
        let mut state = self.state();
        match synced {
            Ok(()) => {
                state.stats.syncs += 1;
                state.synced.reaches(Position { segment: number, length });
                if let Some(segment) =
                    state.segments.iter_mut().find(|segment| segment.number == number)
                {
                    segment.synced = segment.synced.max(length.min(segment.length));
                }
            }
            Err(error) => state.sync_failed(number, &error),
        }
    }
}
