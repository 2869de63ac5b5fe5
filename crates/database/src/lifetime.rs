//! How long a database has been in use, by the clock readings of its users: what retention goes by.
//!
//! A clock that jumps must not make anything old. So a gap between two readings counts at most a day, and a reading before
//! the last one counts nothing. Which stamps are old enough follows from the readings of the retention that has passed.

use std::fmt::Write;

use crate::database::{Database, Tx};
use crate::error::Error;
use crate::migration::Migration;
use crate::port::Dialect;

/// The table, with one row.
pub const MIGRATIONS: &[Migration] =
    &[Migration::new("0001-lifetime", "CREATE TABLE lifetime (id BIGINT PRIMARY KEY, state TEXT NOT NULL)")];

const HOUR_MS: i64 = 3_600_000;
/// A gap between two readings counts no more.
const GAP_MS_MAX: i64 = 24 * HOUR_MS;
/// Readings this far before the last one are clocks that differ. It is also the longest time between two readings.
const DIFFERENCE_MS_MAX: i64 = HOUR_MS;
/// The pause between two readings that are stored.
const STORE_EVERY_MS: i64 = 60_000;
/// Two readings of a process that runs are closer.
const RUNNING_MS_MAX: i64 = 300_000;
/// Jumps that are remembered; of more, the oldest are taken together.
const SPANS_MAX: usize = 32;
/// Jumps from before that age no longer matter: no retention is longer.
const REMEMBERED_MS: i64 = 1_000 * 24 * HOUR_MS;

/// The age of a database, and what its clock showed at which age. All in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    age: i64,
    /// The last reading.
    at: i64,
    /// The latest moment that was ever read.
    latest: i64,
    /// Ages from which on the clock went without a jump, and what it showed then; never empty, in the order of ages.
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    age: i64,
    at: i64,
}

/// Reads the clock for a [`Lifetime`], and stores what follows from it once a minute.
#[derive(Debug, Default)]
pub struct Readings {
    last: Option<(i64, Lifetime)>,
    counts: Counts,
}

/// What a gap between two readings counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Counts {
    /// At most a day.
    #[default]
    Stops,
    /// Nothing, unless the readings are as close as those of a process that runs.
    Running,
}

impl Readings {
    /// Readings for the time in which processes ran: what a stop lasted does not count, nor by how much a clock jumped.
    pub fn of_running() -> Readings {
        Readings { last: None, counts: Counts::Running }
    }

    /// Takes a reading, and returns the lifetime as of the last stored one. To be called before a process stamps anything, and
    /// then at least once an hour.
    pub async fn take(&mut self, database: &Database, now_ms: i64) -> Result<&Lifetime, Error> {
        let fresh = |read: i64| (read..read.saturating_add(STORE_EVERY_MS)).contains(&now_ms);
        let lifetime = match self.last.take() {
            Some((read, lifetime)) if fresh(read) => (read, lifetime),
            _ => (now_ms, store(database, now_ms, self.counts).await?),
        };
        Ok(&self.last.insert(lifetime).1)
    }

    /// Whether a reading is due because the clock has gone backward since the last one.
    pub fn is_overtaken(&self, now_ms: i64) -> bool {
        self.last.as_ref().is_none_or(|(read, _)| now_ms < *read)
    }
}

async fn store(database: &Database, now_ms: i64, counts: Counts) -> Result<Lifetime, Error> {
    let open = database.begin().await?;
    let lifetime = match load(&open.tx(), counts).await? {
        Some(known) => known.read_by(now_ms, counts),
        None => Lifetime::begun(now_ms),
    };
    let upsert = "INSERT INTO lifetime (id, state) VALUES ($2, $1)
        ON CONFLICT (id) DO UPDATE SET state = excluded.state";
    open.tx().execute(upsert, (lifetime.to_text(), counts.row())).await?;
    open.commit().await?;
    Ok(lifetime)
}

