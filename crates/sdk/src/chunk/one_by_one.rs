//! Property: a chunk with interleaved handlers equals its commands one by one, in replies and
//! tables.
//!
//! The example is a bank of three accounts with little money, so that the order of payments decides
//! refusals.

use sagamore_core::{Body, Direction, Message, Refusal, ReplyTo, Timestamp};
use sagamore_database::testing::{database, is_remote};
use sagamore_database::{Migration, Row, Tx};

use super::*;
use crate::decided::{Decided, done, refused};
use crate::options::Options;
use crate::service::Service;
use crate::work::{CommandWork, Work};

/// Number of chunks on a server, and in memory, where statements complete at once and need fewer
/// chunks.
const CHUNKS: (usize, usize) = (10_000, 1_000);
/// Number of chunks per transaction. A row that one transaction changes thousands of times is slow
/// to read.
const CHUNKS_COMMITTED: usize = 50;
const ACCOUNTS: [&str; 3] = ["a", "b", "c"];

const MIGRATIONS: &[Migration] = &[
    Migration::new(
        "0001-account",
        "CREATE TABLE account (name TEXT PRIMARY KEY, cents BIGINT NOT NULL)",
    ),
    Migration::new(
        "0002-payment",
        "CREATE TABLE payment (id TEXT PRIMARY KEY, account TEXT NOT NULL, \
         repaid BOOLEAN NOT NULL)",
    ),
    Migration::new(
        "0003-money",
        "INSERT INTO account (name, cents) VALUES ('a', 3), ('b', 3), ('c', 3)",
    ),
];

#[derive(Message)]
#[message(to = "bank", yields = Paid)]
struct Pay {
    id: String,
    account: String,
    cents: i64,
}

#[derive(Message)]
struct Paid {
    id: String,
    account: String,
    cents: i64,
}

#[derive(Message)]
#[message(to = "bank", undoes = Pay)]
struct Repay;

#[derive(Message)]
#[message(to = "bank", yields = Moved)]
struct Move {
    from: String,
    to: String,
    cents: i64,
}

#[derive(Message)]
struct Moved {
    cents: i64,
}

/// A command without a key.
#[derive(Message)]
#[message(to = "bank", yields = Counted)]
struct Count;

#[derive(Message)]
struct Counted {
    cents: i64,
}

#[derive(Debug, Refusal)]
enum Declined {
    #[refusal(code = "too-little", message = "too little money")]
    TooLittle,
    #[refusal(code = "paid-before", message = "paid before")]
    PaidBefore,
}

/// Yields before each statement, so that handlers also interleave without a server.
async fn execute(
    tx: &Tx,
    sql: &str,
    params: impl sagamore_database::Params,
) -> Result<u64, DatabaseError> {
    tokio::task::yield_now().await;
    tx.execute(sql, params).await
}

const TAKE: &str = "UPDATE account SET cents = cents - $2 WHERE name = $1 AND cents >= $2";
const GIVE: &str = "UPDATE account SET cents = cents + $2 WHERE name = $1";

async fn pay(tx: Tx, Pay { id, account, cents }: Pay) -> Decided<Paid, Declined> {
    if execute(&tx, TAKE, (&account, cents)).await? == 0 {
        return refused(Declined::TooLittle);
    }
    let sql = "INSERT INTO payment (id, account, repaid) VALUES ($1, $2, FALSE) ON CONFLICT (id) \
               DO NOTHING";
    match execute(&tx, sql, (&id, &account)).await? {
        0 => refused(Declined::PaidBefore),
        _ => done(Paid { id, account, cents }),
    }
}

async fn repay(tx: Tx, Paid { id, account, cents }: Paid) -> Decided<(), Declined> {
    if execute(&tx, "UPDATE payment SET repaid = TRUE WHERE id = $1 AND repaid = FALSE", (&id,))
        .await?
        == 0
    {
        return refused(Declined::PaidBefore);
    }
    execute(&tx, GIVE, (&account, cents)).await?;
    done(())
}

async fn shift(tx: Tx, Move { from, to, cents }: Move) -> Decided<Moved, Declined> {
    if execute(&tx, TAKE, (&from, cents)).await? == 0 {
        return refused(Declined::TooLittle);
    }
    execute(&tx, GIVE, (&to, cents)).await?;
    done(Moved { cents })
}

async fn count(tx: Tx, _: Count) -> Decided<Counted, Declined> {
    let rows = tx.query("SELECT cents FROM account WHERE name = 'a'", ()).await?;
    done(Counted { cents: rows.first().map_or(Ok(0), |row| row.get(0))? })
}

fn bank() -> Service {
    Service::named("bank")
        .migrations(MIGRATIONS)
        .action(pay)
        .compensation::<Repay>(repay)
        .action(shift)
        .action(count)
}

fn keyed_bank() -> Service {
    bank()
        .keyed_by(|pay: &Pay| &pay.account)
        .keyed_by(|pay: &Pay| &pay.id)
        .keyed_by(|paid: &Paid| &paid.account)
        .keyed_by(|paid: &Paid| &paid.id)
        .keyed_by_each(|shift: &Move| vec![shift.from.as_str(), shift.to.as_str()])
}

