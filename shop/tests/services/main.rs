//! The four services executing commands of the checkout: with the barrier, in chunks, over a log in
//! memory.

mod market;
#[path = "../support/northwind.rs"]
mod northwind;
mod shared;

use sagamore::core::saga::Status;
use sagamore_shop::payment::{Charged, domain::refund};
use sagamore_shop::{Order, form, inventory, order, payment, sample, shipping};

use market::Market;

/// Returns the sample order with this quantity and country.
fn an_order(order_id: &str, quantity: i64, country: &str) -> Order {
    let mut order = sample::order(order_id);
    order.lines[0].quantity = quantity;
    order.ship_to.country = country.to_owned();
    order
}

async fn a_market() -> Market {
    let market = Market::open().await;
    sample::load(&market.shop).await.expect("the sample is loaded");
    market
}

/// Returns the cents and pieces that the sample's account and stock lack.
async fn taken(market: &Market) -> (i64, i64) {
    let account = payment::account(&market.shop.payment, sample::CUSTOMER_ID)
        .await
        .unwrap()
        .expect("the account exists");
    let product = inventory::product(&market.shop.inventory, sample::SKU)
        .await
        .unwrap()
        .expect("the product exists");
    assert_eq!(product.on_hand + product.reserved, form::PIECES_MAX);
    (form::CENTS_MAX - account.balance_cents, product.reserved)
}

#[tokio::test]
async fn a_completed_order_is_confirmed_and_unlocked() {
    let mut market = a_market().await;
    market.start([an_order("1", 3, sample::COUNTRY)]).await;
    market.round().await;
    let pending = order::order(&market.shop.order, "1").await.unwrap().expect("the order exists");
    assert_eq!(
        (pending.status, pending.locked_by.as_deref()),
        (order::Status::Pending, Some("checkout:1"))
    );

    market.settle().await;
    assert_eq!(market.status("1"), Status::Completed);
    let confirmed = order::order(&market.shop.order, "1").await.unwrap().expect("the order exists");
    assert_eq!((confirmed.status, confirmed.locked_by), (order::Status::Confirmed, None));
    assert_eq!(confirmed.tracking.as_deref(), Some("TRACK-1"));
    assert_eq!(taken(&market).await, (300, 3));
}

#[tokio::test]
async fn an_order_that_fails_at_the_pivot_is_fully_compensated() {
    let mut market = a_market().await;
    market.start([an_order("1", 3, "Atlantis")]).await;
    market.settle().await;
    assert_eq!(market.status("1"), Status::Compensated);
    let cancelled = order::order(&market.shop.order, "1").await.unwrap().expect("the order exists");
    assert_eq!((cancelled.status, cancelled.locked_by), (order::Status::Cancelled, None));
    assert_eq!(taken(&market).await, (0, 0));
}

/// The charge was refunded from outside, so the saga's undo is refused. The order stays locked
/// until an operator decides.
#[tokio::test]
async fn a_manual_refund_leaves_the_saga_stuck_and_the_order_locked() {
    let mut market = a_market().await;
    market.start([an_order("1", 3, "Atlantis")]).await;
    market.round().await;
    market.round().await;
    assert_eq!(taken(&market).await, (300, 0));
    let open = market.shop.payment.begin().await.unwrap();
    let charged = Charged {
        order_id: "1".into(),
        customer_id: sample::CUSTOMER_ID.into(),
        amount_cents: 300,
    };
    refund(open.tx(), charged).await.unwrap().unwrap();
    open.commit().await.unwrap();

    market.settle().await;
    assert_eq!((market.status("1"), taken(&market).await), (Status::Stuck, (0, 0)));
    let locked = order::order(&market.shop.order, "1").await.unwrap().expect("the order exists");
    assert_eq!(
        (locked.status, locked.locked_by.as_deref()),
        (order::Status::Pending, Some("checkout:1"))
    );

    market.resolve("1", "charge-payment").await;
    market.settle().await;
    assert_eq!((market.status("1"), taken(&market).await), (Status::Compensated, (0, 0)));
    let cancelled = order::order(&market.shop.order, "1").await.unwrap().expect("the order exists");
    assert_eq!((cancelled.status, cancelled.locked_by), (order::Status::Cancelled, None));
}

#[tokio::test]
async fn concurrent_northwind_orders_conserve_money_and_stock() {
    let Some(folder) = northwind::folder() else { return };
    let mut market = Market::open().await;
    payment::load(&market.shop.payment, &northwind::all(&folder)).await.unwrap();
    inventory::load(&market.shop.inventory, &northwind::all(&folder)).await.unwrap();
    shipping::load(&market.shop.shipping, &northwind::all(&folder)).await.unwrap();
    let money = payment::balance_cents(&market.shop.payment).await.unwrap();
    let pieces = inventory::pieces_on_hand(&market.shop.inventory).await.unwrap();

    let orders = northwind::all::<Order>(&folder);
    market.start(orders.clone()).await;
    market.settle().await;

    let (mut spent, mut sold) = (0, 0);
    for wanted in &orders {
        let placed = order::order(&market.shop.order, &wanted.order_id)
            .await
            .unwrap()
            .expect("the order exists");
        assert_eq!(placed.locked_by, None);
        match market.status(&wanted.order_id) {
            Status::Completed => {
                assert_eq!(placed.status, order::Status::Confirmed);
                spent += placed.total_cents;
                sold += wanted.lines.iter().map(|line| line.quantity).sum::<i64>();
            }
            Status::Compensated => assert_eq!(placed.status, order::Status::Cancelled),
            status @ (Status::Running | Status::Compensating | Status::Stuck) => {
                panic!("order {} is {status:?}", wanted.order_id)
            }
        }
    }
    assert!(spent > 0 && sold > 0);
    assert_eq!(payment::balance_cents(&market.shop.payment).await.unwrap(), money - spent);
    assert_eq!(inventory::pieces_on_hand(&market.shop.inventory).await.unwrap(), pieces - sold);
}

/// The growing tables of all services and of the barrier.
const TABLES: [&str; 7] =
    ["barrier", "orders", "account", "charge", "stock", "reservation", "shipment"];

#[tokio::test]
async fn no_statement_scans_a_whole_table_on_postgresql() {
    if !sagamore::database::testing::needs_server() {
        return;
    }
    let mut market = a_market().await;
    market.start([an_order("1", 3, sample::COUNTRY), an_order("2", 3, "Atlantis")]).await;
    market.settle().await;
    for (name, database) in market.shop.all() {
        let (checked, walks) = sagamore::database::testing::whole_table_walks(database, &TABLES)
            .await
            .expect("the plans");
        assert!(checked > 3, "{name}: only {checked} statements were checked");
        assert!(walks.is_empty(), "{name}: {}", walks.join("\n\n"));
    }
}
