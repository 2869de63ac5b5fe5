//! A third domain with long messages: a feast. Input and outputs are within their bounds, but a
//! command that combines them may exceed the brokers' limit or the size of a record.

use sagamore_core::{Definition, definition};
use sagamore_sdk::{Decided, Fault, Message, Never, Refusal, Service, Tx, done, refused};

use serde::{Deserialize, Serialize};

use crate::party::Outside;
use crate::store::FOREIGN;
use crate::theme::Theme;

/// Lengths of texts. Each fits alone. Of the sums, some fit, some are rejected by the brokers, and
/// some by the client.
const LENGTHS: [usize; 4] = [10, 20_000, 44_000, 60_000];
/// Lengths of menu and speech of feasts that need an operator. In order: all commands fit, the
/// brokers or the client reject `print-menu`, the brokers or the client reject its undo.
const TROUBLE: [(usize, usize); 5] =
    [(10, 10), (44_000, 44_000), (60_000, 60_000), (10, 44_000), (10, 60_000)];

/// The input of a feast.
#[derive(Clone, Debug, Message)]
pub struct Feast {
    /// The business key.
    pub feast_id: String,
    /// A text in every second command.
    pub speech: String,
    /// The length of the menu.
    pub menu_bytes: usize,
    /// Whether the cook refuses.
    pub refused: bool,
    /// The outcome of writing the menu.
    pub pen: Pen,
}

/// The outcome of writing a menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pen {
    /// Plain letters.
    Plain,
    /// A text with a character that the engine's database rejects sometimes.
    Foreign,
    /// A refusal with such a character.
    ForeignNo,
    /// Plain letters, but the undo is refused with such a character until an operator repairs it.
    ForeignUndo,
    /// A fault, until an operator repairs it or the world has healed.
    Broken,
}

/// The output of the step `write-menu`.
#[derive(Clone, Debug, Message)]
pub struct Menu {
    /// The menu's text.
    pub menu: String,
}

macro_rules! sends {
    (
        $action:ident $({ $($field:ident: $type:ty),* })?
        $(yields $output:ident)?
        $(undone by $undo:ident { $($of:ident: $kind:ty),* })?
    ) => {
        #[doc = "A command of a step."]
        #[derive(Clone, Debug, Message)]
        #[message(to = "kitchen" $(, yields = $output)?)]
        pub struct $action {
            #[doc = "The feast's key."]
            pub feast_id: String,
            $($(#[doc = "A field of the step."] pub $field: $type,)*)?
        }
        $(
            #[doc = "The undo of a step."]
            #[derive(Clone, Debug, Message)]
            #[message(to = "kitchen", undoes = $action)]
            pub struct $undo {
                #[doc = "The feast's key."]
                pub feast_id: String,
                $(#[doc = "A field of the undo."] pub $of: $kind,)*
            }
        )?
    };
}

sends!(WriteMenu { menu_bytes: usize, pen: Pen } yields Menu undone by TearMenu { pen: Pen });
sends!(
    PrintMenu { menu: String, speech: String }
    undone by PulpMenu { menu: String, speech: String, echo: String }
);
sends!(Cook { menu: String, refused: bool });
sends!(Serve { menu: String, speech: String });

/// Returns the definition: four steps in sequence.
pub fn feast() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("feast").version(1);
    let FeastFrom { feast_id, speech, menu_bytes, refused, pen } = saga.input::<Feast>();
    let (soon, late) = (std::time::Duration::from_millis(200), std::time::Duration::from_secs(2));
    let MenuFrom { menu } = saga
        .step("write-menu")
        .sends(WriteMenuFrom { feast_id, menu_bytes, pen })
        .undone_by_with(TearMenuFrom { feast_id, pen })
        .timeout(late)
        .backoff(soon, late)
        .yields();
    saga.step("print-menu")
        .sends(PrintMenuFrom { feast_id, menu, speech })
        .undone_by_with(PulpMenuFrom { feast_id, menu, speech, echo: speech })
        .after(["write-menu"])
        .timeout(std::time::Duration::from_millis(400))
        .attempts(2)
        .backoff(soon, late);
    saga.pivot("cook")
        .sends(CookFrom { feast_id, menu, refused })
        .after(["print-menu"])
        .timeout(late)
        .backoff(soon, late);
    saga.retriable("serve")
        .sends(ServeFrom { feast_id, menu, speech })
        .after(["cook"])
        .timeout(late)
        .backoff(soon, late);
    saga.build()
}

impl Feast {
    /// Draws a feast.
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

/// The refusal of every service. Its text ends with a character.
#[derive(Debug, Refusal)]
#[refusal(code = "not-today", message = "not today {0}")]
struct NotToday(char);

async fn write(outside: Outside, tx: Tx, command: WriteMenu) -> Decided<Menu, NotToday> {
    let WriteMenu { feast_id, menu_bytes, pen } = command;
    let repaired = outside.is_repaired(&feast_id);
    if pen == Pen::ForeignNo && !repaired {
        return refused(NotToday(FOREIGN));
    }
    if pen == Pen::Broken && !repaired && !outside.world.is_healed() {
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
    if pen == Pen::ForeignUndo && !outside.is_repaired(&feast_id) {
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

async fn cook(outside: Outside, tx: Tx, command: Cook) -> Decided<(), NotToday> {
    if command.refused && !outside.is_repaired(&command.feast_id) {
        return refused(NotToday('!'));
    }
    effect(&tx, &command.feast_id, "cook", "action").await?;
    done(())
}

/// Returns the service of the kitchen.
pub fn kitchen(outside: &Outside) -> Service {
    let (writing, tearing, cooking) = (outside.clone(), outside.clone(), outside.clone());
    let write = move |tx: Tx, command: WriteMenu| write(writing.clone(), tx, command);
    let tear = move |tx: Tx, command: TearMenu, _: Menu| tear(tearing.clone(), tx, command);
    let cook = move |tx: Tx, command: Cook| cook(cooking.clone(), tx, command);
    Service::named("kitchen")
        .action(write)
        .compensation_with(tear)
        .action(print)
        .compensation_with(pulp)
        .action(cook)
        .action(serve)
}
