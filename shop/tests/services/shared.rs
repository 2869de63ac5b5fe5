//! Commands that share a row in one chunk take effect in the order of their arrival.

use std::sync::Arc;

use sagamore::core::{
    Body, Command, Direction, Outcome, ReplyOutcome, ReplyTo, StepKey, Timestamp,
};
use sagamore::sdk::{Action, Database, Message, Options, Participant, Service, Undoes};
use sagamore::transport::wire::{command_topic, decode_reply, encode_command};
use sagamore::transport::{Log, MemoryDisk, Subscription, Transport, log};
use sagamore_shop::inventory::{self, Delivery, Release, Reserve};
use sagamore_shop::payment::{self, Account, Charge, Refund};
use sagamore_shop::{Databases, Line};

const REPLIES: &str = "sagamore.replies";
const NOW: Timestamp = Timestamp(1_000_000);

fn command<M: Message>(
    order_id: &str,
    service: &Service,
    direction: Direction,
    message: &M,
) -> Command {
    Command {
        key: StepKey {
            saga: format!("checkout:{order_id}").parse().expect("the id is valid"),
            step: "take".parse().expect("the name is valid"),
            direction,
            generation: 1,
        },
        version: 1,
        attempt: 1,
        participant: service.name().clone(),
        name: M::NAME.parse().expect("the name is valid"),
        body: Body::of(message).expect("JSON"),
        reply_to: ReplyTo { topic: REPLIES.into(), partition: 0 },
        expires_at: None,
        trace: None,
    }
}

/// The first order uses everything. Then its undo and the second order's action arrive in one
/// chunk.
async fn check<A: Action, U: Undoes<Action = A>>(
    service: Service,
    database: &Database,
    of: impl Fn(&str) -> A,
    undo: U,
) {
    let log =
        Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("the disk is empty");
    for topic in [REPLIES, &*command_topic(service.name())] {
        log.create_topic(topic, 1).await.expect("create topic");
    }
    let group =
        Subscription { group: "asks".into(), topics: vec![REPLIES.into()], partitions: None };
    let mut replies = log.subscribe(group).await.expect("subscribe");
    let transport: Arc<dyn Transport> = Arc::new(log.clone());
    let mut participant =
        Participant::new(service.clone(), database.clone(), transport, Options::default());
    let mut rng = fastrand::Rng::with_seed(7);
    let first = command("1", &service, Direction::Action, &of("1"));
    let undone = command("1", &service, Direction::Compensation, &undo);
    let second = command("2", &service, Direction::Action, &of("2"));
    for commands in [vec![first], vec![undone, second]] {
        log.publish(
            commands
                .iter()
                .map(|command| encode_command(command, sagamore::core::Timestamp(0)))
                .collect(),
        )
        .await
        .expect("publish");
        let turned = participant.turn(NOW, &mut rng).await.expect("turn");
        assert_eq!(turned.taken, commands.len());
        let answered = replies.poll(10).await.expect("poll");
        assert_eq!(answered.len(), commands.len());
        for delivery in answered {
            let reply = decode_reply(&delivery.record).expect("the record is a reply");
            assert!(
                matches!(reply.outcome, ReplyOutcome::Final(Outcome::Done(_))),
                "{:?}: {:?}",
                reply.key,
                reply.outcome
            );
        }
    }
}

#[tokio::test]
async fn a_charge_may_use_a_refund_of_the_same_chunk() {
    let shop = Databases::of_tests();
    shop.prepare().await.expect("the tables are created");
    let account = Account { customer_id: "VINET".into(), name: "Vins".into(), balance_cents: 300 };
    payment::load(&shop.payment, &[account]).await.expect("load the account");
    let charge = |order_id: &str| Charge {
        order_id: order_id.into(),
        customer_id: "VINET".into(),
        amount_cents: 300,
    };
    check(payment::service(), &shop.payment, charge, Refund).await;
}

#[tokio::test]
async fn a_reservation_may_use_a_release_of_the_same_chunk() {
    let shop = Databases::of_tests();
    shop.prepare().await.expect("the tables are created");
    let deliveries =
        ["chai", "tofu"].map(|sku| Delivery { sku: sku.into(), name: sku.into(), on_hand: 3 });
    inventory::load(&shop.inventory, &deliveries).await.expect("load the stock");
    let line = |sku: &str| Line { sku: sku.into(), quantity: 3, unit_price_cents: 100 };
    let reserve = |order_id: &str| Reserve {
        order_id: order_id.into(),
        lines: vec![line("chai"), line("tofu")],
    };
    check(inventory::service(), &shop.inventory, reserve, Release).await;
}
