//! Parts of a batch, each with one transaction and one publish, bounded by the bytes of its sagas
//! and arrivals.

use std::collections::HashMap;

use sagamore_core::id::SagaId;

use super::Arrival;
use super::Arrivals;
use crate::error::Error;
use crate::orchestrator::Orchestrator;

impl Orchestrator {
    /// Splits a batch in the order of its sagas. Returns one part if everything fits. Only an empty
    /// batch has an empty part.
    pub(crate) async fn parts(&mut self, arrivals: Arrivals) -> Result<Vec<Arrivals>, Error> {
        let bytes_max = self.pace.bytes(self.options.batch_bytes_max);
        let unknown = arrivals.iter().filter(|(id, of_saga)| {
            // a start is as large as the saga that it begins or repeats
            self.live.bytes_of(id).is_none()
                && !of_saga.iter().all(|arrival| matches!(arrival, Arrival::Start(_)))
        });
        let unknown: Vec<&SagaId> = unknown.map(|(id, _)| id).collect();
        let stored =
            if unknown.is_empty() { HashMap::new() } else { self.store.bytes(&unknown).await? };
        let (mut parts, mut bytes) = (vec![Arrivals::new()], 0);
        for (id, of_saga) in arrivals {
            let of_it = self
                .live
                .bytes_of(&id)
                .or_else(|| stored.get(id.as_str()).copied())
                .unwrap_or_default();
            let more = of_it + of_saga.iter().map(Arrival::bytes).sum::<usize>();
            let is_full = bytes + more > bytes_max;
            match parts.last_mut() {
                Some(part) if !is_full || part.is_empty() => {
                    part.insert(id, of_saga);
                    bytes += more;
                }
                _ => {
                    parts.push(Arrivals::from([(id, of_saga)]));
                    bytes = more;
                }
            }
        }
        Ok(parts)
    }
}

impl Arrival {
    fn bytes(&self) -> usize {
        match self {
            Arrival::Start(start) => start.input.as_str().len(),
            Arrival::Reply(stray) | Arrival::Unstorable(stray, _) => stray.delivery.record.bytes(),
            Arrival::Verb(_) | Arrival::Watch(_) | Arrival::Due | Arrival::Rejected(_) => 0,
        }
    }
}
