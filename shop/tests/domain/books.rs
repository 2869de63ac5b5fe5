//! Random operations neither create nor lose money or stock.

use proptest::prelude::*;
use sagamore_shop::Databases;
use sagamore_shop::inventory::domain::{release, reserve};
use sagamore_shop::inventory::{self, Reserve, Reserved};
use sagamore_shop::payment::domain::{charge, refund};
use sagamore_shop::payment::{self, Charge, Charged};

use crate::shop::{line, run, small};

/// An operation on a few orders, repeatable in any order.
#[derive(Clone, Debug)]
enum Work {
    Charge { order: usize, customer: usize, cents: i64 },
    Refund { order: usize },
    Reserve { order: usize, lines: Vec<(usize, i64)> },
    Release { order: usize },
}

const CUSTOMERS: [&str; 3] = ["VINET", "TOMSP", "NOBOD"];
const SKUS: [&str; 3] = ["chai", "tofu", "coal"];
const ORDERS: usize = 6;

fn work() -> impl Strategy<Value = Work> {
    let lines =
        prop::collection::vec((prop::sample::select(vec![0, 0, 0, 1, 1, 1, 2]), 0..5_i64), 1..4);
    prop_oneof![
        3 => (0..ORDERS, 0..CUSTOMERS.len(), -1..400_i64)
            .prop_map(|(order, customer, cents)| Work::Charge { order, customer, cents }),
        2 => (0..ORDERS).prop_map(|order| Work::Refund { order }),
        3 => (0..ORDERS, lines).prop_map(|(order, lines)| Work::Reserve { order, lines }),
        2 => (0..ORDERS).prop_map(|order| Work::Release { order }),
    ]
}

/// The stored results per order: the last charge and reservation, and whether they still hold.
#[derive(Default)]
struct Books {
    charged: [Option<(Charged, bool)>; ORDERS],
    reserved: [Option<(Reserved, bool)>; ORDERS],
}

impl Books {
    async fn take(&mut self, shop: &Databases, work: Work) {
        match work {
            Work::Charge { order, customer, cents } => {
                let customer_id = CUSTOMERS[customer].to_owned();
                let wanted =
                    Charge { order_id: order.to_string(), customer_id, amount_cents: cents };
                if let Ok(charged) = run(&shop.payment, |tx| charge(tx, wanted)).await {
                    assert!(self.charged[order].is_none(), "order {order} was charged twice");
                    self.charged[order] = Some((charged, true));
                }
            }
            Work::Refund { order } => {
                let Some((charged, holds)) = &mut self.charged[order] else { return };
                let refunded = run(&shop.payment, |tx| refund(tx, charged.clone())).await;
                assert_eq!(
                    refunded.is_ok(),
                    std::mem::take(holds),
                    "a charge is refunded exactly once"
                );
            }
            Work::Reserve { order, lines } => {
                let lines =
                    lines.into_iter().map(|(sku, quantity)| line(SKUS[sku], quantity, 1)).collect();
                let wanted = Reserve { order_id: order.to_string(), lines };
                if let Ok(reserved) = run(&shop.inventory, |tx| reserve(tx, wanted)).await {
                    assert!(self.reserved[order].is_none(), "order {order} was reserved twice");
                    self.reserved[order] = Some((reserved, true));
                }
            }
            Work::Release { order } => {
                let Some((reserved, holds)) = &mut self.reserved[order] else { return };
                let released = run(&shop.inventory, |tx| release(tx, reserved.clone())).await;
                assert_eq!(
                    released.is_ok(),
                    std::mem::take(holds),
                    "a reservation is released exactly once"
                );
            }
        }
    }

    async fn balance(&self, shop: &Databases) {
        let taken: i64 = self
            .charged
            .iter()
            .flatten()
            .filter(|(_, holds)| *holds)
            .map(|(charged, _)| charged.amount_cents)
            .sum();
        let accounts = payment::accounts(&shop.payment, "", 9).await.unwrap();
        assert!(accounts.iter().all(|account| account.balance_cents >= 0), "{accounts:?}");
        let left: i64 = accounts.iter().map(|account| account.balance_cents).sum();
        assert_eq!(left + taken, 1_050, "money was created or lost");

        for product in inventory::stock(&shop.inventory, "", 9).await.unwrap() {
            let held = self.reserved.iter().flatten().filter(|(_, holds)| *holds);
            let pieces = held
                .flat_map(|(reserved, _)| &reserved.pieces)
                .filter(|pieces| pieces.sku == product.sku);
            assert_eq!(
                product.reserved,
                pieces.map(|pieces| pieces.quantity).sum::<i64>(),
                "{product:?}"
            );
            assert_eq!(
                product.on_hand + product.reserved,
                if product.sku == "chai" { 10 } else { 5 },
                "{product:?}"
            );
            assert!(product.on_hand >= 0, "{product:?}");
        }
    }
}

proptest! {
    // creating four databases per case is slow on a server
    #![proptest_config(ProptestConfig {
        cases: if sagamore::database::testing::is_remote() { 8 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn money_and_stock_are_conserved_by_random_operations(
        all in prop::collection::vec(work(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shop = small().await;
            let mut books = Books::default();
            for work in all {
                books.take(&shop, work).await;
                books.balance(&shop).await;
            }
        });
    }
}
