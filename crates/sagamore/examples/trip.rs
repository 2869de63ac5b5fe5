//! An orchestrated saga without `Program`: a trip reserves a seat, charges a card and issues a
//! ticket, or none of these.
//!
//! Three services and an orchestrator in one process, quoted by docs/program.md.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use sagamore::engine::{Handle, Orchestrator, Start};
use sagamore::prelude::*;
use sagamore::sdk::Participant;
use sagamore::transport::{Log, Transport, log};
use tokio::task::JoinSet;

/// The input of the saga.
#[derive(Message)]
struct Trip {
    trip_id: String,
    seat: String,
    card: String,
}

#[derive(Message)]
#[message(to = "seats", yields = Reserved)]
struct Reserve {
    trip_id: String,
    seat: String,
}

/// The data that later steps and the compensation need. The compensation has no other input.
#[derive(Message)]
struct Reserved {
    trip_id: String,
    seat: String,
    cents: i64,
}

#[derive(Message)]
#[message(to = "seats", undoes = Reserve)]
struct Release;

#[derive(Message)]
#[message(to = "bank")]
struct Charge {
    card: String,
    cents: i64,
}

#[derive(Message)]
#[message(to = "tickets")]
struct Issue {
    trip_id: String,
    seat: String,
}

/// The reasons of a refusal.
#[derive(Debug, Refusal)]
enum Declined {
    #[refusal(code = "not-free", message = "seat {0} is not free")]
    NotFree(String),
    #[refusal(code = "not-enough-money", message = "card {0} holds too little")]
    NotEnoughMoney(String),
}

const SEATS: &[Migration] = &[Migration::new(
    "0001-seat",
    "CREATE TABLE seat (seat TEXT PRIMARY KEY, cents BIGINT NOT NULL, trip_id TEXT);
     INSERT INTO seat (seat, cents) VALUES ('12A', 4900)",
)];
const CARDS: &[Migration] = &[Migration::new(
    "0001-card",
    "CREATE TABLE card (card TEXT PRIMARY KEY, cents BIGINT NOT NULL);
     INSERT INTO card (card, cents) VALUES ('ADA', 10000), ('BOB', 100)",
)];
const TICKETS: &[Migration] =
    &[Migration::new("0001-ticket", "CREATE TABLE ticket (trip_id TEXT PRIMARY KEY, seat TEXT)")];

async fn reserve(tx: Tx, Reserve { trip_id, seat }: Reserve) -> Decided<Reserved, Declined> {
    let sql = "UPDATE seat SET trip_id = $1 WHERE seat = $2 AND trip_id IS NULL RETURNING cents";
    match tx.query(sql, (&trip_id, &seat)).await?.first() {
        Some(row) => done(Reserved { trip_id, seat, cents: row.get(0)? }),
        None => refused(Declined::NotFree(seat)),
    }
}

async fn release(tx: Tx, Reserved { trip_id, seat, .. }: Reserved) -> Decided<(), Never> {
    tx.execute("UPDATE seat SET trip_id = NULL WHERE seat = $1 AND trip_id = $2", (seat, trip_id))
        .await?;
    done(())
}

async fn charge(tx: Tx, Charge { card, cents }: Charge) -> Decided<(), Declined> {
    let sql = "UPDATE card SET cents = cents - $2 WHERE card = $1 AND cents >= $2";
    let charged = tx.execute(sql, (&card, cents)).await?;
    if charged == 1 { done(()) } else { refused(Declined::NotEnoughMoney(card)) }
}

async fn issue(tx: Tx, Issue { trip_id, seat }: Issue) -> Decided<(), Never> {
    tx.execute("INSERT INTO ticket (trip_id, seat) VALUES ($1, $2)", (trip_id, seat)).await?;
    done(())
}

fn services() -> [Service; 3] {
    [
        Service::named("seats").migrations(SEATS).action(reserve).compensation::<Release>(release),
        Service::named("bank").migrations(CARDS).action(charge),
        Service::named("tickets").migrations(TICKETS).action(issue),
    ]
}