fn command(
    place: usize,
    saga: usize,
    direction: Direction,
    name: &str,
    body: &impl serde::Serialize,
) -> WorkItem {
    let key = StepKey {
        saga: format!("toy:{saga}").parse().expect("a saga"),
        step: "one".parse().expect("a name"),
        direction,
        generation: 1,
    };
    let reply_to = ReplyTo { topic: "replies".into(), partition: 0 };
    let message = Ok((name.parse().expect("a name"), Body::of(body).expect("JSON")));
    WorkItem { place, key, work: Work::Command(CommandWork { reply_to, trace: None, message }) }
}

/// Returns two to five commands of distinct sagas. `begun` lists earlier sagas, each of which may
/// be undone once.
fn chunk(rng: &mut fastrand::Rng, sagas: &mut usize, begun: &mut Vec<usize>) -> Vec<WorkItem> {
    let (mut chunk, mut paying) = (Vec::new(), Vec::new());
    for place in 0..rng.usize(2..=5) {
        let (saga, account, cents) = (*sagas, ACCOUNTS[rng.usize(..3)].to_owned(), rng.i64(1..=3));
        chunk.push(match rng.usize(..20) {
            0..8 if !begun.is_empty() => {
                let saga = begun.swap_remove(rng.usize(..begun.len()));
                command(place, saga, Direction::Compensation, Repay::NAME, &Repay)
            }
            0..15 => {
                let id = if rng.usize(..30) == 0 { saga / 2 } else { saga };
                let pay = Pay { id: id.to_string(), account, cents };
                paying.push(saga);
                command(place, saga, Direction::Action, Pay::NAME, &pay)
            }
            15..19 => {
                let (from, to) = (account, ACCOUNTS[rng.usize(..3)].to_owned());
                command(place, saga, Direction::Action, Move::NAME, &Move { from, to, cents })
            }
            _ => command(place, saga, Direction::Action, Count::NAME, &Count),
        });
        *sagas += 1;
    }
    begun.append(&mut paying);
    chunk
}

/// The outcomes of a chunk and the rows that it may have changed.
type Effects = (Vec<Option<Outcome>>, Vec<Row>, Vec<Vec<Row>>);

async fn effects(
    context: &ChunkContext<'_>,
    open: &Open,
    chunk: &[WorkItem],
) -> Result<(Effects, Mode), Stop> {
    let mut meter = Meter::default();
    let mut mode = Mode::Together;
    open.savepoint().await.map_err(Stop::of)?;
    let mut worked = context.work(open, chunk, mode, &mut meter).await;
    if let Err(Stop::Apart) = worked {
        open.rollback_to().await.map_err(Stop::of)?;
        open.savepoint().await.map_err(Stop::of)?;
        mode = Mode::Apart { last: false };
        worked = context.work(open, chunk, mode, &mut meter).await;
    }
    let answers = worked?;
    let outcomes = answers.into_iter().map(|answer| answer.map(|answer| answer.outcome)).collect();
    let accounts = open
        .tx()
        .query("SELECT name, cents FROM account ORDER BY name", ())
        .await
        .map_err(Stop::of)?;
    let ids = chunk
        .iter()
        .map(|item| vec![item.key.saga.as_str().trim_start_matches("toy:").into()])
        .collect();
    let payments =
        open.tx().query_each("SELECT account, repaid FROM payment WHERE id = $1", ids).await;
    open.release().await.map_err(Stop::of)?;
    Ok(((outcomes, accounts, payments.map_err(Stop::of)?), mode))
}

#[tokio::test]
async fn every_interleaved_chunk_equals_its_commands_one_by_one() {
    let seed = std::env::var("SAGAMORE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    let (mut rng, chunks) =
        (fastrand::Rng::with_seed(seed), if is_remote() { CHUNKS.0 } else { CHUNKS.1 });
    let replay = format!(
        "replay: SAGAMORE_SEED={seed} cargo test -p sagamore-sdk --lib every_interleaved_chunk"
    );
    println!("{chunks} chunks, {replay}");
    let (database, options) = (database(), Options::default());
    let (plain, keyed) = (bank(), keyed_bank());
    database.migrate("barrier", barrier::MIGRATIONS, 1).await.expect("migrate");
    database.migrate("bank", MIGRATIONS, 1).await.expect("migrate");
    let now = Timestamp(1_000_000);
    let context = |service| ChunkContext {
        service,
        database: &database,
        options: &options,
        bytes_max: 1 << 20,
        now,
        blamed: None,
    };
    let (plain, keyed) = (context(&plain), context(&keyed));
    let (mut sagas, mut begun, mut interleaved, mut refusals) = (0, Vec::new(), 0, 0);
    for _ in 0..chunks.div_ceil(CHUNKS_COMMITTED) {
        let open = database.begin().await.expect("begin");
        for _ in 0..CHUNKS_COMMITTED {
            let chunk = chunk(&mut rng, &mut sagas, &mut begun);
            open.savepoint().await.expect("savepoint");
            let (wanted, _) =
                effects(&plain, &open, &chunk).await.ok().expect("the chunk one by one");
            open.rollback_to().await.expect("roll back");
            let (found, mode) =
                effects(&keyed, &open, &chunk).await.ok().expect("the chunk interleaved");
            assert_eq!(found, wanted, "{replay}\n{chunk:#?}");
            interleaved += usize::from(mode == Mode::Together);
            let is_refused =
                |outcome: &&Option<Outcome>| matches!(outcome, Some(Outcome::Refused(_)));
            refusals += wanted.0.iter().filter(is_refused).count();
        }
        open.commit().await.expect("commit");
    }
    assert!(
        interleaved > chunks / 2 && refusals > chunks / 10,
        "{interleaved} interleaved, {refusals} refusals"
    );
}
