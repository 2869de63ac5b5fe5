//! The announcements of participants: a task stores them, and views warn of messages that no live
//! process handles. No saga and no chain depends on them.

mod rows;
mod warning;

mod sent;

mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::{Name, Timestamp};

use crate::error::Error;

pub(crate) use reader::ReaderTask;
pub use reader::{AnnouncementReader, GROUP_SUFFIX};
pub(crate) use rows::MIGRATIONS as ANNOUNCEMENT_MIGRATIONS;
pub use rows::{AnnouncedProcess, Announcements, LIVE_FOR};
pub use sent::SentMessage;
pub use warning::Warning;

impl Announcements {
    /// Returns the warnings about these messages as of `now`, by the database's clock: at most one
    /// per message, in the order of the messages.
    ///
    /// # Errors
    /// The database failed. A failed query of the topics only omits their warnings.
    pub async fn warnings(
        &self,
        sent: &[SentMessage],
        now: Timestamp,
    ) -> Result<Vec<Warning>, Error> {
        let mut warnings = self.missing_topics(sent).await;
        let mut announced: BTreeMap<&Name, Vec<AnnouncedProcess>> = BTreeMap::new();
        for message in sent {
            let participant = &message.participant;
            let processes = match announced.get(participant) {
                Some(processes) => processes,
                None => {
                    let processes = self.processes(participant).await?;
                    if processes.is_empty() {
                        let participant = participant.clone();
                        warnings.push(Warning::NeverAnnounced { participant });
                    }
                    announced.entry(participant).or_insert(processes)
                }
            };
            if !processes.is_empty() {
                warnings.extend(message.warning(processes, now));
            }
        }
        Ok(warnings)
    }

    async fn missing_topics(&self, sent: &[SentMessage]) -> Vec<Warning> {
        let mut topics: Vec<Arc<str>> = sent.iter().map(SentMessage::topic).collect();
        topics.sort();
        topics.dedup();
        let mut missing = Vec::new();
        let ask = async {
            for topic in topics {
                match self.topic_exists(&topic).await {
                    Some(true) => {}
                    Some(false) => missing.push(Warning::MissingTopic { topic: topic.to_string() }),
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(rows::QUERY_MAX, ask).await; // the warnings so far suffice
        missing
    }
}
