//! Promises of single statements.

use super::fresh::{Checked, Fresh, committed};
use crate::value::Params;
use crate::{Database, Error, Row, Statement, Value, given_row};

/// NULL of every type, the limits of ranges, and texts in any script survive a round trip.
pub async fn every_type_survives_a_round_trip(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    let columns = "i BIGINT, d DOUBLE PRECISION, b BOOLEAN, t TEXT, x BYTEA";
    committed(&db, &format!("CREATE TABLE thing (id BIGINT PRIMARY KEY, {columns})")).await?;
    let rows: [(i64, f64, bool, &str, Vec<u8>); 4] = [
        (0, 0.0, false, "", vec![]),
        (i64::MIN, -1.5e300, true, "Grüße, 世界 🦀 'quoted' $1", vec![0, 255, 0]),
        (i64::MAX, 3.0, true, "42", b"text".to_vec()),
        (-1, f64::INFINITY, false, "\n\t\u{1}", vec![7; 100_000]),
    ];
    let open = db.begin().await?;
    let insert = "INSERT INTO thing (id, i, d, b, t, x) VALUES ($1, $2, $3, $4, $5, $6)";
    for (id, (i, d, b, t, x)) in (0_i64..).zip(&rows) {
        open.tx().execute(insert, (id, *i, *d, *b, *t, x.clone())).await?;
    }
    let nothing = (99_i64, None::<i64>, None::<f64>, None::<bool>, None::<String>, None::<Vec<u8>>);
    open.tx().execute(insert, nothing).await?;
    open.commit().await?;

    let found = db.query("SELECT i, d, b, t, x FROM thing ORDER BY id", ()).await?;
    assert_eq!(found.len(), 5);
    for (row, (i, d, b, t, x)) in found.iter().zip(rows) {
        assert_eq!((row.get(0), row.get(1), row.get(2)), (Ok(i), Ok(d), Ok(b)));
        assert_eq!((row.get(3), row.get(4)), (Ok(t.to_owned()), Ok(x)));
    }
    let last = &found[4];
    assert_eq!(
        (last.get(0), last.get(1), last.get(2)),
        (Ok(None::<i64>), Ok(None::<f64>), Ok(None::<bool>))
    );
    assert_eq!((last.get(3), last.get(4)), (Ok(None::<String>), Ok(None::<Vec<u8>>)));
    assert!(matches!(last.get::<i64>(0), Err(Error::Column { .. })), "NULL is not a number");
    assert!(matches!(found[0].get::<i64>(3), Err(Error::Column { .. })), "a text is not a number");
    Ok(())
}

/// NUL in a text and NaN are errors of the data on every backend. A text with an escaped NUL is
/// stored.
pub async fn values_that_cannot_be_stored_are_rejected(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, "CREATE TABLE note (t TEXT, d DOUBLE PRECISION)").await?;
    let insert = "INSERT INTO note (t, d) VALUES ($1, $2)";
    let nul = error_of(&db, insert, ("a\0b", 1.0)).await;
    assert!(matches!(nul, Error::Constraint(_)) && nul.to_string().contains("NUL"), "{nul}");
    let nan = error_of(&db, insert, ("a", f64::NAN)).await;
    assert!(matches!(nan, Error::Constraint(_)), "{nan}");
    let open = db.begin().await?;
    assert_eq!(open.tx().execute(insert, ("a\\u0000b", 1.0)).await?, 1);
    open.commit().await
}

/// `$2` may precede `$1`, and may be repeated.
pub async fn parameters_are_bound_by_name(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, "CREATE TABLE pair (a TEXT, b TEXT, c TEXT)").await?;
    let open = db.begin().await?;
    let tx = open.tx();
    tx.execute("INSERT INTO pair (b, a, c) VALUES ($2, $1, $2)", ("one", "two")).await?;
    let found = tx
        .query("SELECT a, b, c FROM pair WHERE b = $2 AND a = $1 AND c = $2", ("one", "two"))
        .await?;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].get(0), found[0].get(1)), (Ok("one".to_owned()), Ok("two".to_owned())));
    let sets = vec![vec!["two".into(), "one".into()], vec!["one".into(), "two".into()]];
    let each = tx.query_each("SELECT c FROM pair WHERE b = $2 AND a = $1", sets).await?;
    assert_eq!([each[0].len(), each[1].len()], [0, 1]);
    open.commit().await
}

