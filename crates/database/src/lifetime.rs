//! The age of a database in use, derived from the clock readings of its users. Retention is based
//! on it.
//!
//! A clock that jumps must not make any row old. A gap between two readings therefore counts at
//! most a day, and a reading before the last one counts nothing. The readings within the retention
//! determine which stamps are old enough.

use std::fmt::Write;

use crate::database::{Database, Tx};
use crate::error::Error;
use crate::migration::Migration;
use crate::port::Dialect;

/// The migration of the table, which has one row per kind of lifetime.
pub const MIGRATIONS: &[Migration] = &[Migration::new(
    "0001-lifetime",
    "CREATE TABLE lifetime (id BIGINT PRIMARY KEY, state TEXT NOT NULL)",
)];

const HOUR_MS: i64 = 3_600_000;
/// Maximum time that a gap between two readings adds to the age.
const GAP_MS_MAX: i64 = 24 * HOUR_MS;
/// Maximum setback that is attributed to a difference between clocks. It is also the maximum time
/// between two readings.
const DIFFERENCE_MS_MAX: i64 = HOUR_MS;
/// The interval between two stored readings.
const STORE_EVERY_MS: i64 = 60_000;
/// Maximum gap between two readings of a running process.
const RUNNING_MS_MAX: i64 = 300_000;
/// Maximum number of stored jumps. The oldest ones are merged.
const SPANS_MAX: usize = 32;
/// Age beyond which jumps no longer matter, because no retention is longer.
const REMEMBERED_MS: i64 = 1_000 * 24 * HOUR_MS;

/// The age of a database, and the readings of its clock by age. All in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    age: i64,
    /// The last reading.
    at: i64,
    /// The latest time that was ever read.
    latest: i64,
    /// Ages at which a period without jumps starts, each with the clock's reading; never empty,
    /// ordered by age.
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    age: i64,
    at: i64,
}

/// Reads the clock for a [`Lifetime`], and stores the result once a minute.
#[derive(Debug, Default)]
pub struct Readings {
    last: Option<(i64, Lifetime)>,
    counts: Counts,
}

/// The treatment of gaps between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Counts {
    /// Gaps count up to a day.
    #[default]
    Stops,
    /// Gaps count only if they are as short as those of a running process.
    Running,
}

impl Readings {
    /// Creates readings that only count the time in which processes ran: neither stops nor jumps
    /// count.
    pub fn of_running() -> Readings {
        Readings { last: None, counts: Counts::Running }
    }

    /// Takes a reading, and returns the lifetime as of the last stored one. Call it before a
    /// process stamps any row, and then at least once an hour.
    ///
    /// A stored state that this program cannot read, because a newer one wrote it or it is damaged,
    /// stays as it is. The lifetime then counts from this process's first reading: rows are removed
    /// later, never earlier.
    pub async fn take(&mut self, database: &Database, now_ms: i64) -> Result<&Lifetime, Error> {
        let fresh = |read: i64| (read..read.saturating_add(STORE_EVERY_MS)).contains(&now_ms);
        let lifetime = match self.last.take() {
            Some((read, lifetime)) if fresh(read) => (read, lifetime),
            before => {
                let before = before.map(|(_, lifetime)| lifetime);
                (now_ms, store(database, now_ms, self.counts, before).await?)
            }
        };
        Ok(&self.last.insert(lifetime).1)
    }

    /// Returns whether a reading is due because the clock was set back since the last one.
    pub fn is_overtaken(&self, now_ms: i64) -> bool {
        self.last.as_ref().is_none_or(|(read, _)| now_ms < *read)
    }
}

async fn store(
    database: &Database,
    now_ms: i64,
    counts: Counts,
    before: Option<Lifetime>,
) -> Result<Lifetime, Error> {
    let open = database.begin().await?;
    let lifetime = match load(&open.tx(), counts).await? {
        Some(Ok(stored)) => stored.read_by(now_ms, counts),
        None => Lifetime::begun(now_ms),
        Some(Err(Unreadable)) => {
            tracing::warn!(
                id = counts.row(),
                "cannot read the stored lifetime: rows are removed later"
            );
            open.rollback().await?;
            let fresh = || Lifetime::begun(now_ms);
            return Ok(before.map_or_else(fresh, |before| before.read_by(now_ms, counts)));
        }
    };
    let upsert = "INSERT INTO lifetime (id, state) VALUES ($2, $1)
        ON CONFLICT (id) DO UPDATE SET state = excluded.state";
    open.tx().execute(upsert, (lifetime.to_text(), counts.row())).await?;
    open.commit().await?;
    Ok(lifetime)
}

