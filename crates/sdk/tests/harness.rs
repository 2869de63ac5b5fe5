//! The test harness: its inputs and its results.

extern crate sagamore_sdk as sagamore; // for the derives

use std::time::Duration;

use sagamore_sdk::testing::TestService;
use sagamore_sdk::{
    ChainStart, Decided, Fault, Message, Migration, Never, Reaction, Refusal, Service,
    StartOutcome, Tx, done, on, refused,
};

#[derive(Clone, Message)]
#[message(to = "seats", yields = Reserved)]
struct Reserve {
    seat: String,
}

#[derive(Debug, PartialEq, Message)]
struct Reserved {
    seat: String,
}

#[derive(Message)]
#[message(to = "seats", undoes = Reserve)]
struct Release;

#[derive(Debug, Refusal)]
enum Declined {
    #[refusal(code = "not-free", message = "seat {0} is taken")]
    NotFree(String),
}

#[derive(Message)]
#[message(name = "trip.booked")]
struct TripBooked {
    seat: String,
}

#[derive(Debug, PartialEq, Message)]
#[message(name = "seat.reserved")]
struct SeatReserved {
    seat: String,
}

#[derive(Debug, PartialEq, Message)]
#[message(name = "seat.refused")]
struct SeatRefused {
    seat: String,
    code: String,
    reason: String,
}

#[derive(Message)]
#[message(name = "card.declined")]
struct CardDeclined {
    seat: String,
}

#[derive(Debug, PartialEq, Message)]
#[message(name = "seat.released")]
struct SeatReleased {
    seat: String,
}

const SEATS: &[Migration] = &[Migration::new(
    "0001-seat",
    "CREATE TABLE seat (seat TEXT PRIMARY KEY, taken BIGINT NOT NULL);
     INSERT INTO seat (seat, taken) VALUES ('12A', 0)",
)];

fn orchestrated() -> Service {
    let release = |tx: Tx, Reserved { seat }: Reserved| release(tx, seat);
    let reserve = |tx: Tx, Reserve { seat }: Reserve| async move {
        Ok(reserve(tx, seat).await?.map(|seat| Reserved { seat }))
    };
    Service::named("seats").migrations(SEATS).action(reserve).compensation::<Release>(release)
}

fn choreographed() -> Service {
    let release = |tx: Tx, SeatReserved { seat }: SeatReserved| release(tx, seat);
    let reserve = |tx: Tx, TripBooked { seat }: TripBooked| async move {
        Ok(reserve(tx, seat).await?.map(|seat| SeatReserved { seat }))
    };
    let undoing = on::<(CardDeclined,)>().says::<SeatReleased>();
    let reaction =
        Reaction::named("reserve").to(reserve).fails::<SeatRefused>().undone_by(release, undoing);
    Service::named("seats").migrations(SEATS).reaction(reaction)
}

async fn reserve(tx: Tx, seat: String) -> Decided<String, Declined> {
    if seat == "13" {
        return Err(Fault::new("out of luck"));
    }
    match tx
        .execute("UPDATE seat SET taken = taken + 1 WHERE seat = $1 AND taken = 0", (&seat,))
        .await?
    {
        0 => refused(Declined::NotFree(seat)),
        _ => done(seat),
    }
}

async fn release(tx: Tx, seat: String) -> Decided<(), Never> {
    tx.execute("UPDATE seat SET taken = taken - 1 WHERE seat = $1", (seat,)).await?;
    done(())
}

async fn taken(service: &TestService) -> i64 {
    let rows = service
        .database()
        .query("SELECT taken FROM seat WHERE seat = '12A'", ())
        .await
        .expect("read");
    rows[0].get(0).expect("a number")
}

fn seat(seat: &str) -> Reserve {
    Reserve { seat: seat.into() }
}

#[tokio::test]
async fn a_command_is_done_refused_or_a_fault() {
    let service = TestService::of(orchestrated()).await;
    assert_eq!(service.send(seat("12A")).await.done(), &Reserved { seat: "12A".into() });
    assert_eq!(
        service.send(seat("12A")).await.refusal(),
        &Refusal::new("not-free", "seat 12A is taken")
    );
    assert_eq!(service.send(seat("13")).await.fault(), "out of luck");
}

#[tokio::test]
async fn a_redelivered_command_has_its_stored_reply_and_one_effect() {
    let service = TestService::of(orchestrated()).await;
    let first = service.send(seat("12A")).await;
    assert_eq!(service.redeliver(&first).await.done(), first.done());
    assert_eq!(taken(&service).await, 1);
}

#[tokio::test]
async fn an_undo_takes_effect_once() {
    let service = TestService::of(orchestrated()).await;
    let reserved = service.send(seat("12A")).await;
    service.undo(&reserved, Release).await.done();
    service.undo(&reserved, Release).await.done();
    service.redeliver(&reserved).await.done(); // the stored reply
    assert_eq!(taken(&service).await, 0);
}

