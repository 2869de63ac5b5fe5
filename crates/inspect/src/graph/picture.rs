//! What a picture holds, from top to bottom.

use sagamore_core::Name;

/// A list that is not longer is not wrapped.
const LETTERS_MAX: usize = 24;

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// What it shows.
    pub title: String,
    /// Side by side.
    pub lanes: Vec<String>,
    /// One below the other.
    pub rows: Vec<Row>,
    /// What the arrows mean.
    pub legend: &'static [(Way, &'static str)],
}

/// What is at one height.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Each in a lane of its own.
    Cards(Vec<Card>),
    /// From one lane to others; to none where it ends.
    Arrow(Arrow),
    /// A text across all lanes.
    Rule(String),
}

/// What a service does.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Whose.
    pub lane: usize,
    /// Its name.
    pub title: String,
    /// What else is to be said of it.
    pub notes: Vec<String>,
    /// What may come of it.
    pub look: Look,
}

/// What services tell or ask each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrow {
    /// From which lane.
    pub from: usize,
    /// To which lanes, its own among them if so.
    pub to: Vec<usize>,
    /// The name of the message.
    pub label: String,
    /// What it tells.
    pub way: Way,
}

/// What may come of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It can be undone, or needs no undo.
    Plain,
    /// There is no way back from it.
    Pivot,
    /// It is repeated until it is done.
    Retriable,
    /// It is an undo.
    Undo,
}

/// What an arrow tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It goes on.
    Forward,
    /// Something failed.
    Failure,
    /// Something is undone.
    Back,
}

/// Lanes by name, in the order in which they are first asked for.
#[derive(Default)]
pub struct Lanes(pub Vec<String>);

impl Lanes {
    /// The lane of this name.
    pub fn of(&mut self, name: &Name) -> usize {
        let known = self.0.iter().position(|lane| *lane == name.as_str());
        known.unwrap_or_else(|| {
            self.0.push(name.to_string());
            self.0.len() - 1
        })
    }
}

/// Cards in as few rows as there are cards in one lane.
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

/// `on payment.failed`, `or inventory.failed`: a line each.
pub fn words<'a>(
    first: &str,
    names: impl IntoIterator<Item = &'a Name>,
    other: &str,
) -> Vec<String> {
    let word = |index: usize| if index == 0 { first } else { other };
    names.into_iter().enumerate().map(|(index, name)| format!("{} {name}", word(index))).collect()
}

/// A list that goes on in the next line before it gets long.
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

/// How many steps lead to each of `count`, by the longest way; `before` never leads in a circle.
pub fn levels<I: Iterator<Item = usize>>(count: usize, before: impl Fn(usize) -> I) -> Vec<usize> {
    let mut levels = vec![0; count];
    for _ in 0..count {
        for index in 0..count {
            levels[index] = before(index).map(|before| levels[before] + 1).max().unwrap_or(0);
        }
    }
    levels
}
