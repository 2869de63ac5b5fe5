//! Isolation of messages that the database rejects or sagas that cannot be read, so that all others
//! proceed.

use sagamore_database::Error as DatabaseError;

use super::{Answer, Arrival, Arrivals, RejectReason, Settlement, reject};
use crate::error::{Error, StartError, VerbError};
use crate::request::Recipient;

/// Halves arrivals that cannot be stored together. The first half is last, because groups are
/// popped.
///
/// A single arrival is answered; a single reply returns as [`Arrival::Unstorable`].
pub(super) fn narrow(
    mut arrivals: Arrivals,
    why: DatabaseError,
    settled: &mut Settlement,
) -> Result<Vec<Arrivals>, Error> {
    if arrivals.len() > 1 {
        let middle = arrivals.keys().nth(arrivals.len() / 2).cloned();
        let upper = middle.map(|middle| arrivals.split_off(&middle)).unwrap_or_default();
        return Ok(vec![upper, arrivals]);
    }
    let Some((id, mut of_saga)) = arrivals.pop_first() else { return Ok(Vec::new()) };
    if of_saga.len() > 1 {
        let upper = of_saga.split_off(of_saga.len() / 2);
        return Ok(vec![Arrivals::from([(id.clone(), upper)]), Arrivals::from([(id, of_saga)])]);
    }
    match of_saga.pop() {
        Some(Arrival::Reply(stray)) => {
            tracing::error!(saga = %id, %why, "the database rejected a reply: step set aside");
            let unstorable = Arrival::Unstorable(stray, why.to_string());
            Ok(vec![Arrivals::from([(id, vec![unstorable])])])
        }
        // These contain no data of a message, so the error has another cause.
        Some(Arrival::Unstorable(..) | Arrival::Due | Arrival::Rejected(_) | Arrival::Watch(_)) => {
            Err(why.into())
        }
        Some(Arrival::Start(start)) => {
            let why = StartError::bad_input(format!("the database cannot store it: {why}"));
            settled.answers.push(Answer::Start(start.accepted, Err(why)));
            Ok(Vec::new())
        }
        Some(verb @ Arrival::Verb(_)) => {
            refuse(verb, &format!("the database cannot store it: {why}"), settled);
            Ok(Vec::new())
        }
        None => Ok(Vec::new()),
    }
}

/// Answers the sender that its input had no effect, with the reason.
pub(super) fn refuse(arrival: Arrival, why: &str, settled: &mut Settlement) {
    match arrival {
        Arrival::Start(start) => {
            settled
                .answers
                .push(Answer::Start(start.accepted, Err(StartError::Unavailable(why.to_owned()))));
        }
        Arrival::Verb(verb) => {
            let why = Err(VerbError::Unavailable(why.to_owned()));
            match verb.recipient {
                Recipient::Here(done) => settled.answers.push(Answer::Verb(done, why)),
                Recipient::Elsewhere(id) => settled.refused.push((id, why)),
            }
        }
        Arrival::Watch(waiter) => {
            // the caller may have dropped its receiver
            let _ = waiter.send(Err(VerbError::Unavailable(why.to_owned())));
        }
        Arrival::Reply(stray) | Arrival::Unstorable(stray, _) => {
            if !stray.is_dead {
                settled.dead_letters.push(reject(&stray.delivery, RejectReason::SetAside, why));
            }
        }
        Arrival::Due | Arrival::Rejected(_) => {}
    }
}
