//! A second, trivial domain: a party. Its definition branches, its steps may be given up, and its
//! handlers have chosen outcomes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sagamore_core::{Definition, definition};
use sagamore_database::Database;
use sagamore_sdk::{Decided, Fault, Message, Refusal, Service, Tx, done, refused};
use serde::{Deserialize, Serialize};

use crate::checker::Audit;
use crate::faults::Fault as Odd;
use crate::rows::{get, read_rows};
use crate::theme::Theme;
use crate::watched::Shared;

/// The outcome of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mood {
    /// Success.
    Calm,
    /// A refusal, before any write.
    Refuses,
    /// A refusal after a write.
    WritesAndRefuses,
    /// Success, but the undo is refused until an operator repairs it.
    Clings,
    /// A fault, until an operator repairs it or the world has healed.
    Breaks,
    /// Success, but the undo is a fault until an operator repairs it or the world has healed.
    Sticks,
}

/// The input of a party.
#[derive(Clone, Debug, Message)]
pub struct Party {
    /// The business key.
    pub party_id: String,
    /// The outcome of `book-hall`.
    pub hall: Mood,
    /// The outcome of `hire-band`.
    pub band: Mood,
    /// The outcome of `order-food`.
    pub food: Mood,
    /// The outcome of `pay-all`.
    pub pay: Mood,
    /// The outcome of `send-cards`.
    pub cards: Mood,
}

impl Mood {
    /// Returns a different outcome.
    pub fn other(self) -> Mood {
        if self == Mood::Calm { Mood::Refuses } else { Mood::Calm }
    }

    fn draw(rng: &mut fastrand::Rng) -> Mood {
        match rng.u8(0..18) {
            0 | 1 => Mood::Refuses,
            2 => Mood::WritesAndRefuses,
            3..6 => Mood::Clings,
            6 => Mood::Breaks,
            7 => Mood::Sticks,
            _ => Mood::Calm,
        }
    }

    /// Returns the same outcome with a successful undo.
    fn without_undo(self) -> Mood {
        match self {
            Mood::Clings | Mood::Sticks => Mood::Calm,
            mood => mood,
        }
    }
}

impl Party {
    /// Draws a party. Most are calm. Themes with operators' decisions have troubled ones.
    pub fn draw(party_id: &str, theme: Theme, rng: &mut fastrand::Rng) -> Party {
        let party_id = party_id.to_owned();
        if theme == Theme::Verbs || theme == Theme::Retention && rng.bool() {
            use Mood::{Breaks, Calm, Clings, Refuses, Sticks};
            let mut one_of = |moods: &[Mood]| moods[rng.usize(0..moods.len())];
            let hall = one_of(&[Calm, Calm, Clings, Sticks, Breaks]);
            let (band, food) =
                (one_of(&[Calm, Calm, Refuses]), one_of(&[Calm, Clings, Clings, Sticks]));
            let (pay, cards) = (one_of(&[Calm, Refuses, Breaks]), one_of(&[Calm, Refuses, Breaks]));
            return Party { party_id, hall, band, food, pay, cards };
        }
        let hall = match Mood::draw(rng) {
            mood @ (Mood::Clings | Mood::Sticks) => mood,
            _ => Mood::Calm,
        };
        let [band, food, pay, cards] = [(); 4].map(|()| Mood::draw(rng));
        Party { party_id, hall, band, food, pay: pay.without_undo(), cards: cards.without_undo() }
    }
}

/// The output of a booking.
#[derive(Clone, Debug, Message)]
pub struct Booking {
    /// The party's key.
    pub party_id: String,
    /// The outcome of the undo.
    pub mood: Mood,
}

macro_rules! sends {
    ($action:ident $to:literal $(yields $output:ident)? $(undone by $undo:ident)?) => {
        #[doc = "A command of a step."]
        #[derive(Clone, Debug, Message)]
        #[message(to = $to $(, yields = $output)?)]
        pub struct $action {
            #[doc = "The party's key."]
            pub party_id: String,
            #[doc = "The outcome of the handler."]
            pub mood: Mood,
        }
        $(
            #[doc = "The undo of a step."]
            #[derive(Clone, Debug, Message)]
            #[message(to = $to, undoes = $action)]
            pub struct $undo {
                #[doc = "The party's key."]
                pub party_id: String,
            }
        )?
    };
}

sends!(BookHall "hall" yields Booking undone by FreeHall);
sends!(HireBand "guild" undone by SendBandHome);
sends!(OrderFood "guild" yields Booking undone by CancelFood);
sends!(PayAll "hall");
sends!(SendCards "guild");
sends!(TidyUp "hall");

