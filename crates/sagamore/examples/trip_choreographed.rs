//! The trip of `trip.rs` as a choreography: each service reacts to the events of the others.
//!
//! Three services and an observer in one process, quoted by docs/choreograph.md.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use sagamore::engine::{ChainStatus, Chains, Observer, ObserverOptions};
use sagamore::prelude::*;
use sagamore::sdk::{Options, Participant};
use sagamore::transport::{Log, Transport, log};
use tokio::task::JoinSet;

const VERSION: u32 = 1;

#[derive(Message)]
#[message(name = "seat.reserved")]
struct SeatReserved {
    trip_id: String,
    seat: String,
    card: String,
    cents: i64,
}

#[derive(Message)]
#[message(name = "seat.released")]
struct SeatReleased {
    trip_id: String,
}

#[derive(Message)]
#[message(name = "card.charged")]
struct CardCharged {
    trip_id: String,
}

/// `code` and `reason` come from the refusal, the other fields from the event that caused the
/// reaction.
#[derive(Message)]
#[message(name = "card.declined")]
struct CardDeclined {
    trip_id: String,
    code: String,
    reason: String,
}

#[derive(Message)]
#[message(name = "ticket.issued")]
struct TicketIssued {
    trip_id: String,
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

/// Takes the seat and starts the chain in one transaction. A repeated call starts no second chain.
async fn reserve(
    seats: &Database,
    outbox: &Outbox,
    chain: &SagaId,
    card: &str,
) -> Decided<StartOutcome, Declined> {
    let (trip_id, seat, card) = (chain.key().to_owned(), "12A".to_owned(), card.to_owned());
    let open = seats.begin().await?; // dropped without a commit, it rolls back
    let tx = open.tx();
    if outbox.begun::<SeatReserved>(&tx, chain, "reserve").await?.is_some() {
        return done(StartOutcome::Before);
    }
    let sql = "UPDATE seat SET trip_id = $1 WHERE seat = $2 AND trip_id IS NULL RETURNING cents";
    let taken = tx.query(sql, (&trip_id, &seat)).await?;
    let Some(row) = taken.first() else { return refused(Declined::NotFree(seat)) };
    let start = ChainStart::new(chain, "reserve", outbox.now().await?).version(VERSION);
    let reserved = SeatReserved { trip_id, seat, card, cents: row.get(0)? };
    let begun = outbox.begin(&tx, start, &reserved).await?;
    if begun == StartOutcome::New {
        open.commit().await?;
        outbox.wake();
    }
    done(begun)
}

async fn release(tx: Tx, SeatReserved { trip_id, seat, .. }: SeatReserved) -> Decided<(), Never> {
    tx.execute("UPDATE seat SET trip_id = NULL WHERE seat = $1 AND trip_id = $2", (seat, trip_id))
        .await?;
    done(())
}

async fn charge(tx: Tx, reserved: SeatReserved) -> Decided<CardCharged, Declined> {
    let SeatReserved { trip_id, card, cents, .. } = reserved;
    let sql = "UPDATE card SET cents = cents - $2 WHERE card = $1 AND cents >= $2";
    let charged = tx.execute(sql, (&card, cents)).await?;
    if charged == 0 {
        return refused(Declined::NotEnoughMoney(card));
    }
    done(CardCharged { trip_id })
}

async fn issue(
    tx: Tx,
    CardCharged { trip_id }: CardCharged,
    reserved: SeatReserved,
) -> Decided<TicketIssued, Never> {
    tx.execute("INSERT INTO ticket (trip_id, seat) VALUES ($1, $2)", (&trip_id, reserved.seat))
        .await?;
    done(TicketIssued { trip_id })
}

fn services() -> [Service; 3] {
    let reserve = Reaction::named("reserve")
        .begins::<SeatReserved>()
        .undone_by(release, on::<(CardDeclined,)>().says::<SeatReleased>());
    let charge = Reaction::named("charge").to(charge).fails::<CardDeclined>().pivot();
    let issue = Reaction::named("issue").to_both(issue).never_after::<(CardDeclined,)>();
    [
        Service::named("seats").migrations(SEATS).reaction(reserve),
        Service::named("bank").migrations(CARDS).reaction(charge),
        Service::named("tickets").migrations(TICKETS).reaction(issue),
    ]
}

/// Derives the plan from the services. An observer compares chains with it.
fn plan() -> Result<Plan, plan::Error> {
    let plan = Plan::from_services("trip", &services()).version(VERSION);
    plan.deadline(Duration::from_secs(60)).build()
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    // in a permanent one, unfinished chains continue at the next start
    let directory = tempfile::tempdir()?;
    let database =
        |name: &str| Database::sqlite(&directory.path().join(name).with_extension("sqlite"));
    let transport: Arc<dyn Transport> =
        Arc::new(Log::open(&directory.path().join("log"), log::Options::default())?);
    let mut tasks: JoinSet<Result<(), Fault>> = JoinSet::new();

    let plan = plan()?;
    let [seats, bank, tickets] = [database("seats")?, database("bank")?, database("tickets")?];
    let mut outboxes = Vec::new();
    for (service, database) in services().into_iter().zip([&seats, &bank, &tickets]) {
        let mut participant =
            Participant::new(service, database.clone(), transport.clone(), Options::default());
        participant.prepare().await?;
        outboxes.push(participant.outbox());
        tasks.spawn(async { Ok(participant.run(pending()).await?) });
    }
    let options = ObserverOptions::default();
    let (observer, chains) =
        Observer::open(options, database("observer")?, transport, vec![plan]).await?;
    tasks.spawn(async { Ok(observer.run(pending()).await?) });

    tokio::select! {
        outcome = two_trips(&seats, &outboxes[0], &chains) => outcome, // seats starts the chains
        Some(ended) = tasks.join_next() => ended?, // only an error ends a task
    }
}

/// Both trips want the same seat, and Bob's trip is first.
async fn two_trips(seats: &Database, outbox: &Outbox, chains: &Chains) -> Result<(), Fault> {
    let (first, second): (SagaId, SagaId) = ("trip:1".parse()?, "trip:2".parse()?);
    assert_eq!(reserve(seats, outbox, &first, "BOB").await??, StartOutcome::New);
    assert_eq!(outcome(chains, &first).await?, Some(ChainStatus::Compensated));
    assert_eq!(holder(seats).await?, None, "the seat is free again");
    assert_eq!(reserve(seats, outbox, &second, "ADA").await??, StartOutcome::New);
    assert_eq!(outcome(chains, &second).await?, Some(ChainStatus::Completed));
    assert_eq!(holder(seats).await?.as_deref(), Some("2"));
    assert_eq!(reserve(seats, outbox, &second, "ADA").await??, StartOutcome::Before);
    Ok(())
}

/// Waits for a chain's outcome, and prints it.
async fn outcome(chains: &Chains, chain: &SagaId) -> Result<Option<ChainStatus>, Fault> {
    let status = chains.wait(chain, Duration::from_secs(10)).await?;
    let events = chains.show(chain).await?.map_or(Vec::new(), |detail| detail.events);
    let names: Vec<&str> = events.iter().map(|event| event.seen.name.as_str()).collect();
    println!("{chain} {}: {}", status.map_or("unknown", ChainStatus::as_str), names.join(", "));
    Ok(status)
}

/// Returns the trip that has the seat.
async fn holder(seats: &Database) -> Result<Option<String>, Fault> {
    let rows = seats.query("SELECT trip_id FROM seat WHERE seat = $1", ("12A",)).await?;
    Ok(rows.first().ok_or_else(|| Fault::new("there is no such seat"))?.get(0)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_trip_is_compensated_and_the_second_completes() {
        super::main().expect("the assertions of main hold");
    }
}