#[tokio::test]
async fn an_action_that_its_undo_overtook_never_runs() {
    let service = TestService::of(orchestrated()).await;
    assert_eq!(
        service.undo_first(seat("12A"), Release).await.refusal().code,
        "already-compensated"
    );
    assert_eq!(taken(&service).await, 0);
}

#[tokio::test]
#[should_panic(expected = "the outcome of 'seats.reserve' is a fault: out of luck")]
async fn a_reply_reports_an_unexpected_outcome() {
    TestService::of(orchestrated()).await.send(seat("13")).await.done();
}

#[tokio::test]
#[should_panic(expected = "service 'seats' has no handler for 'seats.release'")]
async fn a_command_without_a_handler_fails_the_test() {
    let service = TestService::of(Service::named("seats").migrations(SEATS).action(
        |tx: Tx, Reserve { seat }: Reserve| async {
            Ok(reserve(tx, seat).await?.map(|seat| Reserved { seat }))
        },
    ));
    let service = service.await;
    let reserved = service.send(seat("12A")).await;
    service.undo(&reserved, Release).await;
}

#[tokio::test]
async fn a_reaction_emits_its_success_its_failure_and_its_undo() {
    let service = TestService::of(choreographed()).await;
    let booked = || TripBooked { seat: "12A".into() };
    assert_eq!(
        service.publish("1", booked()).await.only::<SeatReserved>(),
        SeatReserved { seat: "12A".into() }
    );
    let failed = SeatRefused {
        seat: "12A".into(),
        code: "not-free".into(),
        reason: "seat 12A is taken".into(),
    };
    assert_eq!(service.publish("2", booked()).await.only::<SeatRefused>(), failed);
    let undone = service.publish("1", CardDeclined { seat: "12A".into() }).await;
    assert_eq!(undone.only::<SeatReleased>(), SeatReleased { seat: "12A".into() });
    assert_eq!(taken(&service).await, 0);
}

#[tokio::test]
async fn a_fault_of_a_reaction_is_visible_and_runs_again_later() {
    let service = TestService::of(choreographed()).await;
    let events = service.publish("1", TripBooked { seat: "13".into() }).await;
    assert_eq!(
        (events.names(), events.faults()),
        (vec![], &["reserve: out of luck".to_owned()][..])
    );
    service.time_passes(Duration::from_secs(3600)).await;
    assert!(service.emitted().await.names().is_empty());
}

#[tokio::test]
async fn a_chain_starts_through_the_outbox() {
    let starts = Service::named("seats")
        .migrations(SEATS)
        .reaction(Reaction::named("reserve").begins::<SeatReserved>());
    let service = TestService::of(starts).await;
    let chain = "trip:1".parse().expect("a chain");
    let open = service.database().begin().await.expect("begin");
    let start = ChainStart::new(&chain, "reserve", service.outbox().now().await.expect("now"));
    let event = SeatReserved { seat: "12A".into() };
    let outcome = service.outbox().begin(&open.tx(), start, &event).await.expect("begin");
    open.commit().await.expect("commit");
    service.outbox().wake();
    assert_eq!(
        (outcome, service.emitted().await.only::<SeatReserved>()),
        (StartOutcome::New, event)
    );
}

#[derive(Message)]
#[message(to = "teller", yields = Paid)]
struct PayOut {
    cents: i64,
}

#[derive(Message)]
#[message(schema)]
struct Paid {
    #[message(minimum = 1)]
    cents: i64,
}

/// The schema comes from the type of the output.
#[tokio::test]
async fn an_output_that_does_not_fit_its_schema_is_a_fault_and_stores_nothing() {
    const MIGRATIONS: &[Migration] =
        &[Migration::new("0001", "CREATE TABLE paid (cents BIGINT NOT NULL)")];
    async fn pay(tx: Tx, PayOut { cents }: PayOut) -> Decided<Paid, Never> {
        tx.execute("INSERT INTO paid (cents) VALUES ($1)", (cents,)).await?;
        done(Paid { cents })
    }
    let teller = TestService::of(Service::named("teller").migrations(MIGRATIONS).action(pay)).await;
    let wrong = teller.send(PayOut { cents: 0 }).await;
    let fault = wrong.fault();
    assert!(fault.contains("teller.pay-out") && fault.contains("/cents"), "{fault}");
    assert!(!fault.contains(": 0"), "the value is not shown: {fault}");
    let rows = async |sql: &str| {
        let rows = teller.database().query(sql, ()).await.expect(sql);
        rows[0].get::<i64>(0).expect("a count")
    };
    assert_eq!(rows("SELECT count(*) FROM paid").await, 0, "the handler's write is rolled back");
    let stored = "SELECT count(*) FROM barrier WHERE status IN ('done', 'refused')";
    assert_eq!(rows(stored).await, 0);
    assert_eq!(teller.send(PayOut { cents: 1 }).await.done().cents, 1);
    assert_eq!(rows("SELECT count(*) FROM paid").await, 1);
}
