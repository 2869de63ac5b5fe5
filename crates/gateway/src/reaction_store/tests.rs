use super::*;

const NOW: Timestamp = Timestamp(1_000_000_000_000);
const MINUTE: i64 = 60_000;

async fn store() -> ReactionStore {
    let participant = "payment".parse().expect("a name");
    let retention = Duration::from_secs(30 * 24 * 3_600);
    ReactionStore::open(Database::memory(), participant, retention).await.expect("opened")
}

/// Stores a reaction of a chain with this due time and a text of this length in its state.
async fn insert(store: &ReactionStore, chain: &str, due_at: Option<i64>, bytes: usize) {
    let text = "x".repeat(bytes);
    let state = format!(r#"{{"version":1,"action":"open","text":"{text}"}}"#);
    let sql = "INSERT INTO gateway_reaction
            (chain, step, participant, state, due_at, attempts, begun_at)
        VALUES ($1, $2, 'payment', $3, $4, 0, $5)";
    let (chain, step) = chain.split_once('/').unwrap_or((chain, "charge"));
    let open = store.database.begin().await.expect("open");
    let row = (chain, step, state, due_at, NOW.0 - MINUTE);
    open.tx().execute(sql, row).await.expect("stored");
    open.commit().await.expect("committed");
}

async fn take(store: &ReactionStore, bounds: DueBounds) -> Vec<String> {
    let taken = store.take_due(NOW, Timestamp(NOW.0 + MINUTE), bounds).await.expect("taken");
    taken.iter().map(|due| due.key.chain.to_string()).collect()
}

#[tokio::test]
async fn due_reactions_are_bounded_in_bytes_as_well_as_in_number() {
    let store = store().await;
    for chain in 0..10 {
        insert(&store, &format!("shop:{chain}"), Some(NOW.0 - 10 + chain), 1_000).await;
    }
    let two = take(&store, DueBounds { count: 100, bytes: 1_500 }).await;
    assert_eq!(two, ["shop:0", "shop:1"], "the last one may exceed the bound");
    let one = take(&store, DueBounds { count: 1, bytes: 1_500 }).await;
    assert_eq!(one, ["shop:2"]);
    assert_eq!(take(&store, DueBounds { count: 100, bytes: usize::MAX }).await.len(), 7);
}

/// A clock that was far ahead has stamped the first due time.
#[tokio::test]
async fn an_impossible_due_time_counts_as_due() {
    let store = store().await;
    let day = 24 * 60 * MINUTE;
    insert(&store, "shop:1", Some(NOW.0 + 40 * day), 1).await;
    insert(&store, "shop:2", Some(NOW.0 + day), 1).await;
    insert(&store, "shop:3", None, 1).await;
    assert_eq!(take(&store, DueBounds { count: 9, bytes: usize::MAX }).await, ["shop:1"]);
}

#[tokio::test]
async fn a_removal_spares_chains_with_work() {
    let store = store().await;
    insert(&store, "shop:1", None, 1).await;
    insert(&store, "shop:2/charge", None, 1).await;
    insert(&store, "shop:2/ship", Some(NOW.0), 1).await;
    let horizon = Horizon {
        started_before: NOW,
        ended_before: NOW,
        started_from: None,
        definitions: vec!["shop".parse().expect("a name")],
        but: Vec::new(),
    };
    let later = Timestamp(NOW.0 + 40 * 24 * 60 * MINUTE);
    let permitted = store.permit(&Clock::process(), horizon, later).await.expect("read");
    let mut removal = permitted.expect("permitted");
    assert!(!store.sweep(&mut removal).await.expect("swept"), "one page");
    let sql = "SELECT DISTINCT chain FROM gateway_reaction";
    let left = store.database.query(sql, ()).await.expect("read");
    let left: Vec<String> = left.iter().map(|row| row.get(0).expect("a chain")).collect();
    assert_eq!(left, ["shop:2"]);
}
