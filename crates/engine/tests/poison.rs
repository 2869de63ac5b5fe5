//! Data that the database refuses to hold: the one message is found, everything else goes on.

mod common;

use std::sync::{Arc, Mutex};

use common::{Rig, wish, written};
use sagamore_core::saga::Status;
use sagamore_database::database::Open;
use sagamore_database::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use sagamore_database::{Database, Error, Row, Value};
use sagamore_engine::{Options, StartError};

/// A database that refuses every text with `poison` in it, as PostgreSQL refuses a NUL.
struct Picky(Database);

struct PickyTransaction {
    tx: sagamore_database::Tx,
    open: Mutex<Option<Open>>,
}

impl Backend for Picky {
    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>> {
        Box::pin(async {
            let open = self.0.begin().await?;
            let picky = PickyTransaction { tx: open.tx(), open: Mutex::new(Some(open)) };
            Ok(Arc::new(picky) as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(self.0.query(sql, params))
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }
}

impl PickyTransaction {
    fn open(&self) -> Result<Open, Error> {
        self.open.lock().expect("no panic").take().ok_or(Error::Over)
    }
}

impl Transaction for PickyTransaction {
    fn execute<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(self.tx.execute(sql, params))
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(self.tx.query(sql, params))
    }

    fn query_each<'a>(&'a self, sql: &'a str, sets: Vec<Vec<Value>>) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>> {
        Box::pin(self.tx.query_each(sql, sets))
    }

    fn execute_each<'a>(&'a self, sql: &'a str, sets: Vec<Vec<Value>>) -> BoxFuture<'a, Result<Vec<u64>, Error>> {
        Box::pin(async move {
            let poison = |value: &Value| matches!(value, Value::Text(text) if text.contains("poison"));
            if sets.iter().flatten().any(poison) {
                return Err(Error::Constraint("this text cannot be stored".into()));
            }
            self.tx.execute_each(sql, sets).await
        })
    }

    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.tx.batch(sql))
    }

    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) }) // the engine uses none
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.open()?.commit().await })
    }

    fn rollback(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.open()?.rollback().await })
    }

    fn rows_written(&self) -> u64 {
        self.tx.rows_written()
    }
}

async fn rig() -> Rig {
    let picky = Database::new(Arc::new(Picky(Database::memory())));
    Rig::with(Options::default(), picky).await
}

#[tokio::test]
async fn one_reply_that_cannot_be_stored_is_a_dead_letter_and_the_rest_of_the_batch_goes_on() {
    let mut rig = rig().await;
    for key in ["1", "2", "3", "4", "5"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    for command in rig.commands().await {
        let outcome = if command.saga().key() == "3" {
            sagamore_core::Outcome::Done(sagamore_core::Body::parse(r#"{"page":1,"x":"poison"}"#).expect("JSON"))
        } else {
            written(1)
        };
        rig.reply(&command, outcome).await;
    }
    rig.turn().await;
    assert_eq!(rig.commands().await.len(), 4, "the other four are asked to print");
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    assert_eq!(rig.show("3").await.expect("stored").header.status, Status::Stuck, "visible, never silent");
}

#[tokio::test]
async fn one_start_that_cannot_be_stored_is_refused_and_the_rest_of_the_batch_goes_on() {
    let mut rig = rig().await;
    let handle = rig.handle.clone();
    let starts = async {
        tokio::join!(handle.start(wish("1", "a")), handle.start(wish("2", "poison")), handle.start(wish("3", "a")))
    };
    let (one, two, three) = rig.while_turning(starts).await;
    assert!(one.is_ok() && three.is_ok());
    assert!(matches!(two, Err(StartError::BadInput(_))), "{two:?}");
    assert!(rig.show("2").await.is_none());
}
