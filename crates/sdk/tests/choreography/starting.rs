//! Requests that start chains: in one transaction, with an idempotency key, and repeated.

use sagamore_sdk::{
    Decided, StartOutcome, StartRequest, StartsChain, Timestamp, Tx, done, refused, start_each,
};

use crate::toy::{DraftMade, Mood, Toy};

#[derive(Clone)]
struct NewDraft {
    key: &'static str,
    mood: Mood,
}

#[derive(Debug, PartialEq)]
enum Refused {
    Known,
    KeyUsed,
    Empty,
    Late,
}

impl StartsChain for NewDraft {
    type Event = DraftMade;
    type Refusal = Refused;
    const PLAN: &'static str = "book";
    const REACTION: &'static str = "draft";

    fn key(&self) -> &str {
        self.key
    }

    async fn start(self, tx: Tx) -> Decided<DraftMade, Refused> {
        if self.key.is_empty() {
            return refused(Refused::Empty);
        }
        let sql = "INSERT INTO draft (key) VALUES ($1) ON CONFLICT (key) DO NOTHING";
        match tx.execute(sql, (self.key,)).await? {
            0 => refused(Refused::Known),
            _ if self.mood == Mood::WritesAndRefuses => refused(Refused::Late),
            _ => done(DraftMade { key: self.key.into(), mood: self.mood }),
        }
    }

    fn is_repeat(refusal: &Refused) -> bool {
        *refusal == Refused::Known
    }

    fn is_same(&self, before: &DraftMade) -> bool {
        self.mood == before.mood
    }

    fn key_used() -> Refused {
        Refused::KeyUsed
    }
}

fn draft(key: &'static str) -> StartRequest<NewDraft> {
    StartRequest::new(NewDraft { key, mood: Mood::Calm }, Timestamp(1_000_000))
}

fn with_key(request: StartRequest<NewDraft>, key: &str) -> StartRequest<NewDraft> {
    StartRequest { idempotency_key: Some(key.into()), ..request }
}

/// Returns the answers to these requests, none of which may be a fault.
async fn answers(
    toy: &Toy,
    requests: Vec<StartRequest<NewDraft>>,
) -> Vec<Result<StartOutcome, Refused>> {
    let (database, outbox) = toy.desk();
    let answers = start_each(&database, &outbox, requests).await;
    answers.into_iter().map(|answer| answer.expect("no fault")).collect()
}

#[tokio::test]
async fn new_requests_share_a_transaction_and_the_others_have_their_own_answers() {
    let mut toy = Toy::new().await;
    let other = StartRequest::new(NewDraft { key: "1", mood: Mood::Sticks }, Timestamp(1_000_000));
    let requests = vec![draft("1"), draft(""), draft("2"), draft("1"), other];
    let expected = [
        Ok(StartOutcome::New),
        Err(Refused::Empty),
        Ok(StartOutcome::New),
        Ok(StartOutcome::Before),
        Err(Refused::Known),
    ];
    assert_eq!(answers(&toy, requests).await, expected);
    toy.settle().await;
    assert_eq!(toy.prints().await, 2);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_request() {
    let mut toy = Toy::new().await;
    let first = with_key(draft("1"), "a");
    assert_eq!(
        answers(&toy, vec![first.clone(), first.clone()]).await,
        [Ok(StartOutcome::New), Ok(StartOutcome::Before)]
    );
    assert_eq!(answers(&toy, vec![with_key(draft("2"), "a")]).await, [Err(Refused::KeyUsed)]);
    assert_eq!(
        answers(&toy, vec![with_key(draft("1"), "b"), with_key(draft("3"), "b")]).await,
        [Ok(StartOutcome::Before), Err(Refused::KeyUsed)]
    );
    toy.settle().await;
    assert_eq!((toy.prints().await, toy.rows_of_first("chain_key").await), (1, 2));
}

#[tokio::test]
async fn a_start_that_writes_and_refuses_leaves_nothing_behind() {
    let toy = Toy::new().await;
    let late = |key| {
        let request = NewDraft { key, mood: Mood::WritesAndRefuses };
        StartRequest::new(request, Timestamp(1_000_000))
    };
    assert_eq!(answers(&toy, vec![late("1")]).await, [Err(Refused::Late)]);
    assert_eq!(toy.rows_of_first("draft").await, 0, "alone");
    assert_eq!(
        answers(&toy, vec![late("1"), draft("2")]).await,
        [Err(Refused::Late), Ok(StartOutcome::New)]
    );
    assert_eq!(toy.rows_of_first("draft").await, 1, "beside another start");
}