/// Syntax errors, missing tables, mismatched parameters, and two statements in one call.
pub async fn the_error_of_a_wrong_statement_names_its_cause(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, "CREATE TABLE pair (a TEXT, b TEXT)").await?;
    let check = async |sql: &str, params: Vec<Value>, part: &str| {
        let why = error_of(&db, sql, params).await;
        assert!(matches!(why, Error::Statement(_)), "{sql}: {why:?}");
        assert!(why.to_string().contains(part), "{sql}: {why}");
        assert!(!why.is_transient());
    };
    let one = || Value::from("one");
    check("SELEC a FROM pair", vec![], "SELEC").await;
    check("SELECT a FROM nowhere", vec![], "nowhere").await;
    check("SELECT nothing FROM pair", vec![], "nothing").await;
    check("INSERT INTO pair (a, b) VALUES ($1, $2)", vec![one()], "2").await;
    check("INSERT INTO pair (a, b) VALUES ($1, $2)", vec![], "2").await;
    check("INSERT INTO pair (a) VALUES ($1)", vec![one(), one()], "1").await;
    check("DELETE FROM pair; DELETE FROM pair", vec![], "").await;
    Ok(())
}

/// A COMMIT in a statement's text is rejected, because it would commit the work of others.
pub async fn a_handler_cannot_end_the_transaction(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT mine", "/* nothing */ COMMIT", " end "] {
        let why = error_of(&db, sql, ()).await;
        assert!(matches!(why, Error::Statement(_)), "{sql}: {why:?}");
    }
    let open = db.begin().await?;
    let why =
        open.tx().batch("CREATE TABLE half (a TEXT); COMMIT; CREATE TABLE whole (a TEXT)").await;
    assert!(matches!(why, Err(Error::Statement(_))), "{why:?}");
    open.rollback().await?;
    committed(&db, "CREATE TABLE half (a TEXT)").await
}

/// INSERT, UPDATE and DELETE return the number of changed rows. Other statements return 0.
pub async fn changed_rows_are_counted(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    let open = db.begin().await?;
    let tx = open.tx();
    let check = async |sql: &str, rows: u64| {
        assert_eq!(tx.execute(sql, ()).await?, rows, "{sql}");
        Checked::Ok(())
    };
    check("CREATE TABLE thing (id BIGINT PRIMARY KEY, a TEXT)", 0).await?;
    check("INSERT INTO thing (id, a) VALUES (1, 'x'), (2, 'x'), (3, 'y')", 3).await?;
    check("CREATE INDEX thing_a ON thing (a)", 0).await?;
    check("UPDATE thing SET a = 'z' WHERE a = 'x'", 2).await?;
    check("UPDATE thing SET a = 'z' WHERE a = 'x'", 0).await?;
    // the same value still counts as a change
    check("UPDATE thing SET a = 'z' WHERE id = 1", 1).await?;
    check("DELETE FROM thing WHERE id > 1", 2).await?;
    check("DELETE FROM thing WHERE id > 1", 0).await?;
    open.commit().await
}

/// With `ON CONFLICT DO NOTHING` the count shows whether the row is new. `DO UPDATE` sees both
/// rows.
pub async fn a_conflict_updates_or_does_nothing(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, "CREATE TABLE stock (sku TEXT PRIMARY KEY, amount BIGINT NOT NULL)").await?;
    let open = db.begin().await?;
    let tx = open.tx();
    let once = "INSERT INTO stock (sku, amount) VALUES ($1, $2) ON CONFLICT (sku) DO NOTHING";
    assert_eq!(tx.execute(once, ("bolt", 5_i64)).await?, 1);
    assert_eq!(tx.execute(once, ("bolt", 6_i64)).await?, 0);
    let sets = ["bolt", "nut", "nut"].map(|sku| vec![sku.into(), Value::Int(1)]).to_vec();
    assert_eq!(tx.execute_each(once, sets).await?, [0, 1, 0]);
    let add = "INSERT INTO stock (sku, amount) VALUES ($1, $2)
        ON CONFLICT (sku) DO UPDATE SET amount = stock.amount + excluded.amount RETURNING amount";
    assert_eq!(tx.query(add, ("bolt", 10_i64)).await?[0].get(0), Ok(15_i64));
    open.commit().await
}

