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

/// A watched world in the hands of everything that lives in it.
pub type Shared = Arc<Watched>;

impl Watched {
    /// Creates a world with this theme that is drawn from the seed. With `print` every event is written to standard
    /// output.
    pub fn new(seed: u64, theme: Theme, print: bool) -> Shared {
        let world = World::new(seed, theme, print);
        Arc::new(Watched { world, checker: Mutex::new(Checker::default()) })
    }

    /// Returns the checker.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().expect("nothing panics while the checker is held")
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.set_healed();
        self.checker().clock_jumped(self); // wrong clocks are right again
        self.tell(|| "healed".to_owned());
    }
}

impl Deref for Watched {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}