/// A stored lifetime that this program cannot read.
struct Unreadable;

async fn load(tx: &Tx, counts: Counts) -> Result<Option<Result<Lifetime, Unreadable>>, Error> {
    let alone = match tx.dialect() {
        Dialect::Sqlite => "",
        Dialect::Postgres => " FOR UPDATE",
    };
    let rows = tx
        .query(&format!("SELECT state FROM lifetime WHERE id = $1{alone}"), (counts.row(),))
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Lifetime::of_text(&row.get::<String>(0)?).ok_or(Unreadable)))
}

impl Counts {
    /// Returns the id of the row.
    fn row(self) -> i64 {
        match self {
            Counts::Stops => 1,
            Counts::Running => 2,
        }
    }

    /// Returns the gap up to which readings count fully, and the maximum of a longer gap.
    fn bounds(self) -> (i64, i64) {
        match self {
            Counts::Stops => (DIFFERENCE_MS_MAX, GAP_MS_MAX),
            Counts::Running => (RUNNING_MS_MAX, 0),
        }
    }
}

impl Lifetime {
    /// Returns how long the database has been in use, in milliseconds.
    pub fn age_ms(&self) -> i64 {
        self.age
    }

    /// Creates the lifetime of a database without earlier readings.
    pub fn begun(now: i64) -> Lifetime {
        Lifetime { age: 0, at: now, latest: now, spans: vec![Span { age: 0, at: now }] }
    }

    /// Returns the lifetime after another reading.
    #[must_use]
    pub fn read(self, now: i64) -> Lifetime {
        self.read_by(now, Counts::Stops)
    }

    fn read_by(mut self, now: i64, counts: Counts) -> Lifetime {
        let (whole_max, gap_max) = counts.bounds();
        let gap = now.saturating_sub(self.at);
        if (-DIFFERENCE_MS_MAX..0).contains(&gap) {
            return self; // the clocks of two processes differ
        }
        let counts = match gap {
            ..0 => 0,
            gap if gap <= whole_max => gap,
            // a clock that was ahead before adds no age by being ahead again
            _ => now.saturating_sub(self.at.max(self.latest)).clamp(0, gap_max),
        };
        self.age = self.age.saturating_add(counts);
        if counts != gap {
            // stamps may have been made between the jump and this reading
            let at = if gap < 0 { now.saturating_sub(DIFFERENCE_MS_MAX) } else { now };
            self.spans.push(Span { age: self.age, at });
            self.prune();
        }
        (self.at, self.latest) = (now, self.latest.max(now));
        self
    }

    /// Returns the age of a stamp at `now` in milliseconds: the least that agrees with the
    /// readings.
    pub fn since(&self, stamp: i64, now: i64) -> i64 {
        let ends = self.spans.iter().skip(1).map(|span| span.age).chain([self.age]);
        let age = |(span, end): (&Span, i64)| {
            (span.at <= stamp)
                .then(|| span.age.saturating_add(stamp.saturating_sub(span.at)).min(end))
        };
        let stamped = self.spans.iter().zip(ends).filter_map(age).max().unwrap_or(0);
        let unread = now.saturating_sub(self.at).clamp(0, RUNNING_MS_MAX);
        let since_stamp = now.saturating_sub(stamp).max(0);
        self.age.saturating_add(unread).saturating_sub(stamped).min(since_stamp)
    }

    /// Returns the time before which every stamp is older than `retention`, regardless of clock
    /// jumps. Stamps before the first reading are trusted.
    pub fn cutoff(&self, retention: i64) -> i64 {
        let from = self.age.saturating_sub(retention);
        let inside = self.spans.iter().rfind(|span| span.age <= from).unwrap_or(&self.spans[0]);
        let evenly = inside.at.saturating_add(from.saturating_sub(inside.age));
        self.spans.iter().filter(|span| span.age > from).map(|span| span.at).fold(evenly, i64::min)
    }