async fn load(tx: &Tx, counts: Counts) -> Result<Option<Lifetime>, Error> {
    let alone = match tx.dialect() {
        Dialect::Sqlite => "",
        Dialect::Postgres => " FOR UPDATE",
    };
    let rows = tx.query(&format!("SELECT state FROM lifetime WHERE id = $1{alone}"), (counts.row(),)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let damaged = || Error::Column { column: "lifetime.state".into(), wanted: "readings of a clock" };
    Lifetime::of_text(&row.get::<String>(0)?).ok_or_else(damaged).map(Some)
}

impl Counts {
    /// The row that has it.
    fn row(self) -> i64 {
        match self {
            Counts::Stops => 1,
            Counts::Running => 2,
        }
    }

    /// Readings this close count as they are, and no gap counts more than the second.
    fn bounds(self) -> (i64, i64) {
        match self {
            Counts::Stops => (DIFFERENCE_MS_MAX, GAP_MS_MAX),
            Counts::Running => (RUNNING_MS_MAX, 0),
        }
    }
}

impl Lifetime {
    /// How long the database has been in use, in milliseconds.
    pub fn age_ms(&self) -> i64 {
        self.age
    }

    /// A database that is new, or was never read before.
    pub fn begun(now: i64) -> Lifetime {
        Lifetime { age: 0, at: now, latest: now, spans: vec![Span { age: 0, at: now }] }
    }

    /// After another reading.
    #[must_use]
    pub fn read(self, now: i64) -> Lifetime {
        self.read_by(now, Counts::Stops)
    }

    fn read_by(mut self, now: i64, counts: Counts) -> Lifetime {
        let (whole_max, gap_max) = counts.bounds();
        let gap = now.saturating_sub(self.at);
        if (-DIFFERENCE_MS_MAX..0).contains(&gap) {
            return self; // the clocks of two processes
        }
        let counts = match gap {
            ..0 => 0,
            gap if gap <= whole_max => gap,
            // a clock that was ahead before makes nothing older by being ahead again
            _ => now.saturating_sub(self.at.max(self.latest)).clamp(0, gap_max),
        };
        self.age = self.age.saturating_add(counts);
        if counts != gap {
            // stamps may have been made since the jump, which was not seen at once
            let at = if gap < 0 { now.saturating_sub(DIFFERENCE_MS_MAX) } else { now };
            self.spans.push(Span { age: self.age, at });
            self.prune();
        }
        (self.at, self.latest) = (now, self.latest.max(now));
        self
    }

    /// Returns how long a stamp has been there at `now`, in milliseconds: the least that agrees with the readings.
    pub fn since(&self, stamp: i64, now: i64) -> i64 {
        let ends = self.spans.iter().skip(1).map(|span| span.age).chain([self.age]);
        let age = |(span, end): (&Span, i64)| {
            (span.at <= stamp).then(|| span.age.saturating_add(stamp.saturating_sub(span.at)).min(end))
        };
        let stamped = self.spans.iter().zip(ends).filter_map(age).max().unwrap_or(0);
        let unread = now.saturating_sub(self.at).clamp(0, RUNNING_MS_MAX);
        let since_stamp = now.saturating_sub(stamp).max(0);
        self.age.saturating_add(unread).saturating_sub(stamped).min(since_stamp)
    }

    /// Returns the moment before which every stamp is older than `retention`, whatever the clock showed since. What is from
    /// before the first reading is taken at its word.
    pub fn cutoff(&self, retention: i64) -> i64 {
        let from = self.age.saturating_sub(retention);
        let inside = self.spans.iter().rfind(|span| span.age <= from).unwrap_or(&self.spans[0]);
        let evenly = inside.at.saturating_add(from.saturating_sub(inside.age));
        self.spans.iter().filter(|span| span.age > from).map(|span| span.at).fold(evenly, i64::min)
    }

    /// Returns the earliest moment to which the clock was set back within the last `retention`, if it was: what was stamped since
    /// may be younger than its stamp says.
    pub fn earliest_setback(&self, retention: i64) -> Option<i64> {
        let from = self.age.saturating_sub(retention);
        let ahead = |span: &Span| span.at.saturating_sub(span.age);
        let setbacks = self.spans.windows(2).filter(|spans| ahead(&spans[1]) < ahead(&spans[0]));
        setbacks.map(|spans| spans[1]).filter(|span| span.age >= from).map(|span| span.at).min()
    }

    fn prune(&mut self) {
        let old = self.age.saturating_sub(REMEMBERED_MS);
        while self.spans.len() > 1 && self.spans[1].age < old {
            self.spans.remove(0);
        }
        while self.spans.len() > SPANS_MAX {
            let (first, second) = (self.spans.remove(0), self.spans[0]);
            let ahead = (first.at.saturating_sub(first.age)).min(second.at.saturating_sub(second.age));
            self.spans[0] = Span { age: first.age, at: first.age.saturating_add(ahead) };
        }
    }

    fn to_text(&self) -> String {
        let Lifetime { age, at, latest, spans } = self;
        let mut text = format!("{age} {at} {latest}");
        for Span { age, at } in spans {
            let _ = write!(text, " {age}:{at}"); // a string takes everything
        }
        text
    }

    fn of_text(text: &str) -> Option<Lifetime> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (age, at, latest) = (number()?, number()?, number()?);
        let span = |word: &str| {
            let (age, at) = word.split_once(':')?;
            Some(Span { age: age.parse().ok()?, at: at.parse().ok()? })
        };
        let spans = words.map(span).collect::<Option<Vec<Span>>>()?;
        (!spans.is_empty()).then_some(Lifetime { age, at, latest, spans })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * HOUR_MS;
    const RETENTION: i64 = 30 * DAY;
    /// When the database was begun.
    const BEGUN: i64 = 20_000 * DAY;

    /// A database that was read every minute, for so many days.
    fn after_days(days: i64) -> Lifetime {
        running(Lifetime::begun(BEGUN), BEGUN, days)
    }

    fn running(mut lifetime: Lifetime, from: i64, days: i64) -> Lifetime {
        for hour in 0..=days * 24 {
            lifetime = lifetime.read(from + hour * HOUR_MS);
        }
        lifetime
    }

    #[test]
    fn while_the_clock_goes_evenly_the_cutoff_is_a_retention_ago() {
        for days in [0, 29, 30, 47] {
            assert_eq!(after_days(days).cutoff(RETENTION), BEGUN + (days - 30) * DAY);
            assert_eq!(after_days(days).earliest_setback(RETENTION), None);
        }
    }

    #[test]
    fn a_clock_that_is_far_ahead_for_a_while_makes_nothing_older_than_a_day() {
        let now = BEGUN + 40 * DAY;
        let ahead = running(after_days(40).read(now + 200 * DAY), now + 200 * DAY, 0);
        assert_eq!(ahead.cutoff(RETENTION), BEGUN + 11 * DAY, "the jump counts a day");
        let back = ahead.read(now + 60_000);
        assert!(back.cutoff(RETENTION) <= BEGUN + 11 * DAY);
        assert_eq!(back.earliest_setback(RETENTION), Some(now + 60_000 - DIFFERENCE_MS_MAX));
        let mut again = back;
        for _ in 0..50 {
            again = again.read(now + 200 * DAY).read(now + 60_000);
        }
        assert!(again.cutoff(RETENTION) <= BEGUN + 12 * DAY, "{again:?}: being ahead again counts nothing");
        assert!(again.spans.len() <= SPANS_MAX);
    }

    #[test]
    fn what_is_stamped_by_a_clock_that_is_behind_is_kept_for_the_whole_retention() {
        let (now, behind) = (BEGUN + 100 * DAY, BEGUN + 40 * DAY);
        let lifetime = running(after_days(100).read(behind), behind, 1); // what is stamped now has the stamp `behind`
        let lifetime = running(lifetime.read(now + DAY), now + DAY, 28);
        assert!(lifetime.cutoff(RETENTION) <= behind, "{:?}", lifetime.cutoff(RETENTION));
        let lifetime = running(lifetime, now + 29 * DAY, 5);
        assert_eq!(lifetime.cutoff(RETENTION), now + 4 * DAY, "and then the clock counts that was right");
    }

    #[test]
    fn a_stop_of_weeks_counts_a_day_and_one_of_a_night_counts_whole() {
        let now = BEGUN + 30 * DAY;
        assert_eq!(after_days(30).read(now + 12 * HOUR_MS).cutoff(RETENTION), BEGUN + 12 * HOUR_MS);
        assert_eq!(after_days(30).read(now + 21 * DAY).cutoff(RETENTION), BEGUN + DAY);
    }

    #[test]
    fn clocks_that_differ_by_less_than_an_hour_do_not_hold_it_up() {
        let mut lifetime = Lifetime::begun(BEGUN);
        for minute in 0..60 * 24 * 31 {
            let now = BEGUN + minute * 60_000;
            lifetime = lifetime.read(now).read(now - 30_000);
        }
        assert_eq!(lifetime.spans.len(), 1);
        assert_eq!(lifetime.cutoff(RETENTION), BEGUN + DAY - 60_000);
    }

    #[test]
    fn more_jumps_than_are_remembered_never_raise_the_cutoff() {
        let mut lifetime = after_days(40);
        for jump in 1..100 {
            lifetime = running(lifetime.read(BEGUN + (40 - jump % 7) * DAY), BEGUN + (40 - jump % 7) * DAY, 0);
            assert!(lifetime.cutoff(RETENTION) <= BEGUN + 40 * DAY);
        }
        assert!(lifetime.spans.len() <= SPANS_MAX);
    }

    #[test]
    fn it_is_what_it_was_when_it_was_stored() {
        let lifetime = after_days(3).read(BEGUN).read(BEGUN + 90 * DAY);
        assert_eq!(Lifetime::of_text(&lifetime.to_text()), Some(lifetime));
        for text in ["", "1 2 3", "1 2 3 4", "1 2 x 1:2"] {
            assert_eq!(Lifetime::of_text(text), None, "{text}");
        }
    }

    #[test]
    fn of_the_time_in_which_processes_ran_no_stop_and_no_jump_counts() {
        const MINUTE: i64 = 60_000;
        let mut lifetime = Lifetime::begun(BEGUN);
        let mut now = BEGUN;
        let mut run = |lifetime: &mut Lifetime, from: i64, minutes: i64| {
            for minute in 0..=minutes {
                *lifetime = lifetime.clone().read_by(from + minute * MINUTE, Counts::Running);
            }
            now = from + minutes * MINUTE;
            now
        };
        let stamp = run(&mut lifetime, BEGUN, 10);
        let stopped = run(&mut lifetime, stamp, 5);
        assert_eq!(lifetime.since(stamp, stopped), 5 * MINUTE);
        let ahead = run(&mut lifetime, stopped + 90 * DAY, 5);
        assert_eq!(lifetime.since(stamp, ahead), 10 * MINUTE, "the jump counts nothing");
        let back = run(&mut lifetime, stopped + 10 * MINUTE, 5);
        assert!(lifetime.since(stamp, back) <= 15 * MINUTE);
        assert_eq!(lifetime.since(ahead, back), 0, "a stamp from the future is new");
        assert_eq!(lifetime.since(back, back + MINUTE), MINUTE, "since the last reading");
    }

    #[tokio::test]
    async fn a_reading_is_stored_once_a_minute_and_survives_a_restart() {
        let database = crate::testing::database();
        database.migrate("lifetime", MIGRATIONS, 1).await.expect("migrate");
        let mut readings = Readings::default();
        for second in 0..121 {
            readings.take(&database, BEGUN + second * 1_000).await.expect("read");
        }
        let mut restarted = Readings::default();
        let lifetime = restarted.take(&database, BEGUN + 10 * HOUR_MS).await.expect("read");
        assert_eq!((lifetime.age, lifetime.spans.len()), (10 * HOUR_MS, 1));
    }
}
