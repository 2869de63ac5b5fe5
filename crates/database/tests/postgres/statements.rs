//! Behaviour of statements on PostgreSQL beyond the port.

use futures_util::FutureExt as _;
use sagamore_database::postgres::array;
use sagamore_database::{Database, Error, Migration, Value};

use crate::server::Server;

async fn committed(db: &Database, sql: &str) {
    let open = db.begin().await.unwrap();
    open.tx().batch(sql).await.unwrap();
    open.commit().await.unwrap();
}

#[tokio::test]
async fn every_connection_has_its_bounds_and_its_plans() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    let check = async |setting: &str, expected: &str| {
        let rows = db.query(&format!("SHOW {setting}"), ()).await.unwrap();
        assert_eq!(rows[0].get(0), Ok(expected.to_owned()), "{setting}");
    };
    check("statement_timeout", "2500ms").await;
    check("lock_timeout", "2s").await;
    check("idle_in_transaction_session_timeout", "2500ms").await;
    check("tcp_user_timeout", "2500").await;
    check("plan_cache_mode", "force_generic_plan").await;
    check("default_transaction_isolation", "read committed").await;
    for off in ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"] {
        check(off, "off").await;
    }
}

/// A plan made while the table is empty uses the index of the key.
#[tokio::test]
async fn plans_use_indexes_from_the_first_row_on() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    committed(&db, "CREATE TABLE thing (a TEXT, b BIGINT, c TEXT, PRIMARY KEY (a, b))").await;
    let rows = db.query("EXPLAIN SELECT c FROM thing WHERE a = 'x' AND b = 1", ()).await.unwrap();
    let plan: String = rows.iter().map(|row| row.get::<String>(0).unwrap()).collect();
    assert!(plan.contains("Index Scan using thing_pkey"), "{plan}");
}

/// Two requests run concurrently, as in a turn that reads and reserves numbers on a read-only
/// server. The second one's error arrives before its cause, and must not look like a wrong
/// statement.
#[tokio::test]
async fn a_statement_after_an_unread_failure_is_transient() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    let open = db.begin().await.unwrap();
    let (one, other) = (open.tx(), open.tx());
    let mut failing = Box::pin(one.query("SELECT nothing FROM nowhere", ()));
    assert!(failing.as_mut().now_or_never().is_none(), "it is sent but not answered");
    let consequence = other.query("SELECT 1", ()).await.expect_err("the transaction is aborted");
    assert!(
        matches!(consequence, Error::Aborted(_)) && consequence.is_transient(),
        "{consequence:?}"
    );
    let cause = failing.await.expect_err("there is no such table");
    assert!(matches!(cause, Error::Statement(_)), "{cause:?}");
    let later = other.query("SELECT 1", ()).await.expect_err("the transaction is aborted");
    assert_eq!(later, Error::Aborted(Box::new(cause)));
}

#[tokio::test]
async fn a_sum_of_numbers_is_a_number() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    committed(
        &db,
        "CREATE TABLE thing (a BIGINT); INSERT INTO thing (a) VALUES (5000000000), (-7), (NULL)",
    )
    .await;
    let rows = db.query("SELECT SUM(a), COUNT(*), MAX(a) FROM thing", ()).await.unwrap();
    assert_eq!((rows[0].get(0), rows[0].get(1)), (Ok(4_999_999_993_i64), Ok(3_i64)));
    assert_eq!(rows[0].get(2), Ok(5_000_000_000_i64));
}

/// Many rows in one statement, with any content.
#[tokio::test]
async fn arrays_carry_many_rows() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    let columns = "id BIGINT PRIMARY KEY, t TEXT, d DOUBLE PRECISION, b BOOLEAN, x BYTEA";
    committed(&db, &format!("CREATE TABLE thing ({columns})")).await;
    let texts = [Some(""), None, Some("NULL"), Some("a \"b\" \\ {c}, 'd'\n"), Some("Grüße 🦀")];
    let bytes: [Option<Vec<u8>>; 5] =
        [None, Some(vec![]), Some(vec![0, 255]), Some(b"\\x".to_vec()), Some(vec![7; 9])];
    let sql = "INSERT INTO thing (id, t, d, b, x) SELECT * FROM UNNEST(CAST($1 AS BIGINT[]), \
               CAST($2 AS TEXT[]),
        CAST($3 AS DOUBLE PRECISION[]), CAST($4 AS BOOLEAN[]), CAST($5 AS BYTEA[]))";
    let doubles = [0.1, -1.5e300, f64::INFINITY, f64::MIN_POSITIVE, 3.0];
    let params = vec![
        array(0_i64..5),
        array(texts),
        array(doubles),
        array([Some(true), Some(false), None, None, None]),
        array(bytes.clone()),
    ];
    let open = db.begin().await.unwrap();
    assert_eq!(open.tx().execute(sql, params).await, Ok(5));
    assert_eq!(
        open.tx()
            .execute(sql, (array(Vec::<i64>::new()), array([0_i64; 0]), "{}", "{}", "{}"))
            .await,
        Ok(0)
    );
    open.savepoint().await.unwrap();
    let nul = open.tx().execute(sql, (array([9_i64]), array(["a\0"]), "{1}", "{t}", "{}")).await;
    assert!(matches!(nul, Err(Error::Constraint(_))), "{nul:?}");
    open.rollback_to().await.unwrap();
    let rows = open.tx().query("SELECT t, d, b, x FROM thing ORDER BY id", ()).await.unwrap();
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row.get(0), Ok(texts[place].map(str::to_owned)));
        assert_eq!((row.get(1), row.get(3)), (Ok(doubles[place]), Ok(bytes[place].clone())));
    }
    assert_eq!(
        (rows[0].get(2), rows[1].get(2), rows[2].get(2)),
        (Ok(Some(true)), Ok(Some(false)), Ok(None::<bool>))
    );
    open.commit().await.unwrap();
}

