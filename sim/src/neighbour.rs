//! Other transactions of a service's process. Where transactions share a commit, these transactions
//! and those of the service join each other.

use std::sync::Arc;

use crate::site::Site;
use crate::theme::Theme;

const TABLE: &str = "CREATE TABLE sim_note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)";

/// Creates the table of notes.
pub fn prepare(site: &Site) {
    site.services.iter().for_each(|(_, store)| store.prepare(TABLE));
}

/// Writes notes slowly into the services' databases until the world has healed.
pub async fn neighbour(site: Arc<Site>) {
    let world = &site.world;
    while !world.is_healed() {
        // the first service is the busiest, because orders are placed there beside its turns
        let (of_first, gap_max) = if world.theme == Theme::Outbox { (100, 400) } else { (50, 300) };
        world.sleep(world.between(0, gap_max)).await;
        let number =
            if world.percent(of_first) { 0 } else { world.below(site.services.len() as u64) };
        let (service, store) = &site.services[number as usize];
        let database = store.for_process(&format!("neighbour of {}", service.name()).into());
        let Ok(open) = database.begin().await else { continue };
        let pause_max = match world.theme {
            Theme::Outbox => 120, // others queue up, and there is idle time as well
            _ if world.percent(40) => 500,
            _ => 20,
        };
        for _ in 0..=world.below(3) {
            world.sleep(world.between(0, pause_max)).await;
            // fails if the transaction was rolled back
            let _ = open.tx().execute("INSERT INTO sim_note (text) VALUES ($1)", ("a note",)).await;
        }
        let ended = if world.percent(70) { open.commit().await } else { open.rollback().await };
        if ended.is_ok() {
            world.count("note written beside");
        }
    }
}
