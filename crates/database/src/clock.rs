//! The only file that reads clocks: what time it is for everything that one database remembers.
//!
//! On PostgreSQL the server's clock counts, sampled from time to time and advanced by this machine's boot clock. SQLite has
//! no server: there the wall clock counts as it was when the program started, advanced by the boot clock.
//!
//! **Invariant:** between two samples a [`Clock`] advances exactly as time passes, whatever is done to the wall clock.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::database::Database;
use crate::error::Error;
use crate::port::Dialect;

/// The pause between two samples of a server's clock.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// A sample whose answer took longer than this is too inexact to replace an earlier one.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// Clocks that are further apart disagree.
const APART_MAX: Duration = Duration::from_secs(600);
/// Reads the server's clock, in milliseconds since 1970.
pub const SERVER_TIME: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

/// The wall clock as it was when this process first read it.
static START: LazyLock<Sample> = LazyLock::new(|| Sample { at_ms: wall_ms(), taken: boot() });

/// The time of one database, in milliseconds since 1970. Clones share it. The default is [`Clock::process`].
#[derive(Clone, Default)]
pub struct Clock {
    /// None: the time of this process.
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

/// A moment of the clock that counts, and the boot clock at that moment.
#[derive(Clone, Copy)]
struct Sample {
    at_ms: i64,
    taken: Duration,
}

impl Clock {
    /// The time of this process: the wall clock at its start, advanced by the boot clock.
    pub fn process() -> Clock {
        Clock { server: None }
    }

    /// The time of a database: on PostgreSQL the server's, on SQLite that of this process.
    pub fn of(database: &Database) -> Clock {
        let server = || Arc::new(Server { database: database.clone(), state: Mutex::default() });
        match database.dialect() {
            Dialect::Sqlite => Clock::process(),
            Dialect::Postgres => Clock { server: Some(server()) },
        }
    }

    /// Returns the present time. Before the first successful [`Clock::sample`] of a server it is the process's.
    pub fn now_ms(&self) -> i64 {
        let sampled = self.server.as_ref().and_then(|server| server.state().sample);
        sampled.unwrap_or(*START).advanced_to(boot())
    }

    /// Asks the server for its time, at most once in ten seconds; otherwise, and on SQLite, does nothing. To be called before
    /// each turn.
    ///
    /// # Errors
    /// Only while no sample exists. A later one that fails leaves the last one in force.
    pub async fn sample(&self) -> Result<(), Error> {
        let Some(server) = &self.server else { return Ok(()) };
        let State { sample, tried } = server.state();
        let began = boot();
        if tried.is_some_and(|tried| began.saturating_sub(tried) < SAMPLE_EVERY) && sample.is_some() {
            return Ok(());
        }
        server.set(|state| state.tried = Some(began));
        let answer = server.database.query(SERVER_TIME, ()).await;
        let (ended, answer) = (boot(), answer.and_then(|rows| rows.first().map(|row| row.get(0)).transpose()));
        match answer {
            Ok(Some(at_ms)) => {
                let round_trip = ended.saturating_sub(began);
                if sample.is_none() || round_trip <= ROUND_TRIP_MAX {
                    server.set(|state| state.sample = Some(Sample { at_ms, taken: began + round_trip / 2 }));
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) if sample.is_none() => Err(error),
            Err(_) => Ok(()), // the boot clock continues it
        }
    }

    /// Whether this machine's wall clock and the clock that counts are so far apart that one of them must be wrong, and nothing may
    /// be forgotten.
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

/// The wall clock of this machine, in milliseconds since 1970; 0 before that.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time since the machine was booted, suspension included: no one can set it.
#[cfg(target_os = "linux")]
fn boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The time since the first call: elsewhere the standard library has no clock that counts suspension.
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
            let server: i64 = database.query(SERVER_TIME, ()).await.expect("read")[0].get(0).expect("a number");
            assert!((before - 1_000..before + 60_000).contains(&server), "{server} is far from {before}");
        }
        assert!(clock.now_ms() >= before);
    }
}