/// RETURNING returns the rows as they are after the statement.
pub async fn returning_gives_rows(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, "CREATE TABLE account (id BIGINT PRIMARY KEY, cents BIGINT NOT NULL)").await?;
    let open = db.begin().await?;
    let tx = open.tx();
    let inserted = tx
        .query("INSERT INTO account (id, cents) VALUES (1, 10), (2, 20) RETURNING cents", ())
        .await?;
    assert_eq!(inserted.len(), 2);
    let debit =
        "UPDATE account SET cents = cents - $2 WHERE id = $1 AND cents >= $2 RETURNING cents";
    assert_eq!(tx.query(debit, (2_i64, 15_i64)).await?[0].get(0), Ok(5_i64));
    assert_eq!(tx.query(debit, (2_i64, 15_i64)).await?, []);
    assert_eq!(
        tx.query("DELETE FROM account WHERE id = $1 RETURNING id", (1_i64,)).await?[0].get(0),
        Ok(1_i64)
    );
    assert_eq!(tx.query("SELECT id FROM account", ()).await?.len(), 1);
    open.commit().await
}

/// The results are in the order of the parameter sets. No sets return no results.
pub async fn one_statement_runs_with_many_sets(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, "CREATE TABLE thing (id BIGINT PRIMARY KEY, a TEXT)").await?;
    let open = db.begin().await?;
    let tx = open.tx();
    let insert = "INSERT INTO thing (id, a) VALUES ($1, $2)";
    let sets =
        (0_i64..500).map(|id| vec![Value::Int(id), Value::Text(format!("thing {id}"))]).collect();
    assert_eq!(tx.execute_each(insert, sets).await?, vec![1; 500]);
    let sets = [7_i64, 1000, 3].map(|id| vec![Value::Int(id)]).to_vec();
    let found = tx.query_each("SELECT a FROM thing WHERE id = $1", sets).await?;
    let found: Vec<Option<String>> = found
        .iter()
        .map(|rows| rows.first().map(|row| row.get(0)).transpose())
        .collect::<Result<_, _>>()?;
    assert_eq!(found, [Some("thing 7".to_owned()), None, Some("thing 3".to_owned())]);
    assert_eq!(tx.execute_each(insert, vec![]).await?, [] as [u64; 0]);
    assert!(tx.query_each("SELECT a FROM thing WHERE id = $1", vec![]).await?.is_empty());
    open.commit().await
}

/// A column has the name of its table's column, or the one after `AS`, in every kind of statement.
pub async fn columns_are_read_by_name(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(
        &db,
        "CREATE TABLE thing (id BIGINT PRIMARY KEY, a TEXT); \
         CREATE TABLE part (thing BIGINT, a TEXT)",
    )
    .await?;
    let open = db.begin().await?;
    let tx = open.tx();
    let check = async |sql: &str| {
        let rows = tx.query(sql, ()).await?;
        assert_eq!((rows[0].get("id"), rows[0].get("a")), (Ok(7), Ok("x".to_owned())), "{sql}");
        assert_eq!((rows[0].get(0), rows[0].get(1)), (Ok("x".to_owned()), Ok(7)), "{sql}");
        Checked::Ok(())
    };
    check("INSERT INTO thing (id, a) VALUES (7, 'x') RETURNING a, id").await?;
    tx.execute("INSERT INTO part (thing, a) VALUES (7, 'y')", ()).await?;
    check("SELECT a, id FROM thing").await?;
    check("SELECT t.a, t.id FROM part p JOIN thing t ON t.id = p.thing").await?;
    check("SELECT e.a, e.id FROM (SELECT id, a FROM thing ORDER BY id LIMIT 2) e").await?;
    check("WITH found AS (SELECT id, a FROM thing) SELECT a, id FROM found").await?;
    check("SELECT lower(a) AS a, max(id) AS id FROM thing GROUP BY a").await?;
    check("SELECT a, id FROM thing WHERE id = 7 UNION ALL SELECT a, thing FROM part").await?;
    check("UPDATE thing SET a = 'x' WHERE id = 7 RETURNING a, id").await?;
    let sets = vec![vec![Value::Int(3)], vec![Value::Int(7)]];
    let each = tx.query_each("SELECT a FROM thing WHERE id = $1", sets).await?;
    assert_eq!(each[1][0].get("a"), Ok("x".to_owned()));
    let why = each[1][0].get::<String>("b").expect_err("there is no such column");
    assert_eq!(why.to_string(), "column b does not hold String");
    open.commit().await
}

given_row! {
    /// A row of the table `stock`.
    struct Stock<'a> {
        sku: &'a str,
        amount: Option<i64>,
    }
}

