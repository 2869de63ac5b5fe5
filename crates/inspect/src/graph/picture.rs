//! The content of a picture, from top to bottom.

use sagamore_core::Name;

/// Maximum letters of a list in one line.
const LETTERS_MAX: usize = 24;

/// A picture of a saga, independent of its rendering.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The name and version of the plan or definition.
    pub title: String,
    /// The names of the lanes, from left to right.
    pub lanes: Vec<String>,
    /// The rows, from top to bottom.
    pub rows: Vec<Row>,
    /// The meaning of each kind of arrow.
    pub legend: &'static [(Way, &'static str)],
}

/// One row of a picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Cards, at most one in each lane.
    Cards(Vec<Card>),
    /// An arrow from one lane to others, or to none for an event without consumer.
    Arrow(Arrow),
    /// A text across all lanes.
    Rule(String),
}

/// An action or compensation of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The index of the service's lane.
    pub lane: usize,
    /// The first line of text.
    pub title: String,
    /// The further lines of text.
    pub notes: Vec<String>,
    /// The style of the card.
    pub look: Look,
}

/// A message between services.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrow {
    /// The lane of the sender.
    pub from: usize,
    /// The lanes of the receivers; may contain the sender's.
    pub to: Vec<usize>,
    /// The name of the message.
    pub label: String,
    /// The role of the message.
    pub way: Way,
}

/// The style of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// An action that can be undone or needs no undo.
    Plain,
    /// The point of no return.
    Pivot,
    /// An action that is retried until it succeeds.
    Retriable,
    /// A card below the rule that undoes a card above it.
    Undo,
}

/// The role of an arrow's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The saga proceeds.
    Forward,
    /// A step has failed.
    Failure,
    /// A step is undone.
    Back,
}

/// Lanes by name, in the order of their first use.
#[derive(Default)]
pub struct Lanes(pub Vec<String>);

impl Lanes {
    /// Returns the index of the lane with this name, and adds the lane if it is new.
    pub fn of(&mut self, name: &Name) -> usize {
        let present = self.0.iter().position(|lane| *lane == name.as_str());
        present.unwrap_or_else(|| {
            self.0.push(name.to_string());
            self.0.len() - 1
        })
    }
}

/// Arranges cards in the fewest rows that have one card per lane.
pub fn side_by_side(cards: Vec<Card>) -> Vec<Row> {
    let mut rows: Vec<Vec<Card>> = Vec::new();
    for card in cards {
        match rows.iter_mut().find(|row| row.iter().all(|other| other.lane != card.lane)) {
            Some(row) => row.push(card),
            None => rows.push(vec![card]),
        }
    }
    rows.into_iter().map(Row::Cards).collect()
}

/// Returns one line per name: `on payment.failed`, `or inventory.failed`.
pub fn words<'a>(
    first: &str,
    names: impl IntoIterator<Item = &'a Name>,
    other: &str,
) -> Vec<String> {
    let word = |index: usize| if index == 0 { first } else { other };
    names.into_iter().enumerate().map(|(index, name)| format!("{} {name}", word(index))).collect()
}

/// Breaks a list into lines of at most `LETTERS_MAX` letters.
pub fn wrapped(begin: &str, items: &[String]) -> Vec<String> {
    let mut lines = vec![begin.to_owned()];
    for (index, item) in items.iter().enumerate() {
        let item = if index + 1 == items.len() { item.clone() } else { format!("{item},") };
        match lines.last_mut().filter(|line| line.len() + item.len() < LETTERS_MAX) {
            Some(line) => *line = format!("{line} {item}"),
            None => lines.push(item),
        }
    }
    lines
}

/// Returns the length of the longest path to each of `count` steps. `before` must be acyclic.
pub fn levels<I: Iterator<Item = usize>>(count: usize, before: impl Fn(usize) -> I) -> Vec<usize> {
    let mut levels = vec![0; count];
    for _ in 0..count {
        for index in 0..count {
            levels[index] = before(index).map(|before| levels[before] + 1).max().unwrap_or(0);
        }
    }
    levels
}