/// Returns the definition. Band and food run in parallel, as do cards and tidying.
pub fn party() -> Result<Definition, definition::Error> {
    let (soon, late) = (Duration::from_millis(200), Duration::from_secs(2));
    let mut saga = Definition::named("party").version(1).deadline(Duration::from_secs(40));
    let PartyFrom { party_id, hall, band, food, pay, cards } = saga.input::<Party>();
    saga.step("book-hall")
        .sends(BookHallFrom { party_id, mood: hall })
        .undone_by_with(FreeHallFrom { party_id })
        .timeout(Duration::from_secs(3))
        .backoff(soon, late);
    saga.step("hire-band")
        .sends(HireBandFrom { party_id, mood: band })
        .undone_by_with(SendBandHomeFrom { party_id })
        .after(["book-hall"])
        .timeout(Duration::from_millis(800))
        .attempts(2)
        .backoff(soon, late);
    saga.step("order-food")
        .sends(OrderFoodFrom { party_id, mood: food })
        .undone_by_with(CancelFoodFrom { party_id })
        .after(["book-hall"])
        .timeout(Duration::from_millis(800))
        .attempts(2)
        .backoff(soon, late);
    saga.pivot("pay-all")
        .sends(PayAllFrom { party_id, mood: pay })
        .after(["hire-band", "order-food"])
        .timeout(late)
        .backoff(soon, late);
    saga.retriable("send-cards")
        .sends(SendCardsFrom { party_id, mood: cards })
        .after(["pay-all"])
        .timeout(late)
        .backoff(soon, late);
    saga.retriable("tidy-up")
        .sends(TidyUpFrom { party_id, mood: hall })
        .after(["pay-all"])
        .timeout(late)
        .backoff(soon, late);
    saga.build()
}

/// The environment of the handlers: chance and repairs.
#[derive(Clone)]
pub struct Outside {
    /// The source of chance.
    pub world: Shared,
    /// Parties and feasts that an operator has repaired.
    pub repaired: Arc<Mutex<BTreeSet<String>>>,
}

impl Outside {
    /// Creates an environment without repairs.
    pub fn new(world: &Shared) -> Outside {
        Outside { world: world.clone(), repaired: Arc::default() }
    }

    /// Lets all handlers of this party succeed from now on.
    pub fn repair(&self, party_id: &str) {
        self.repaired
            .lock()
            .expect("nothing panics while this is held")
            .insert(party_id.to_owned());
    }

    /// Whether all handlers of this party succeed.
    pub fn is_repaired(&self, party_id: &str) -> bool {
        self.repaired.lock().expect("nothing panics while this is held").contains(party_id)
    }
}

/// The refusal of every service.
#[derive(Debug, Refusal)]
#[refusal(code = "not-today", message = "not today")]
struct NotToday;

async fn effect(tx: &Tx, party_id: &str, step: &str, direction: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO sim_effect (saga, step, direction) VALUES ($1, $2, $3)";
    tx.execute(sql, (format!("party:{party_id}"), step, direction)).await?;
    Ok(())
}

/// The key of all commands that book or release helpers.
const HELPERS: &str = "helpers";

/// A failing statement: an effect needs a saga.
const BROKEN: &str = "INSERT INTO sim_effect (saga, step, direction) VALUES (NULL, $1, 'action')";

async fn act(
    outside: Outside,
    tx: Tx,
    step: &str,
    party_id: &str,
    mood: Mood,
) -> Decided<(), NotToday> {
    let repaired = outside.is_repaired(party_id);
    if mood == Mood::Refuses && !repaired {
        return refused(NotToday);
    }
    if mood == Mood::Breaks && !repaired && !outside.world.is_healed() {
        return Err(Fault::new("it is broken"));
    }
    if outside.world.strikes(Odd::Swallowed) {
        let _ = tx.execute(BROKEN, (step,)).await; // ignores the failed statement
        return done(());
    }
    effect(&tx, party_id, step, "action").await?;
    if mood == Mood::WritesAndRefuses && !repaired {
        return refused(NotToday);
    }
    if outside.world.strikes(Odd::HandlerFault) {
        return Err(Fault::new("injected by the simulator"));
    }
    done(())
}

async fn undo(
    outside: Outside,
    tx: Tx,
    step: &str,
    party_id: &str,
    mood: Mood,
) -> Decided<(), NotToday> {
    if mood == Mood::Clings && !outside.is_repaired(party_id) {
        return refused(NotToday);
    }
    if mood == Mood::Sticks && !outside.is_repaired(party_id) && !outside.world.is_healed() {
        return Err(Fault::new("it sticks"));
    }
    effect(&tx, party_id, step, "compensation").await?;
    if outside.world.strikes(Odd::HandlerFault) {
        return Err(Fault::new("injected by the simulator"));
    }
    done(())
}

/// Books or releases helpers by reading and writing their number. Commands with the same key run
/// one after another, otherwise a booking would be lost.
async fn book(tx: &Tx, helpers: i64) -> Result<(), Fault> {
    let booked: i64 = match tx.query("SELECT booked FROM sim_helpers", ()).await?.first() {
        Some(row) => row.get(0)?,
        None => return Err(Fault::new("there are no helpers")),
    };
    tx.execute("UPDATE sim_helpers SET booked = $1", (booked + helpers,)).await?;
    Ok(())
}

async fn hire(outside: Outside, tx: Tx, command: HireBand) -> Decided<(), NotToday> {
    let acted = act(outside, tx.clone(), "hire-band", &command.party_id, command.mood).await?;
    if acted.is_ok() {
        book(&tx, 1).await?;
    }
    Ok(acted)
}

