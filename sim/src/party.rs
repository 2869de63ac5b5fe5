//! A second, trivial domain: a party. Its plan branches, its steps may be given up, and its services have moods.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sagamore_core::{Definition, definition};
use sagamore_database::Database;
use sagamore_sdk::{Decided, Fault, Message, Refusal, Service, Tx, done, refused};
use serde::{Deserialize, Serialize};

use crate::checker::{Audit, get};
use crate::faults::Fault as Odd;
use crate::store::look;
use crate::theme::Theme;
use crate::world::Shared;

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mood {
    /// Well.
    Calm,
    /// With a refusal, before anything is written.
    Refuses,
    /// With a refusal, after something was written.
    WritesAndRefuses,
    /// Well; but its undo is refused, until a person has mended something.
    Clings,
    /// With a fault, until a person has mended something or the world has healed.
    Breaks,
    /// Well; but its undo ends with a fault, likewise.
    Sticks,
}

/// What a party is started with.
#[derive(Clone, Debug, Message)]
pub struct Party {
    /// The business key.
    pub party_id: String,
    /// Of the step `book-hall`, and so on.
    pub hall: Mood,
    /// Of `hire-band`.
    pub band: Mood,
    /// Of `order-food`.
    pub food: Mood,
    /// Of `pay-all`.
    pub pay: Mood,
    /// Of `send-cards`.
    pub cards: Mood,
}

impl Mood {
    /// Another one.
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

    /// Its undo goes well.
    fn without_undo(self) -> Mood {
        match self {
            Mood::Clings | Mood::Sticks => Mood::Calm,
            mood => mood,
        }
    }
}

impl Party {
    /// A party by chance: mostly a calm one, but where people are to decide a troubled one, and some where they are away.
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

/// What was booked.
#[derive(Clone, Debug, Message)]
pub struct Held {
    /// By which party.
    pub party_id: String,
    /// How the undo will go.
    pub mood: Mood,
}

macro_rules! asks {
    ($action:ident $to:literal $(yields $output:ident)? $(undone by $undo:ident)?) => {
        #[doc = "Asks for a step."]
        #[derive(Clone, Debug, Message)]
        #[message(to = $to $(, yields = $output)?)]
        pub struct $action {
            #[doc = "Which party."]
            pub party_id: String,
            #[doc = "How it will go."]
            pub mood: Mood,
        }
        $(
            #[doc = "Asks to undo a step."]
            #[derive(Clone, Debug, Message)]
            #[message(to = $to, undoes = $action)]
            pub struct $undo {
                #[doc = "Which party."]
                pub party_id: String,
            }
        )?
    };
}

asks!(BookHall "hall" yields Held undone by FreeHall);
asks!(HireBand "guild" undone by SendBandHome);
asks!(OrderFood "guild" yields Held undone by CancelFood);
asks!(PayAll "hall");
asks!(SendCards "guild");
asks!(TidyUp "hall");

/// The plan: the band and the food side by side, the cards and the tidying too.
pub fn party() -> Result<Definition, definition::Error> {
    let (soon, late) = (Duration::from_millis(200), Duration::from_secs(2));
    let mut saga = Definition::named("party").version(1).deadline(Duration::from_secs(40));
    let PartyFrom { party_id, hall, band, food, pay, cards } = saga.input::<Party>();
    saga.step("book-hall")
        .asks(BookHallFrom { party_id, mood: hall })
        .undone_by_with(FreeHallFrom { party_id })
        .timeout(Duration::from_secs(3))
        .backoff(soon, late);
    saga.step("hire-band")
        .asks(HireBandFrom { party_id, mood: band })
        .undone_by_with(SendBandHomeFrom { party_id })
        .after(["book-hall"])
        .timeout(Duration::from_millis(800))
        .attempts(2)
        .backoff(soon, late);
    saga.step("order-food")
        .asks(OrderFoodFrom { party_id, mood: food })
        .undone_by_with(CancelFoodFrom { party_id })
        .after(["book-hall"])
        .timeout(Duration::from_millis(800))
        .attempts(2)
        .backoff(soon, late);
    saga.pivot("pay-all")
        .asks(PayAllFrom { party_id, mood: pay })
        .after(["hire-band", "order-food"])
        .timeout(late)
        .backoff(soon, late);
    saga.retriable("send-cards")
        .asks(SendCardsFrom { party_id, mood: cards })
        .after(["pay-all"])
        .timeout(late)
        .backoff(soon, late);
    saga.retriable("tidy-up")
        .asks(TidyUpFrom { party_id, mood: hall })
        .after(["pay-all"])
        .timeout(late)
        .backoff(soon, late);
    saga.build()
}

/// The outside of the services: what chance and people do to them.
#[derive(Clone)]
pub struct Outside {
    /// For chance.
    pub world: Shared,
    /// Parties and steps that a person has mended something for.
    pub mended: Arc<Mutex<BTreeSet<String>>>,
}

impl Outside {
    /// Nothing is mended.
    pub fn new(world: &Shared) -> Outside {
        Outside { world: world.clone(), mended: Arc::default() }
    }

