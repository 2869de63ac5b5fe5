//! The lines of `doctor` about messages that no live process handles.

use std::collections::BTreeSet;
use std::sync::Arc;

use sagamore_core::{Definition, Name, Plan};
use sagamore_database::{Clock, Database};
use sagamore_engine::{Announcements, SentMessage};
use sagamore_kafka::Kafka;
use sagamore_server::{Presence, StandIns};
use sagamore_transport::Transport;

use crate::config::Settings;

/// The contents of the active versions.
const DEFINITIONS: &str = "SELECT d.body FROM definition d
    JOIN active_definition a ON a.name = d.name AND a.version = d.version
    WHERE d.body <> '' ORDER BY d.name";
const PLANS: &str = "SELECT p.body FROM plan p
    JOIN active_plan a ON a.name = p.name AND a.version = p.version
    WHERE p.body <> '' ORDER BY p.name";

/// The announcements in the orchestrators' database, compared with the active versions.
pub struct Handled {
    engine: Database,
    announcements: Announcements,
    presence: Presence,
}

impl Handled {
    /// Creates the comparison. `None` without a database.
    pub fn of(
        settings: &Settings,
        kafka: Option<&Kafka>,
        bound: BTreeSet<Name>,
    ) -> Option<Handled> {
        let engine = settings.database("engine").ok()?;
        let transport = kafka.map(|kafka| Arc::new(kafka.clone()) as Arc<dyn Transport>);
        let clock = Clock::of(&engine);
        let announcements = Announcements::of(engine.clone(), clock, transport);
        let presence = Presence::of(announcements.clone(), Arc::new(bound), StandIns::default());
        Some(Handled { engine, announcements, presence })
    }

    /// Returns the warnings about the active definitions and plans, each once. `None` if the
    /// orchestrators' database cannot be read.
    pub async fn warnings(&self, observer: Option<Database>) -> Option<Vec<String>> {
        let mut sent = Vec::new();
        for body in bodies(&self.engine, DEFINITIONS).await? {
            let definition: Option<Definition> = serde_json::from_str(&body).ok();
            sent.extend(definition.iter().flat_map(SentMessage::of_definition));
        }
        if let Some(observer) = observer {
            for body in bodies(&observer, PLANS).await.unwrap_or_default() {
                let plan: Option<Plan> = serde_json::from_str(&body).ok();
                sent.extend(plan.iter().flat_map(SentMessage::of_plan));
            }
        }
        let mut once = BTreeSet::new();
        let mut warnings = self.presence.texts(sent, true).await.ok()?;
        warnings.retain(|warning| once.insert(warning.clone()));
        Some(warnings)
    }

    /// Returns whether a live process of the participant is announced. `None` if the database
    /// cannot be read.
    pub async fn is_announced(&self, participant: &Name) -> Option<bool> {
        let now = self.announcements.now().await.ok()?;
        let processes = self.announcements.processes(participant).await.ok()?;
        Some(processes.iter().any(|process| process.is_live(now)))
    }
}

async fn bodies(database: &Database, sql: &str) -> Option<Vec<String>> {
    let rows = database.query(sql, ()).await.ok()?;
    Some(rows.iter().filter_map(|row| row.get("body").ok()).collect())
}