async fn send_home(outside: Outside, tx: Tx, command: SendBandHome) -> Decided<(), NotToday> {
    let undone = undo(outside, tx.clone(), "hire-band", &command.party_id, Mood::Calm).await?;
    if undone.is_ok() {
        book(&tx, -1).await?;
    }
    Ok(undone)
}

async fn order_food(outside: Outside, tx: Tx, command: OrderFood) -> Decided<Booking, NotToday> {
    let OrderFood { party_id, mood } = command;
    let acted = act(outside, tx.clone(), "order-food", &party_id, mood).await?;
    if acted.is_ok() {
        book(&tx, 1).await?;
    }
    Ok(acted.map(|()| Booking { party_id, mood }))
}

async fn cancel_food(
    outside: Outside,
    tx: Tx,
    command: CancelFood,
    held: Booking,
) -> Decided<(), NotToday> {
    let undone = undo(outside, tx.clone(), "order-food", &command.party_id, held.mood).await?;
    if undone.is_ok() {
        book(&tx, -1).await?;
    }
    Ok(undone)
}

/// Returns the tables and checks of the hall, the guild and the kitchen.
pub fn audits() -> [(&'static str, Audit); 3] {
    let helpers = "CREATE TABLE sim_helpers (booked INTEGER NOT NULL); INSERT INTO sim_helpers \
        (booked) VALUES (0)";
    [("", Box::new(|_| None)), (helpers, Box::new(booked)), ("", Box::new(|_| None))]
}

/// Checks that the booked helpers equal the effects.
fn booked(database: &Database) -> Option<(&'static str, String)> {
    let sql = "SELECT (SELECT booked FROM sim_helpers), \
        (SELECT COALESCE(SUM(CASE direction WHEN 'action' THEN 1 ELSE -1 END), 0) \
        FROM sim_effect WHERE status IS NULL AND step IN ('hire-band', 'order-food'))";
    let rows = read_rows(database, sql);
    let (booked, command): (i64, i64) = (get(&rows[0], 0), get(&rows[0], 1));
    (booked != command).then(|| {
        ("lost-update", format!("{booked} helpers are booked, but the effects sum to {command}"))
    })
}

macro_rules! action_handler {
    ($service:ident, $outside:ident, $action:ident, $step:literal) => {
        $service.action({
            let outside = $outside.clone();
            move |tx: Tx, command: $action| {
                let outside = outside.clone();
                async move { act(outside, tx, $step, &command.party_id, command.mood).await }
            }
        })
    };
    ($service:ident, $outside:ident, $action:ident, $step:literal, Booking) => {
        $service.action({
            let outside = $outside.clone();
            move |tx: Tx, command: $action| {
                let outside = outside.clone();
                async move {
                    let $action { party_id, mood } = command;
                    let acted = act(outside, tx, $step, &party_id, mood).await?;
                    Ok(acted.map(|()| Booking { party_id, mood }))
                }
            }
        })
    };
}

macro_rules! undo_handler {
    ($service:ident, $outside:ident, $undo:ident, $step:literal, $output:ty, $mood:expr) => {
        $service.compensation_with({
            let outside = $outside.clone();
            move |tx: Tx, command: $undo, output: $output| {
                let outside = outside.clone();
                async move { undo(outside, tx, $step, &command.party_id, $mood(output)).await }
            }
        })
    };
}

/// Returns the service of the hall.
pub fn hall(outside: &Outside) -> Service {
    let service = Service::named("hall");
    let service = action_handler!(service, outside, BookHall, "book-hall", Booking);
    let service =
        undo_handler!(service, outside, FreeHall, "book-hall", Booking, |held: Booking| held.mood);
    let service = action_handler!(service, outside, PayAll, "pay-all");
    action_handler!(service, outside, TidyUp, "tidy-up")
}

/// Returns the service of musicians, cooks and printers.
pub fn guild(outside: &Outside) -> Service {
    let service = Service::named("guild");
    let (hires, sends_home, orders, cancels) =
        (outside.clone(), outside.clone(), outside.clone(), outside.clone());
    let service = service
        .action(move |tx: Tx, command: HireBand| hire(hires.clone(), tx, command))
        .compensation_with(move |tx: Tx, command: SendBandHome, (): ()| {
            send_home(sends_home.clone(), tx, command)
        })
        .action(move |tx: Tx, command: OrderFood| order_food(orders.clone(), tx, command))
        .compensation_with(move |tx: Tx, command: CancelFood, held: Booking| {
            cancel_food(cancels.clone(), tx, command, held)
        })
        .keyed_by(|_: &HireBand| HELPERS)
        .keyed_by(|_: &SendBandHome| HELPERS)
        .keyed_by(|_: &OrderFood| HELPERS)
        .keyed_by(|_: &CancelFood| HELPERS)
        .keyed_by(|cards: &SendCards| &cards.party_id);
    action_handler!(service, outside, SendCards, "send-cards")
}
