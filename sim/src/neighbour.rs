//! What else a service's process does with its database: transactions that no message asks for. Where transactions share a
//! commit, those of the service join them, or are joined by them.

use std::sync::Arc;

use crate::site::Site;

const TABLE: &str = "CREATE TABLE sim_note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)";

/// Makes the table of notes.
pub fn prepare(site: &Site) {
    site.services.iter().for_each(|(_, store)| store.prepare(TABLE));
}

/// Writes notes, slowly, into one database or another, as long as things go wrong.
pub async fn neighbour(site: Arc<Site>) {
    let world = &site.world;
    while !world.is_healed() {
        world.sleep(world.between(0, 300)).await;
        // the first service is the busiest: orders are placed there beside its turns
        let number = if world.percent(50) { 0 } else { world.below(site.services.len() as u64) };
        let (service, store) = &site.services[number as usize];
        let database = store.for_process(&format!("neighbour of {}", service.name()).into());
        let Ok(open) = database.begin().await else { continue };
        let pause_max = if world.percent(40) { 500 } else { 20 }; // long, so that many stand in line behind it
        for _ in 0..=world.below(3) {
            world.sleep(world.between(0, pause_max)).await;
            let _ = open.tx().execute("INSERT INTO sim_note (text) VALUES ($1)", ("a note",)).await; // or it is rolled back
        }
        let ended = if world.percent(70) { open.commit().await } else { open.rollback().await };
        if ended.is_ok() {
            world.count("note written beside");
        }
    }
}