given_row! {
    /// The key of the table `stock`.
    struct Sku<'a> {
        sku: &'a str,
    }
}

/// One text inserts, updates, selects and deletes for many rows.
pub async fn a_statement_runs_for_all_given_rows(fresh: Fresh<'_>) -> Checked {
    static STORE: Statement<Stock<'_>> = Statement::insert(
        "stock",
        "ON CONFLICT (sku) DO UPDATE SET amount = excluded.amount WHERE stock.amount > 0",
    );
    static STORE_NEW: Statement<Stock<'_>> = Statement::new(
        "INSERT INTO stock (sku, amount) SELECT given.sku, coalesce(given.amount, 1) FROM given
         WHERE TRUE ON CONFLICT (sku) DO NOTHING RETURNING sku, amount",
    );
    static TAKE: Statement<Stock<'_>> = Statement::new(
        "UPDATE stock SET amount = stock.amount - given.amount FROM given
         WHERE stock.sku = given.sku AND stock.amount >= given.amount",
    );
    static READ: Statement<Sku<'_>> = Statement::new(
        "SELECT stock.sku, stock.amount FROM given, stock WHERE stock.sku = given.sku
         {FOR UPDATE OF stock}",
    );
    static LEAST: Statement<Sku<'_>> = Statement::new(
        "SELECT e.sku, e.amount FROM given,
            {LATERAL} (SELECT * FROM stock s WHERE s.sku >= given.sku ORDER BY s.sku LIMIT 1) e",
    );
    static REMOVE: Statement<Sku<'_>> =
        Statement::new("DELETE FROM stock USING given WHERE stock.sku = given.sku");

    let db = fresh();
    committed(&db, "CREATE TABLE stock (sku TEXT PRIMARY KEY, amount BIGINT)").await?;
    let open = db.begin().await?;
    let tx = open.tx();
    let stock = |sku, amount| Stock { sku, amount };
    let rows = |rows: Vec<Row>| {
        let row = |row: &Row| Ok((row.get("sku")?, row.get("amount")?));
        let mut rows =
            rows.iter().map(row).collect::<Result<Vec<(String, Option<i64>)>, Error>>()?;
        rows.sort_unstable();
        Ok::<_, Error>(rows)
    };
    let found = |sku: &str, amount| (sku.to_owned(), amount);
    assert_eq!(tx.execute_rows(&STORE, [stock("bolt", Some(5)), stock("nut", None)]).await?, 2);
    assert_eq!(tx.execute_rows(&STORE, [stock("bolt", Some(6)), stock("nut", Some(1))]).await?, 1);
    let new = tx.query_rows(&STORE_NEW, [stock("bolt", None), stock("screw", None)]).await?;
    assert_eq!(rows(new)?, [found("screw", Some(1))]);
    let take = [stock("bolt", Some(2)), stock("screw", Some(2)), stock("washer", Some(0))];
    assert_eq!(tx.execute_rows(&TAKE, take).await?, 1);
    let skus = || ["bolt", "nut", "rivet"].map(|sku| Sku { sku });
    let all = tx.query_rows(&READ, skus()).await?;
    assert_eq!(rows(all)?, [found("bolt", Some(4)), found("nut", None)]);
    let least = tx.query_rows(&LEAST, skus()).await?;
    assert_eq!(rows(least)?, [found("bolt", Some(4)), found("nut", None), found("screw", Some(1))]);
    let each = tx.query_row_by_row(&READ, skus()).await?;
    assert_eq!(each.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0]);
    let take = [stock("bolt", Some(4)), stock("bolt", Some(1)), stock("screw", Some(1))];
    assert_eq!(tx.execute_row_by_row(&TAKE, take).await?, [1, 0, 1], "one after another");
    assert_eq!(tx.execute_rows(&REMOVE, skus()).await?, 2);
    assert_eq!(tx.execute_rows(&REMOVE, []).await?, 0);
    assert!(tx.query_rows(&READ, []).await?.is_empty());
    let lock = db.dialect().text("SELECT sku FROM stock {FOR UPDATE SKIP LOCKED}");
    assert_eq!(tx.query(&lock, ()).await?[0].get("sku"), Ok("screw".to_owned()));
    open.commit().await
}

