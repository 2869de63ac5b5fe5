//! A world with the checker that watches it.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::checker::Checker;
use crate::theme::Theme;
use crate::world::World;

/// A world and its checker.
pub struct Watched {
    world: World,
    checker: Mutex<Checker>,
}

/// A shared world. Clones share it.
pub type Shared = Arc<Watched>;

impl Watched {
    /// Creates a world with this theme from the seed. `print` writes every event to standard
    /// output.
    pub fn new(seed: u64, theme: Theme, print: bool) -> Shared {
        let world = World::new(seed, theme, print);
        Arc::new(Watched { world, checker: Mutex::new(Checker::default()) })
    }

    /// Returns the checker.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().expect("nothing panics while the checker is held")
    }

    /// Stops all faults, and corrects all clocks.
    pub fn heal(&self) {
        self.stop_faults();
        self.checker().clock_jumped(self);
        self.log(|| "healed".to_owned());
    }
}

impl Deref for Watched {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}
