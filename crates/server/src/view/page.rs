//! Pages of sagas of both styles, newest first: two lists with separate sequence numbers, merged
//! into one.

use serde::{Deserialize, Serialize};

use super::saga::Line;

/// A page of a list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lines {
    /// The lines, newest first, or in the order of ids if the query has `after`.
    pub sagas: Vec<Line>,
    /// The cursor of the next page, or by ids the last id of this page; `None` on the last page.
    pub next: Option<String>,
}

/// The positions in both lists: only lines with a smaller sequence number follow. Its text is the
/// cursor, which is opaque to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListPosition {
    /// The position in the list of orchestrated sagas; `None` at its beginning.
    pub saga: Option<i64>,
    /// The position in the list of chains; `None` at its beginning.
    pub chain: Option<i64>,
}

impl Lines {
    /// Merges the first `limit` lines of both lists by their start, and computes the next cursor.
    /// Each line comes with its sequence number.
    pub fn merged(
        sagas: Vec<(i64, Line)>,
        chains: Vec<(i64, Line)>,
        from: ListPosition,
        limit: usize,
    ) -> Lines {
        let (mut sagas, mut chains) = (sagas.into_iter().peekable(), chains.into_iter().peekable());
        let (mut lines, mut place) = (Vec::with_capacity(limit), from);
        while lines.len() < limit {
            let of_sagas = match (sagas.peek(), chains.peek()) {
                (Some((_, saga)), Some((_, chain))) => saga.started_at >= chain.started_at,
                (saga, _) => saga.is_some(),
            };
            let next = if of_sagas { sagas.next() } else { chains.next() };
            let Some((number, line)) = next else { break };
            *if of_sagas { &mut place.saga } else { &mut place.chain } = Some(number);
            lines.push(line);
        }
        let more = sagas.peek().is_some() || chains.peek().is_some();
        Lines { sagas: lines, next: more.then(|| place.to_string()) }
    }
}

impl Lines {
    /// Returns the first `limit` lines by id, in byte order.
    pub fn by_id(mut lines: Vec<Line>, limit: usize) -> Lines {
        lines.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let more = lines.len() > limit;
        lines.truncate(limit);
        let next = lines.last().filter(|_| more).map(|last| last.id.clone());
        Lines { sagas: lines, next }
    }
}

impl std::fmt::Display for ListPosition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text =
            |number: Option<i64>| number.map_or_else(String::new, |number| format!("{number:x}"));
        write!(formatter, "s{}.{}", text(self.saga), text(self.chain))
    }
}

impl std::str::FromStr for ListPosition {
    type Err = ();

    /// Parses a cursor.
    fn from_str(text: &str) -> Result<ListPosition, ()> {
        let (saga, chain) =
            text.strip_prefix('s').and_then(|text| text.split_once('.')).ok_or(())?;
        let number = |text: &str| match text {
            "" => Ok(None),
            text => i64::from_str_radix(text, 16).map(Some).map_err(drop),
        };
        Ok(ListPosition { saga: number(saga)?, chain: number(chain)? })
    }
}

#[cfg(test)]
mod tests {
    use sagamore_engine::ChainStatus;

    use super::*;
    use crate::view::Style;

    #[test]
    fn a_cursor_survives_a_round_trip() {
        for (saga, chain) in
            [(None, None), (Some(830), None), (None, Some(1)), (Some(i64::MAX), Some(17))]
        {
            let place = ListPosition { saga, chain };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in ["", "830", "s", "sxyz.", "s1", "s1.z"] {
            assert_eq!(wrong.parse::<ListPosition>(), Err(()), "{wrong}");
        }
    }

    fn line(style: Style, second: usize) -> Line {
        Line {
            id: format!("{style:?}:{second}"),
            style,
            definition: "toy".into(),
            version: 1,
            key: second.to_string(),
            status: ChainStatus::Running,
            why: None,
            started_at: format!("2026-11-27T12:00:{second:02}.000Z"),
            changed_at: String::new(),
            ended_at: None,
            failed_at: None,
            open_fault_from: None,
            stand_in: false,
        }
    }

    /// The pages list every saga once, newest first.
    #[test]
    fn pages_of_both_lists_have_neither_gaps_nor_duplicates() {
        let of = |style, seconds: &[usize], before: Option<i64>| -> Vec<(i64, Line)> {
            let numbered =
                seconds.iter().rev().map(|second| (*second as i64, line(style, *second)));
            numbered.filter(|(number, _)| before.is_none_or(|before| *number < before)).collect()
        };
        for limit in 1..8 {
            let (mut place, mut keys) = (ListPosition::default(), Vec::new());
            loop {
                let sagas = of(Style::Orchestration, &[1, 4, 5, 6], place.saga);
                let chains = of(Style::Choreography, &[2, 3, 6, 9], place.chain);
                let page = Lines::merged(sagas, chains, place, limit);
                assert!(page.sagas.len() <= limit);
                keys.extend(page.sagas.into_iter().map(|line| line.key));
                let Some(next) = page.next else { break };
                place = next.parse().expect("a cursor");
            }
            assert_eq!(keys, ["9", "6", "6", "5", "4", "3", "2", "1"], "{limit} a page");
        }
    }
}