/// The definition. After the card's command, only a refusal turns the saga back.
fn trip() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("trip").version(1);
    let trip = saga.input::<Trip>();
    saga.keyed_by(trip.trip_id);

    let reserved = saga
        .step("reserve-seat")
        .sends(ReserveFrom { trip_id: trip.trip_id, seat: trip.seat })
        .undone_by::<Release>()
        .yields();

    saga.pivot("charge-card").sends(ChargeFrom { card: trip.card, cents: reserved.cents });

    saga.retriable("issue-ticket").sends(IssueFrom { trip_id: trip.trip_id, seat: reserved.seat });

    saga.build()
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    // in a permanent one, unfinished sagas continue at the next start
    let directory = tempfile::tempdir()?;
    let database =
        |name: &str| Database::sqlite(&directory.path().join(name).with_extension("sqlite"));
    let transport: Arc<dyn Transport> =
        Arc::new(Log::open(&directory.path().join("log"), log::Options::default())?);
    let mut tasks: JoinSet<Result<(), Fault>> = JoinSet::new();

    let [seats, bank, tickets] = [database("seats")?, database("bank")?, database("tickets")?];
    for (service, database) in services().into_iter().zip([&seats, &bank, &tickets]) {
        let options = sagamore::sdk::Options::default();
        let participant = Participant::new(service, database.clone(), transport.clone(), options);
        tasks.spawn(async { Ok(participant.run(pending()).await?) });
    }
    let options = sagamore::engine::Options::default();
    let (orchestrator, handle) =
        Orchestrator::open(options, database("engine")?, transport, vec![trip()?]).await?;
    tasks.spawn(async { Ok(orchestrator.run(pending()).await?) });

    tokio::select! {
        outcome = two_trips(&handle, &seats) => outcome,
        Some(ended) = tasks.join_next() => ended?, // only an error ends a task
    }
}

/// Both trips want the same seat, and Bob's trip is first.
async fn two_trips(handle: &Handle, seats: &Database) -> Result<(), Fault> {
    assert_eq!(book(handle, "1", "BOB").await?, Status::Compensated);
    assert_eq!(holder(seats).await?, None, "the seat is free again");
    assert_eq!(book(handle, "2", "ADA").await?, Status::Completed);
    assert_eq!(holder(seats).await?.as_deref(), Some("2"));
    Ok(())
}

/// Starts a saga, waits for its outcome, and prints it.
async fn book(handle: &Handle, trip_id: &str, card: &str) -> Result<Status, Fault> {
    let input = Body::of(&Trip { trip_id: trip_id.into(), seat: "12A".into(), card: card.into() })?;
    let start = Start::new("trip".parse()?, trip_id, input);
    let (started, _) = handle.start_and_wait(start, Duration::from_secs(10)).await?;
    let saga = handle
        .show(&started.id)
        .await?
        .ok_or_else(|| Fault::new("the started saga does not exist"))?
        .saga;
    let refusals = saga.steps.iter().filter_map(|step| step.refusal.as_ref());
    let why: String =
        refusals.map(|refusal| format!(": {} ({})", refusal.message, refusal.code)).collect();
    println!("{} {}{why}", saga.id, saga.status.as_str());
    Ok(saga.status)
}

/// Returns the trip that has the seat.
async fn holder(seats: &Database) -> Result<Option<String>, Fault> {
    let rows = seats.query("SELECT trip_id FROM seat WHERE seat = $1", ("12A",)).await?;
    Ok(rows.first().ok_or_else(|| Fault::new("there is no such seat"))?.get(0)?)
}

#[cfg(test)]
mod tests {
    use sagamore::testing::{Script, TestService};

    use super::*;

    #[test]
    fn the_first_trip_is_compensated_and_the_second_completes() {
        main().expect("the assertions of main hold");
    }

    #[test]
    fn a_declined_card_releases_the_seat() {
        let (trip_id, seat) = (|| "1".to_owned(), || "12A".to_owned());
        Script::given(
            trip().unwrap(),
            Trip { trip_id: trip_id(), seat: seat(), card: "BOB".into() },
        )
        .sends_exactly(Reserve { trip_id: trip_id(), seat: seat() })
        .done(Reserved { trip_id: trip_id(), seat: seat(), cents: 4900 })
        .sends_exactly(Charge { card: "BOB".into(), cents: 4900 })
        .refused(Declined::NotEnoughMoney("BOB".into()))
        .undoes(Release)
        .done()
        .ends(Status::Compensated);
    }

    #[tokio::test]
    async fn a_seat_is_reserved_once_until_its_release() {
        let (trip_id, seat) = (|| "1".to_owned(), || "12A".to_owned());
        let [seats, ..] = services();
        let seats = TestService::of(seats).await;
        let reserved = seats.send(Reserve { trip_id: trip_id(), seat: seat() }).await;
        assert_eq!(reserved.done().cents, 4900);
        assert_eq!(
            seats.send(Reserve { trip_id: trip_id(), seat: seat() }).await.refusal().code,
            "not-free"
        );
        seats.undo(&reserved, Release).await.done();
        seats.send(Reserve { trip_id: trip_id(), seat: seat() }).await.done();
    }
}
