//! A trip reserves a seat and charges a card, or does neither. docs/tutorial.md shows this program.

use sagamore::Program;
use sagamore::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Class {
    First,
    Second,
}

#[derive(Message)]
struct Trip {
    class: Class,
    card: String,
}

#[derive(Message)]
#[message(to = "seats", yields = Reserved)]
struct Reserve {
    class: Class,
}

#[derive(Debug, PartialEq, Message)]
struct Reserved {
    class: Class,
    cents: i64,
}

#[derive(Message)]
#[message(to = "seats", undoes = Reserve)]
struct Release;

#[derive(Message)]
#[message(to = "cards")]
struct Charge {
    card: String,
    cents: i64,
}

#[derive(Debug, Refusal)]
enum Declined {
    #[refusal(code = "sold-out", message = "no seat is left in class {0:?}")]
    SoldOut(Class),
    #[refusal(code = "not-enough-money", message = "card {card} holds less than {cents}")]
    NotEnoughMoney { card: String, cents: i64 },
}

const SEATS: &[Migration] = &[Migration::new(
    "0001-seat",
    "CREATE TABLE seat (class TEXT PRIMARY KEY, free BIGINT NOT NULL, cents BIGINT NOT NULL);
     INSERT INTO seat (class, free, cents) VALUES ('First', 1, 9900), ('Second', 0, 4900)",
)];

async fn reserve(tx: Tx, Reserve { class }: Reserve) -> Decided<Reserved, Declined> {
    let sql = "UPDATE seat SET free = free - 1 WHERE class = $1 AND free > 0 RETURNING cents";
    match tx.query(sql, (format!("{class:?}"),)).await?.first() {
        Some(row) => done(Reserved { class, cents: row.get(0)? }),
        None => refused(Declined::SoldOut(class)),
    }
}

async fn release(tx: Tx, Reserved { class, .. }: Reserved) -> Decided<(), Never> {
    tx.execute("UPDATE seat SET free = free + 1 WHERE class = $1", (format!("{class:?}"),)).await?;
    done(())
}

async fn charge(_tx: Tx, Charge { card, cents }: Charge) -> Decided<(), Declined> {
    if card == "BOB" { refused(Declined::NotEnoughMoney { card, cents }) } else { done(()) }
}

fn seats() -> Service {
    Service::named("seats").migrations(SEATS).action(reserve).compensation::<Release>(release)
}

fn cards() -> Service {
    Service::named("cards").action(charge)
}

fn trip() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("trip").version(1);
    let trip = saga.input::<Trip>();
    let reserve = saga.step("reserve-seat").sends(ReserveFrom { class: trip.class });
    let reserved = reserve.undone_by::<Release>().yields();
    saga.pivot("charge-card").sends(ChargeFrom { card: trip.card, cents: reserved.cents });
    saga.build()
}

fn main() -> std::process::ExitCode {
    Program::named("trip").saga(trip).service(seats).service(cards).main()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sagamore::testing::{Script, TestService};

    #[test]
    fn a_declined_card_gives_the_seat_back() {
        Script::given(trip().unwrap(), Trip { class: Class::First, card: "BOB".into() })
            .sends::<Reserve>()
            .done(Reserved { class: Class::First, cents: 9900 })
            .sends_exactly(Charge { card: "BOB".into(), cents: 9900 })
            .refused(Declined::NotEnoughMoney { card: "BOB".into(), cents: 9900 })
            .undoes(Release)
            .done()
            .ends(Status::Compensated);
    }

    #[tokio::test]
    async fn a_seat_is_sold_once() {
        let seats = TestService::of(seats()).await;
        let sold = seats.send(Reserve { class: Class::First }).await;
        assert_eq!(sold.done().cents, 9900);
        assert_eq!(seats.send(Reserve { class: Class::First }).await.refusal().code, "sold-out");
        seats.undo(&sold, Release).await.done();
    }
}
