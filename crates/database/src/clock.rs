//! The only file that reads clocks: the time of everything that one database stores.
//!
//! On PostgreSQL it is the server's clock, sampled periodically and advanced by this machine's boot
//! clock. SQLite has no server: there it is the wall clock at the program's start, advanced by the
//! boot clock.
//!
//! **Invariant:** between two samples a [`Clock`] advances exactly as time passes, regardless of
//! changes to the wall clock.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::database::Database;
use crate::error::Error;
use crate::port::Dialect;

/// The interval between two samples of a server's clock.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Maximum round trip of a sample that replaces an earlier one. A slower sample is too inaccurate.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// Minimum difference at which two clocks count as different.
const APART_MAX: Duration = Duration::from_secs(600);
/// Selects the server's time in milliseconds since 1970.
pub const SERVER_TIME: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

/// The wall clock when this process first read it.
static START: LazyLock<Sample> = LazyLock::new(|| Sample { at_ms: wall_ms(), taken: boot() });

/// The clock of one database, in milliseconds since 1970. Clones share it. The default is
/// [`Clock::process`].
#[derive(Clone, Default)]
pub struct Clock {
    /// The sampled server; `None` for this process's own time.
    server: Option<Arc<Server>>,
}

struct Server {
    database: Database,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    sample: Option<Sample>,
    tried: Option<Duration>,
}

/// A time of the sampled clock, and the boot clock at that moment.
#[derive(Clone, Copy)]
struct Sample {
    at_ms: i64,
    taken: Duration,
}

impl Clock {
    /// Returns the clock of this process: the wall clock at its start, advanced by the boot clock.
    pub fn process() -> Clock {
        Clock { server: None }
    }

    /// Returns the clock of a database: the server's on PostgreSQL, this process's on SQLite.
    pub fn of(database: &Database) -> Clock {
        let server = || Arc::new(Server { database: database.clone(), state: Mutex::default() });
        match database.dialect() {
            Dialect::Sqlite => Clock::process(),
            Dialect::Postgres => Clock { server: Some(server()) },
        }
    }

    /// Returns the current time. Before a server's first successful [`Clock::sample`] it is the
    /// process's.
    pub fn now_ms(&self) -> i64 {
        let sampled = self.server.as_ref().and_then(|server| server.state().sample);
        sampled.unwrap_or(*START).advanced_to(boot())
    }

    /// Samples the server's clock at most once in ten seconds. On SQLite it does nothing. Call it
    /// before each turn.
    ///
    /// # Errors
    /// Only while no sample exists. A later failure keeps the last sample.
    pub async fn sample(&self) -> Result<(), Error> {
        let Some(server) = &self.server else { return Ok(()) };
        let State { sample, tried } = server.state();
        let began = boot();
        if tried.is_some_and(|tried| began.saturating_sub(tried) < SAMPLE_EVERY) && sample.is_some()
        {
            return Ok(());
        }
        server.set(|state| state.tried = Some(began));
        let answer = server.database.query(SERVER_TIME, ()).await;
        let (ended, answer) =
            (boot(), answer.and_then(|rows| rows.first().map(|row| row.get(0)).transpose()));
        match answer {
            Ok(Some(at_ms)) => {
                let round_trip = ended.saturating_sub(began);
                if sample.is_none() || round_trip <= ROUND_TRIP_MAX {
                    server.set(|state| {
                        state.sample = Some(Sample { at_ms, taken: began + round_trip / 2 })
                    });
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) if sample.is_none() => Err(error),
            Err(_) => Ok(()), // the boot clock advances the last sample
        }
    }

    /// Returns whether the wall clock differs so much from this clock that one must be wrong. Rows
    /// must then not be removed.
    pub fn disagrees(&self) -> bool {
        Duration::from_millis(wall_ms().abs_diff(self.now_ms())) > APART_MAX
    }
}

impl Server {
    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Sample {
    fn advanced_to(self, boot: Duration) -> i64 {
        let passed = i64::try_from(boot.saturating_sub(self.taken).as_millis()).unwrap_or(i64::MAX);
        self.at_ms.saturating_add(passed)
    }
}

/// Returns this machine's wall clock in milliseconds since 1970; 0 for earlier times.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the time since the machine's boot, including suspension. It cannot be set.
#[cfg(target_os = "linux")]
fn boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the time since the first call. On other systems the standard library has no clock that
/// counts suspension.
#[cfg(not(target_os = "linux"))]
fn boot() -> Duration {
    static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_advances_as_the_boot_clock_does_and_never_goes_back() {
        let sample = Sample { at_ms: 1_000, taken: Duration::from_secs(5) };
        assert_eq!(sample.advanced_to(Duration::from_secs(5)), 1_000);
        assert_eq!(sample.advanced_to(Duration::from_millis(7_250)), 3_250);
        assert_eq!(sample.advanced_to(Duration::ZERO), 1_000);
    }

    #[tokio::test]
    async fn the_clock_of_a_database_agrees_with_its_server() {
        let database = crate::testing::database();
        let clock = Clock::of(&database);
        clock.sample().await.expect("the server answers");
        let before = clock.now_ms();
        if database.dialect() == Dialect::Postgres {
            let server: i64 =
                database.query(SERVER_TIME, ()).await.expect("read")[0].get(0).expect("a number");
            assert!(
                (before - 1_000..before + 60_000).contains(&server),
                "{server} is far from {before}"
            );
        }
        assert!(clock.now_ms() >= before);
    }
}