#[tokio::test]
async fn writes_of_statement_parts_and_batches_are_counted() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    committed(&db, "CREATE TABLE thing (id BIGINT PRIMARY KEY, a BIGINT)").await;
    let open = db.begin().await.unwrap();
    let tx = open.tx();
    tx.batch("INSERT INTO thing (id, a) VALUES (1, 1), (2, 1), (3, 1); SELECT id FROM thing;")
        .await
        .unwrap();
    assert_eq!(tx.rows_written(), 3);
    let parts = "WITH changed AS (UPDATE thing SET a = 2 WHERE id < $1 RETURNING id) SELECT id \
                 FROM changed";
    assert_eq!(tx.query(parts, (3_i64,)).await.unwrap().len(), 2);
    assert_eq!(tx.rows_written(), 5);
    let hidden = "WITH changed AS (UPDATE thing SET a = 3 WHERE id < $1) SELECT 1 WHERE 1 = 2";
    assert_eq!(tx.query(hidden, (3_i64,)).await.unwrap().len(), 0);
    assert_eq!(tx.rows_written(), 6, "at least one, as the number is unknown");
    assert_eq!(tx.query("SELECT id FROM thing FOR UPDATE", ()).await.unwrap().len(), 3);
    assert_eq!(tx.execute("SELECT id FROM thing", ()).await, Ok(0));
    assert_eq!(tx.rows_written(), 6);
    open.commit().await.unwrap();
}

#[tokio::test]
async fn an_aborted_transaction_cannot_be_committed() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    committed(&db, "CREATE TABLE thing (id BIGINT PRIMARY KEY)").await;
    let insert = "INSERT INTO thing (id) VALUES ($1)";
    let open = db.begin().await.unwrap();
    let tx = open.tx();
    tx.execute(insert, (1_i64,)).await.unwrap();
    let sets = [2_i64, 1, 3].map(|id| vec![Value::Int(id)]).to_vec();
    let why = tx.execute_each(insert, sets).await.unwrap_err();
    assert!(matches!(&why, Error::Constraint(told) if told.contains("thing_pkey")), "{why:?}");
    let after = tx.query("SELECT id FROM thing", ()).await.unwrap_err();
    assert_eq!(after, Error::Aborted(Box::new(why.clone())), "the original error");
    assert_eq!(open.commit().await.unwrap_err(), why);
    assert_eq!(db.query("SELECT id FROM thing", ()).await.unwrap(), []);
}

#[tokio::test]
async fn a_statement_survives_a_change_of_its_table() {
    let Some(server) = Server::there() else { return };
    let db = server.database();
    committed(&db, "CREATE TABLE thing (a TEXT); INSERT INTO thing (a) VALUES ('x')").await;
    assert_eq!(db.query("SELECT * FROM thing", ()).await.unwrap().len(), 1);
    committed(&db, "ALTER TABLE thing ADD COLUMN b TEXT").await;
    let first = db.query("SELECT * FROM thing", ()).await;
    assert!(first.as_ref().is_err_and(Error::is_transient), "{first:?}");
    assert_eq!(db.query("SELECT * FROM thing", ()).await.unwrap()[0].get(1), Ok(None::<String>));
}

/// Two programs with their own connections start on a server without the schema.
#[tokio::test]
async fn migrations_run_once_when_two_programs_start() {
    let Some(server) = Server::there() else { return };
    let options = server.options();
    let steps = [Migration::new(
        "0001-thing",
        "CREATE TABLE thing (a TEXT); INSERT INTO thing (a) VALUES ('x')",
    )];
    let (one, two) =
        (Database::postgres(options.clone()).unwrap(), Database::postgres(options).unwrap());
    let (first, second) =
        futures_util::future::join(one.migrate("shop", &steps, 1), two.migrate("shop", &steps, 1))
            .await;
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert_eq!(one.query("SELECT a FROM thing", ()).await.unwrap().len(), 1);
}
