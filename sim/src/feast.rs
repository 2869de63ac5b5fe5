//! A third domain, whose messages are long: a feast. Input and outputs are within their bounds; what a command combines of
//! them may be more than the brokers take, or more than a record can be.

use sagamore_core::{Definition, definition};
use sagamore_sdk::{Decided, Fault, Message, Never, Refusal, Service, Tx, done, refused};

use serde::{Deserialize, Serialize};

use crate::party::Outside;
use crate::theme::Theme;

/// What the brokers take of a command, in bytes.
pub const BROKER_BYTES_MAX: usize = 84 * 1024;
/// What a client of the brokers lets pass. It was configured apart from them.
pub const CLIENT_BYTES_MAX: usize = 100 * 1024;

/// Lengths of texts: any fits alone. Of two together some fit, some are rejected, and some are never sent.
const LENGTHS: [usize; 4] = [10, 20_000, 44_000, 60_000];
/// Lengths of menu and speech where people are to decide: all fits, the brokers reject `print-menu`, it is never sent, they
/// reject its undo, and that is never sent.
const TROUBLE: [(usize, usize); 5] =
    [(10, 10), (44_000, 44_000), (60_000, 60_000), (10, 44_000), (10, 60_000)];

/// What a feast is started with.
#[derive(Clone, Debug, Message)]
pub struct Feast {
    /// The business key.
    pub feast_id: String,
    /// Goes into every second command.
    pub speech: String,
    /// How long the menu will be.
    pub menu_bytes: usize,
    /// Whether the cook refuses.
    pub refused: bool,
    /// How the menu is written.
    pub pen: Pen,
}

/// How a menu is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pen {
    /// With letters.
    Plain,
    /// With a character that the engine's database does not take at times.
    Foreign,
    /// Not at all: it is refused, with such a character.
    ForeignNo,
    /// With letters; but to tear the menu up is refused, with such a character, until a person has mended something.
    ForeignUndo,
    /// Only once a person has mended something, or the world has healed; it is a fault before.
    Broken,
}

/// The engine's database refuses texts with this character at times.
pub const FOREIGN: char = '\u{2620}';

/// The output of the step `write-menu`.
#[derive(Clone, Debug, Message)]
pub struct Menu {
    /// The menu's text.
    pub menu: String,
}

