//! Texts that no database can store: lookups by them find nothing and do not fail.

use sagamore_shop::order::{self, Rejected};
use sagamore_shop::{Databases, inventory, payment, sample, shipping};

#[tokio::test]
async fn lookups_with_unstorable_text_find_nothing() {
    let shop = Databases::of_tests();
    shop.prepare().await.expect("the tables are created");
    sample::load(&shop).await.expect("the sample is loaded");
    for text in ["\0", "SAMPLE\0", "\0SAMPLE"] {
        assert_eq!(order::order(&shop.order, text).await.expect("no fault"), None);
        assert_eq!(payment::account(&shop.payment, text).await.expect("no fault"), None);
        assert_eq!(inventory::product(&shop.inventory, text).await.expect("no fault"), None);
        assert_eq!(shipping::shipment(&shop.shipping, text).await.expect("no fault"), None);
    }
    let behind = |after| payment::accounts(&shop.payment, after, 10);
    assert_eq!(behind("\0").await.expect("no fault").len(), 1, "the sample's account is above it");
    assert_eq!(behind("SAMPLE\0").await.expect("no fault"), []);
    assert_eq!(order::orders(&shop.order, "\0", 10).await.expect("no fault"), []);
    assert_eq!(shipping::shipments(&shop.shipping, "\0", 10).await.expect("no fault"), []);
    assert_eq!(inventory::stock(&shop.inventory, "SAMPLE\0", 10).await.expect("no fault"), []);
    assert_eq!(
        shipping::destinations(&shop.shipping, "Sampleland\0", 10).await.expect("no fault"),
        []
    );
}

#[tokio::test]
async fn an_order_with_an_unstorable_id_is_unknown() {
    let shop = Databases::of_tests();
    shop.prepare().await.expect("the tables are created");
    let open = shop.order.begin().await.expect("begin");
    let unknown = || Err(Rejected::UnknownOrder("\0".into()));
    assert_eq!(
        order::domain::cancel(open.tx(), "\0".into(), None).await.expect("no fault"),
        unknown()
    );
    assert_eq!(
        order::domain::unlock(open.tx(), "\0".into(), "x".into()).await.expect("no fault"),
        unknown()
    );
}