/// A given row holds NULL and values of every type.
pub async fn given_rows_hold_every_type(fresh: Fresh<'_>) -> Checked {
    given_row! {
        #[derive(Clone)]
        struct Thing {
            id: i64,
            d: Option<f64>,
            b: Option<bool>,
            t: Option<String>,
            x: Option<Vec<u8>>,
        }
    }
    static STORE: Statement<Thing> = Statement::insert("thing", "");

    let db = fresh();
    let columns = "id BIGINT PRIMARY KEY, d DOUBLE PRECISION, b BOOLEAN, t TEXT, x BYTEA";
    committed(&db, &format!("CREATE TABLE thing ({columns})")).await?;
    let (t, x) = (Some("a \"b\" \\ {c}, 'd'\n世界".to_owned()), Some(vec![0, 255]));
    let things = [
        Thing { id: 1, d: Some(0.1), b: Some(true), t, x },
        Thing { id: 2, d: Some(-1.5e300), b: Some(false), t: Some("NULL".into()), x: Some(vec![]) },
        Thing { id: 3, d: None, b: None, t: None, x: None },
    ];
    let open = db.begin().await?;
    assert_eq!(open.tx().execute_rows(&STORE, things.clone()).await?, 3);
    open.commit().await?;
    let rows = db.query("SELECT id, d, b, t, x FROM thing ORDER BY id", ()).await?;
    for (row, Thing { id, d, b, t, x }) in rows.iter().zip(things) {
        assert_eq!((row.get("id"), row.get("d"), row.get("b")), (Ok(id), Ok(d), Ok(b)));
        assert_eq!((row.get("t"), row.get("x")), (Ok(t), Ok(x)));
    }
    Ok(())
}

/// Violations of keys, NOT NULL, CHECK and REFERENCES are errors of the data, not of the statement.
pub async fn a_violated_constraint_is_distinguished_from_a_wrong_statement(
    fresh: Fresh<'_>,
) -> Checked {
    let db = fresh();
    let schema = "CREATE TABLE parent (id BIGINT PRIMARY KEY);
        CREATE TABLE child (id BIGINT PRIMARY KEY, parent BIGINT NOT NULL REFERENCES parent (id), \
        age BIGINT CHECK (age >= 0));
        INSERT INTO parent (id) VALUES (1);
        INSERT INTO child (id, parent, age) VALUES (1, 1, 4);";
    committed(&db, schema).await?;
    let check = async |id: i64, parent: Option<i64>, age: i64| {
        let why = error_of(
            &db,
            "INSERT INTO child (id, parent, age) VALUES ($1, $2, $3)",
            (id, parent, age),
        )
        .await;
        assert!(matches!(why, Error::Constraint(_)), "{why:?}");
        assert!(!why.is_transient());
    };
    check(1, Some(1), 4).await;
    check(2, None, 4).await;
    check(2, Some(9), 4).await;
    check(2, Some(1), -4).await;
    Ok(())
}

/// Every changed row counts, for every kind of call, even if rolled back. Reads do not count.
pub async fn rows_written_adds_up(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(
        &db,
        "CREATE TABLE thing (id BIGINT PRIMARY KEY); INSERT INTO thing (id) VALUES (100), (101)",
    )
    .await?;
    let open = db.begin().await?;
    let tx = open.tx();
    assert_eq!(tx.rows_written(), 0, "earlier transactions do not count");
    tx.query("SELECT id FROM thing", ()).await?;
    tx.execute("DELETE FROM thing WHERE id = 7", ()).await?;
    assert_eq!(tx.rows_written(), 0);
    tx.execute("INSERT INTO thing (id) VALUES (1), (2)", ()).await?;
    tx.query("INSERT INTO thing (id) VALUES (3) RETURNING id", ()).await?;
    let insert = "INSERT INTO thing (id) VALUES ($1) ON CONFLICT (id) DO NOTHING";
    tx.execute_each(insert, vec![vec![Value::Int(3)], vec![Value::Int(4)]]).await?;
    assert_eq!(tx.rows_written(), 4);
    open.savepoint().await?;
    tx.execute("DELETE FROM thing", ()).await?;
    open.rollback_to().await?;
    assert_eq!(tx.rows_written(), 10, "rolled back rows count as well");
    open.commit().await?;
    assert_eq!(tx.rows_written(), 10);
    Ok(())
}

/// Returns the error of a statement in a transaction of its own.
async fn error_of(db: &Database, sql: &str, params: impl Params) -> Error {
    let open = db.begin().await.expect("a transaction");
    let outcome = open.tx().execute(sql, params).await;
    outcome.expect_err(sql)
}
