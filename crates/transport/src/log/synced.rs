//! The synced position of the log, for callers that wait for it.

use tokio::sync::watch;

use crate::error::Error;

/// A position in the sequence of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub segment: u32,
    pub length: u64,
}

/// The position before which everything is synced, or the reason of a failed sync.
pub(super) struct SyncProgress(watch::Sender<Result<Position, String>>);

impl SyncProgress {
    pub fn new() -> SyncProgress {
        SyncProgress(watch::Sender::new(Ok(Position::default())))
    }

    /// Advances the synced position.
    pub fn reaches(&self, position: Position) {
        self.0.send_if_modified(|synced| match synced {
            Ok(before) if *before < position => {
                *before = position;
                true
            }
            Ok(_) | Err(_) => false,
        });
    }

    /// Records a failed sync: no later position will be synced.
    pub fn breaks(&self, reason: &str) {
        let _before = self.0.send_replace(Err(reason.to_owned()));
    }

    /// Waits until everything before the position is synced.
    pub fn until(&self, position: Position) -> impl Future<Output = Result<(), Error>> + use<> {
        let mut synced = self.0.subscribe();
        async move {
            let reached =
                synced.wait_for(|synced| !matches!(synced, Ok(synced) if *synced < position)).await;
            match reached.as_deref() {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(reason)) => Err(Error::Unavailable(reason.clone())),
                Err(_) => Err(Error::Unavailable("the log was closed before the sync".to_owned())),
            }
        }
    }
}
