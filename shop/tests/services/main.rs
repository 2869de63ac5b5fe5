//! The four services at work on commands of the checkout: with the barrier, in chunks, over a log in memory.

mod market;
#[path = "../support/northwind.rs"]
mod northwind;
mod shared;

use sagamore::core::saga::Status;
use sagamore_shop::payment::{Charged, domain::refund};
use sagamore_shop::{Order, form, inventory, order, payment, sample, shipping};

use market::Market;

/// The sample's order with this many of its pieces, to this country.
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

/// What the sample's account and shelf lack.
async fn taken(market: &Market) -> (i64, i64) {
    let account = payment::account(&market.shop.payment, sample::CUSTOMER_ID)
        .await
        .unwrap()
        .expect("an account");
    let product =
        inventory::product(&market.shop.inventory, sample::SKU).await.unwrap().expect("a product");
    assert_eq!(product.on_hand + product.reserved, form::PIECES_MAX);
    (form::CENTS_MAX - account.balance_cents, product.reserved)
}

#[tokio::test]
async fn an_order_that_goes_through_is_confirmed_and_unlocked() {
    let mut market = a_market().await;
    market.start([an_order("1", 3, sample::COUNTRY)]).await;
    market.round().await;
    let pending = order::order(&market.shop.order, "1").await.unwrap().expect("the order is there");
    assert_eq!(
        (pending.status, pending.locked_by.as_deref()),
        (order::Status::Pending, Some("checkout:1"))
    );

    market.settle().await;
    assert_eq!(market.status("1"), Status::Completed);
    let confirmed =
        order::order(&market.shop.order, "1").await.unwrap().expect("the order is there");
    assert_eq!((confirmed.status, confirmed.locked_by), (order::Status::Confirmed, None));
    assert_eq!(confirmed.tracking.as_deref(), Some("TRACK-1"));
    assert_eq!(taken(&market).await, (300, 3));
}

#[tokio::test]
async fn an_order_that_fails_at_the_last_moment_leaves_nothing_but_its_cancellation() {
    let mut market = a_market().await;
    market.start([an_order("1", 3, "Atlantis")]).await;
    market.settle().await;
    assert_eq!(market.status("1"), Status::Compensated);
    let cancelled =
        order::order(&market.shop.order, "1").await.unwrap().expect("the order is there");
    assert_eq!((cancelled.status, cancelled.locked_by), (order::Status::Cancelled, None));
    assert_eq!(taken(&market).await, (0, 0));
}

/// Somebody else has given the money back since: the undo cannot apply, says so, and overwrites nothing. The order's
/// lock stays, with its holder to be seen, until an operator decides.
#[tokio::test]
async fn a_refund_that_was_made_by_hand_leaves_the_saga_stuck_the_money_right_and_the_order_locked()
{
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
    let locked = order::order(&market.shop.order, "1").await.unwrap().expect("the order is there");
    assert_eq!(
        (locked.status, locked.locked_by.as_deref()),
        (order::Status::Pending, Some("checkout:1"))
    );

    market.resolve("1", "charge-payment").await;
    market.settle().await;
    assert_eq!((market.status("1"), taken(&market).await), (Status::Compensated, (0, 0)));
    let cancelled =
        order::order(&market.shop.order, "1").await.unwrap().expect("the order is there");
    assert_eq!((cancelled.status, cancelled.locked_by), (order::Status::Cancelled, None));
}

#[tokio::test]
async fn all_northwind_orders_at_once_balance_to_the_cent_and_the_piece() {
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
            .expect("the order is there");
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

/// Those that grow, of all services and of the barrier.
const TABLES: [&str; 7] =
    ["barrier", "orders", "account", "charge", "stock", "reservation", "shipment"];

#[tokio::test]
async fn no_statement_of_barrier_and_services_walks_through_a_whole_table_on_postgresql() {
    if !sagamore::database::testing::is_remote() {
        return; // told where the databases are made
    }
    let mut market = a_market().await;
    market.start([an_order("1", 3, sample::COUNTRY), an_order("2", 3, "Atlantis")]).await;
    market.settle().await;
    for (name, database) in market.shop.all() {
        let (checked, walks) = sagamore::database::testing::whole_table_walks(database, &TABLES)
            .await
            .expect("the plans");
        assert!(checked > 3, "{name}: only {checked} statements were there");
        assert!(walks.is_empty(), "{name}: {}", walks.join("\n\n"));
    }
}