    /// Returns the earliest time to which the clock was set back within the last `retention`. Rows
    /// stamped since may be younger than their stamps.
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
            let ahead =
                (first.at.saturating_sub(first.age)).min(second.at.saturating_sub(second.age));
            self.spans[0] = Span { age: first.age, at: first.age.saturating_add(ahead) };
        }
    }

    fn to_text(&self) -> String {
        let Lifetime { age, at, latest, spans } = self;
        let mut text = format!("{age} {at} {latest}");
        for Span { age, at } in spans {
            let _ = write!(text, " {age}:{at}"); // writing to a string does not fail
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
    /// The time of the first reading.
    const BEGUN: i64 = 20_000 * DAY;

    /// Returns a database that was read regularly for `days`.
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
    fn without_jumps_the_cutoff_is_one_retention_ago() {
        for days in [0, 29, 30, 47] {
            assert_eq!(after_days(days).cutoff(RETENTION), BEGUN + (days - 30) * DAY);
            assert_eq!(after_days(days).earliest_setback(RETENTION), None);
        }
    }

    #[test]
    fn a_clock_that_is_temporarily_ahead_ages_rows_by_at_most_a_day() {
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
        assert!(
            again.cutoff(RETENTION) <= BEGUN + 12 * DAY,
            "{again:?}: a second jump ahead counts nothing"
        );
        assert!(again.spans.len() <= SPANS_MAX);
    }

    #[test]
    fn rows_stamped_by_a_clock_that_is_behind_stay_for_the_whole_retention() {
        let (now, behind) = (BEGUN + 100 * DAY, BEGUN + 40 * DAY);
        // rows stamped now have the stamp `behind`
        let lifetime = running(after_days(100).read(behind), behind, 1);
        let lifetime = running(lifetime.read(now + DAY), now + DAY, 28);
        assert!(lifetime.cutoff(RETENTION) <= behind, "{:?}", lifetime.cutoff(RETENTION));
        let lifetime = running(lifetime, now + 29 * DAY, 5);
        assert_eq!(lifetime.cutoff(RETENTION), now + 4 * DAY, "later the correct clock counts");
    }

    #[test]
    fn a_stop_of_weeks_counts_a_day_and_a_stop_of_a_night_counts_fully() {
        let now = BEGUN + 30 * DAY;
        assert_eq!(after_days(30).read(now + 12 * HOUR_MS).cutoff(RETENTION), BEGUN + 12 * HOUR_MS);
        assert_eq!(after_days(30).read(now + 21 * DAY).cutoff(RETENTION), BEGUN + DAY);
    }

    #[test]
    fn clocks_that_differ_by_less_than_an_hour_do_not_delay_the_cutoff() {
        let mut lifetime = Lifetime::begun(BEGUN);
        for minute in 0..60 * 24 * 31 {
            let now = BEGUN + minute * 60_000;
            lifetime = lifetime.read(now).read(now - 30_000);
        }
        assert_eq!(lifetime.spans.len(), 1);
        assert_eq!(lifetime.cutoff(RETENTION), BEGUN + DAY - 60_000);
    }

    #[test]
    fn merged_jumps_never_raise_the_cutoff() {
        let mut lifetime = after_days(40);
        for jump in 1..100 {
            lifetime = running(
                lifetime.read(BEGUN + (40 - jump % 7) * DAY),
                BEGUN + (40 - jump % 7) * DAY,
                0,
            );
            assert!(lifetime.cutoff(RETENTION) <= BEGUN + 40 * DAY);
        }
        assert!(lifetime.spans.len() <= SPANS_MAX);
    }

    #[test]
    fn a_lifetime_survives_a_round_trip_through_its_text() {
        let lifetime = after_days(3).read(BEGUN).read(BEGUN + 90 * DAY);
        assert_eq!(Lifetime::of_text(&lifetime.to_text()), Some(lifetime));
        for text in ["", "1 2 3", "1 2 3 4", "1 2 x 1:2"] {
            assert_eq!(Lifetime::of_text(text), None, "{text}");
        }
    }

    #[test]
    fn running_time_excludes_stops_and_jumps() {
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
        assert_eq!(
            lifetime.since(back, back + MINUTE),
            MINUTE,
            "the time since the last reading counts"
        );
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

    #[tokio::test]
    async fn a_state_of_a_newer_program_stays_and_the_lifetime_counts_from_this_process() {
        let database = crate::testing::database();
        database.migrate("lifetime", MIGRATIONS, 1).await.expect("migrate");
        let open = database.begin().await.expect("begin");
        let newer = "INSERT INTO lifetime (id, state) VALUES (1, 'v9 of a newer program')";
        open.tx().execute(newer, ()).await.expect("insert");
        open.commit().await.expect("commit");
        let mut readings = Readings::default();
        for hour in 0..3 {
            let lifetime = readings.take(&database, BEGUN + hour * HOUR_MS).await.expect("read");
            assert_eq!(lifetime.age, hour * HOUR_MS);
        }
        let rows = database.query("SELECT state FROM lifetime", ()).await.expect("read");
        assert_eq!(rows[0].get::<String>(0).expect("a text"), "v9 of a newer program");
    }
}