macro_rules! asks {
    ($action:ident $({ $($field:ident: $type:ty),* })? $(yields $output:ident)? $(undone by $undo:ident { $($of:ident: $kind:ty),* })?) => {
        #[doc = "Asks for a step."]
        #[derive(Clone, Debug, Message)]
        #[message(to = "kitchen" $(, yields = $output)?)]
        pub struct $action {
            #[doc = "Which feast."]
            pub feast_id: String,
            $($(#[doc = "More of it."] pub $field: $type,)*)?
        }
        $(
            #[doc = "Asks to undo a step."]
            #[derive(Clone, Debug, Message)]
            #[message(to = "kitchen", undoes = $action)]
            pub struct $undo {
                #[doc = "Which feast."]
                pub feast_id: String,
                $(#[doc = "More of it."] pub $of: $kind,)*
            }
        )?
    };
}

asks!(WriteMenu { menu_bytes: usize, pen: Pen } yields Menu undone by TearMenu { pen: Pen });
asks!(PrintMenu { menu: String, speech: String } undone by PulpMenu { menu: String, speech: String, echo: String });
asks!(Cook { menu: String, refused: bool });
asks!(Serve { menu: String, speech: String });

/// The plan: one step after another.
pub fn feast() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("feast").version(1);
    let FeastFrom { feast_id, speech, menu_bytes, refused, pen } = saga.input::<Feast>();
    let (soon, late) = (std::time::Duration::from_millis(200), std::time::Duration::from_secs(2));
    let MenuFrom { menu } = saga
        .step("write-menu")
        .asks(WriteMenuFrom { feast_id, menu_bytes, pen })
        .undone_by_with(TearMenuFrom { feast_id, pen })
        .timeout(late)
        .backoff(soon, late)
        .yields();
    saga.step("print-menu")
        .asks(PrintMenuFrom { feast_id, menu, speech })
        .undone_by_with(PulpMenuFrom { feast_id, menu, speech, echo: speech })
        .after(["write-menu"])
        .timeout(std::time::Duration::from_millis(400))
        .attempts(2)
        .backoff(soon, late);
    saga.pivot("cook")
        .asks(CookFrom { feast_id, menu, refused })
        .after(["print-menu"])
        .timeout(late)
        .backoff(soon, late);
    saga.retriable("serve")
        .asks(ServeFrom { feast_id, menu, speech })
        .after(["cook"])
        .timeout(late)
        .backoff(soon, late);
    saga.build()
}

impl Feast {
    /// A feast by chance.
    pub fn draw(feast_id: &str, theme: Theme, rng: &mut fastrand::Rng) -> Feast {
        let mut length = || LENGTHS[rng.usize(0..LENGTHS.len())];
        let (is_trouble, lengths) = (theme == Theme::Verbs, (length(), length()));
        let (menu_bytes, speech_bytes) =
            if is_trouble { TROUBLE[rng.usize(0..TROUBLE.len())] } else { lengths };
        let pen = match rng.u8(0..if is_trouble { 8 } else { 12 }) {
            0 | 1 => Pen::Foreign,
            2 => Pen::ForeignNo,
            3 => Pen::ForeignUndo,
            4 | 5 => Pen::Broken,
            6 if is_trouble => Pen::ForeignNo,
            7 if is_trouble => Pen::ForeignUndo,
            _ => Pen::Plain,
        };
        let refused = rng.u8(0..if is_trouble { 2 } else { 3 }) == 0;
        Feast {
            feast_id: feast_id.to_owned(),
            speech: "s".repeat(speech_bytes),
            menu_bytes,
            refused,
            pen,
        }
    }
}

async fn effect(tx: &Tx, feast_id: &str, step: &str, direction: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO sim_effect (saga, step, direction) VALUES ($1, $2, $3)";
    tx.execute(sql, (format!("feast:{feast_id}"), step, direction)).await?;
    Ok(())
}

/// The refusal of every service, with a character that stands behind its text.
#[derive(Debug, Refusal)]
#[refusal(code = "not-today", message = "not today {0}")]
struct NotToday(char);

async fn write(outside: Outside, tx: Tx, asked: WriteMenu) -> Decided<Menu, NotToday> {
    let WriteMenu { feast_id, menu_bytes, pen } = asked;
    let mended = outside.is_mended(&feast_id);
    if pen == Pen::ForeignNo && !mended {
        return refused(NotToday(FOREIGN));
    }
    if pen == Pen::Broken && !mended && !outside.world.is_healed() {
        return Err(Fault::new("the pen is broken"));
    }
    effect(&tx, &feast_id, "write-menu", "action").await?;
    let mut menu = "m".repeat(menu_bytes);
    if pen == Pen::Foreign {
        menu.push(FOREIGN);
    }
    done(Menu { menu })
}

async fn tear(
    outside: Outside,
    tx: Tx,
    TearMenu { feast_id, pen }: TearMenu,
) -> Decided<(), NotToday> {
    if pen == Pen::ForeignUndo && !outside.is_mended(&feast_id) {
        return refused(NotToday(FOREIGN));
    }
    effect(&tx, &feast_id, "write-menu", "compensation").await?;
    done(())
}

async fn print(tx: Tx, PrintMenu { feast_id, .. }: PrintMenu) -> Decided<(), Never> {
    effect(&tx, &feast_id, "print-menu", "action").await?;
    done(())
}

async fn pulp(tx: Tx, PulpMenu { feast_id, .. }: PulpMenu, (): ()) -> Decided<(), Never> {
    effect(&tx, &feast_id, "print-menu", "compensation").await?;
    done(())
}

async fn serve(tx: Tx, Serve { feast_id, .. }: Serve) -> Decided<(), Never> {
    effect(&tx, &feast_id, "serve", "action").await?;
    done(())
}

async fn cook(outside: Outside, tx: Tx, asked: Cook) -> Decided<(), NotToday> {
    if asked.refused && !outside.is_mended(&asked.feast_id) {
        return refused(NotToday('!'));
    }
    effect(&tx, &asked.feast_id, "cook", "action").await?;
    done(())
}

/// Those who cook.
pub fn kitchen(outside: &Outside) -> Service {
    let (writing, tearing, cooking) = (outside.clone(), outside.clone(), outside.clone());
    let write = move |tx: Tx, asked: WriteMenu| write(writing.clone(), tx, asked);
    let tear = move |tx: Tx, asked: TearMenu, _: Menu| tear(tearing.clone(), tx, asked);
    let cook = move |tx: Tx, asked: Cook| cook(cooking.clone(), tx, asked);
    Service::named("kitchen")
        .action(write)
        .compensation_with(tear)
        .action(print)
        .compensation_with(pulp)
        .action(cook)
        .action(serve)
}