    /// From now on nothing is refused to this party.
    pub fn mend(&self, party_id: &str) {
        self.mended.lock().expect("nothing panics while this is held").insert(party_id.to_owned());
    }

    /// Whether nothing is refused to it any more.
    pub fn is_mended(&self, party_id: &str) -> bool {
        self.mended.lock().expect("nothing panics while this is held").contains(party_id)
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

/// The key of all commands that book helpers, or let them go.
const HELPERS: &str = "helpers";

/// Fails: an effect needs a saga.
const BROKEN: &str = "INSERT INTO sim_effect (saga, step, direction) VALUES (NULL, $1, 'action')";

async fn act(
    outside: Outside,
    tx: Tx,
    step: &str,
    party_id: &str,
    mood: Mood,
) -> Decided<(), NotToday> {
    let mended = outside.is_mended(party_id);
    if mood == Mood::Refuses && !mended {
        return refused(NotToday);
    }
    if mood == Mood::Breaks && !mended && !outside.world.is_healed() {
        return Err(Fault::new("it is broken"));
    }
    if outside.world.strikes(Odd::Swallowed) {
        let _ = tx.execute(BROKEN, (step,)).await; // it should look
        return done(());
    }
    effect(&tx, party_id, step, "action").await?;
    if mood == Mood::WritesAndRefuses && !mended {
        return refused(NotToday);
    }
    if outside.world.strikes(Odd::HandlerFault) {
        return Err(Fault::new("as the simulator wants it"));
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
    if mood == Mood::Clings && !outside.is_mended(party_id) {
        return refused(NotToday);
    }
    if mood == Mood::Sticks && !outside.is_mended(party_id) && !outside.world.is_healed() {
        return Err(Fault::new("it sticks"));
    }
    effect(&tx, party_id, step, "compensation").await?;
    if outside.world.strikes(Odd::HandlerFault) {
        return Err(Fault::new("as the simulator wants it"));
    }
    done(())
}

/// Books helpers, or lets them go: reads how many are booked, and writes how many are then. Commands that share their key run
/// one after another, or else a booking would be lost.
async fn book(tx: &Tx, helpers: i64) -> Result<(), Fault> {
    let booked: i64 = match tx.query("SELECT booked FROM sim_helpers", ()).await?.first() {
        Some(row) => row.get(0)?,
        None => return Err(Fault::new("there are no helpers")),
    };
    tx.execute("UPDATE sim_helpers SET booked = $1", (booked + helpers,)).await?;
    Ok(())
}

async fn hire(outside: Outside, tx: Tx, asked: HireBand) -> Decided<(), NotToday> {
    let acted = act(outside, tx.clone(), "hire-band", &asked.party_id, asked.mood).await?;
    if acted.is_ok() {
        book(&tx, 1).await?;
    }
    Ok(acted)
}

async fn send_home(outside: Outside, tx: Tx, asked: SendBandHome) -> Decided<(), NotToday> {
    let undone = undo(outside, tx.clone(), "hire-band", &asked.party_id, Mood::Calm).await?;
    if undone.is_ok() {
        book(&tx, -1).await?;
    }
    Ok(undone)
}

async fn order_food(outside: Outside, tx: Tx, asked: OrderFood) -> Decided<Held, NotToday> {
    let OrderFood { party_id, mood } = asked;
    let acted = act(outside, tx.clone(), "order-food", &party_id, mood).await?;
    if acted.is_ok() {
        book(&tx, 1).await?;
    }
    Ok(acted.map(|()| Held { party_id, mood }))
}

async fn cancel_food(
    outside: Outside,
    tx: Tx,
    asked: CancelFood,
    held: Held,
) -> Decided<(), NotToday> {
    let undone = undo(outside, tx.clone(), "order-food", &asked.party_id, held.mood).await?;
    if undone.is_ok() {
        book(&tx, -1).await?;
    }
    Ok(undone)
}

/// For the hall, the guild and the kitchen: their own tables, and what has to hold in them.
pub fn audits() -> [(&'static str, Audit); 3] {
    let helpers = "CREATE TABLE sim_helpers (booked INTEGER NOT NULL); INSERT INTO sim_helpers (booked) VALUES (0)";
    [("", Box::new(|_| None)), (helpers, Box::new(booked)), ("", Box::new(|_| None))]
}

/// As many helpers are booked as were asked and not let go.
fn booked(database: &Database) -> Option<(&'static str, String)> {
    let sql = "SELECT (SELECT booked FROM sim_helpers), \
        (SELECT COALESCE(SUM(CASE direction WHEN 'action' THEN 1 ELSE -1 END), 0) \
        FROM sim_effect WHERE status IS NULL AND step IN ('hire-band', 'order-food'))";
    let rows = look(database, sql);
    let (booked, asked): (i64, i64) = (get(&rows[0], 0), get(&rows[0], 1));
    (booked != asked)
        .then(|| ("lost-update", format!("{booked} helpers are booked, and {asked} were asked")))
}

macro_rules! acts {
    ($service:ident, $outside:ident, $action:ident, $step:literal) => {
        $service.action({
            let outside = $outside.clone();
            move |tx: Tx, asked: $action| {
                let outside = outside.clone();
                async move { act(outside, tx, $step, &asked.party_id, asked.mood).await }
            }
        })
    };
    ($service:ident, $outside:ident, $action:ident, $step:literal, Held) => {
        $service.action({
            let outside = $outside.clone();
            move |tx: Tx, asked: $action| {
                let outside = outside.clone();
                async move {
                    let $action { party_id, mood } = asked;
                    let acted = act(outside, tx, $step, &party_id, mood).await?;
                    Ok(acted.map(|()| Held { party_id, mood }))
                }
            }
        })
    };
}

macro_rules! undoes {
    ($service:ident, $outside:ident, $undo:ident, $step:literal, $output:ty, $mood:expr) => {
        $service.compensation_with({
            let outside = $outside.clone();
            move |tx: Tx, asked: $undo, output: $output| {
                let outside = outside.clone();
                async move { undo(outside, tx, $step, &asked.party_id, $mood(output)).await }
            }
        })
    };
}

/// The hall, and those who work for it.
pub fn hall(outside: &Outside) -> Service {
    let service = Service::named("hall");
    let service = acts!(service, outside, BookHall, "book-hall", Held);
    let service = undoes!(service, outside, FreeHall, "book-hall", Held, |held: Held| held.mood);
    let service = acts!(service, outside, PayAll, "pay-all");
    acts!(service, outside, TidyUp, "tidy-up")
}

/// The musicians, the cooks and the printers.
pub fn guild(outside: &Outside) -> Service {
    let service = Service::named("guild");
    let (hires, sends_home, orders, cancels) =
        (outside.clone(), outside.clone(), outside.clone(), outside.clone());
    let service = service
        .action(move |tx: Tx, asked: HireBand| hire(hires.clone(), tx, asked))
        .compensation_with(move |tx: Tx, asked: SendBandHome, (): ()| {
            send_home(sends_home.clone(), tx, asked)
        })
        .action(move |tx: Tx, asked: OrderFood| order_food(orders.clone(), tx, asked))
        .compensation_with(move |tx: Tx, asked: CancelFood, held: Held| {
            cancel_food(cancels.clone(), tx, asked, held)
        })
        .keyed_by(|_: &HireBand| HELPERS)
        .keyed_by(|_: &SendBandHome| HELPERS)
        .keyed_by(|_: &OrderFood| HELPERS)
        .keyed_by(|_: &CancelFood| HELPERS)
        .keyed_by(|cards: &SendCards| &cards.party_id);
    acts!(service, outside, SendCards, "send-cards")
}
