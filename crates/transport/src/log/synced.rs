//! How far the log survives the death of the machine, for those who wait for that.

use tokio::sync::watch;

use crate::error::Error;

/// A place in the sequence of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub segment: u32,
    pub length: u64,
}

/// Everything before the position is synced; or a sync failed, and what is on the disk is unknown.
pub(super) struct Synced(watch::Sender<Result<Position, String>>);

impl Synced {
    pub fn new() -> Synced {
        Synced(watch::Sender::new(Ok(Position::default())))
    }

    /// Everything before the position is synced by now.
    pub fn reaches(&self, position: Position) {
        self.0.send_if_modified(|synced| match synced {
            Ok(before) if *before < position => {
                *before = position;
                true
            }
            Ok(_) | Err(_) => false,
        });
    }

    /// A sync failed, for this reason: nothing is synced any more.
    pub fn breaks(&self, reason: &str) {
        let _before = self.0.send_replace(Err(reason.to_owned()));
    }

    /// Waits until everything before the position is synced.
    pub fn until(&self, position: Position) -> impl Future<Output = Result<(), Error>> + use<> {
        let mut synced = self.0.subscribe();
        async move {
            let reached = synced.wait_for(|synced| !matches!(synced, Ok(synced) if *synced < position)).await;
            match reached.as_deref() {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(reason)) => Err(Error::Unavailable(reason.clone())),
                Err(_) => Err(Error::Unavailable("the log was closed before the sync".to_owned())),
            }
        }
    }
}
