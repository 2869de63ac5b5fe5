//! Plans are stored by version. An event of another version changes no chain.

use sagamore_engine::RegistrationMode;

use super::*;

/// An upgrade must not lose the chains that started before it.
#[tokio::test]
async fn plans_are_stored_by_version_and_a_version_is_immutable() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.publish(std::slice::from_ref(&rung)).await;
    let newer = Event { version: 2, ..stories("2").0[0].clone() };
    rig.publish(std::slice::from_ref(&newer)).await;
    assert_eq!(rig.status("2").await.0, ChainStatus::UnknownVersion);

    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let with = async |plan: Plan| {
        Observer::open(
            ObserverOptions::default(),
            rig.database.clone(),
            transport.clone(),
            vec![plan],
        )
        .await
    };
    let other = Plan { deadline_ms: Some(1), ..visit() };
    let refused =
        with(other.clone()).await.map(drop).expect_err("the same version with other contents");
    assert!(
        refused.to_string().contains("visit version 1 is registered with other contents"),
        "{refused}"
    );
    let mut unsound = Plan { version: 2, ..other.clone() };
    unsound.begins.undo = None;
    let refused =
        with(unsound).await.map(drop).expect_err("a plan without an undo of its first step");
    assert!(refused.to_string().contains("'ring' of guest has no undo"), "{refused}");
    (rig.observer, rig.chains) = with(Plan { version: 2, ..other }).await.expect("a newer version");
    rig.publish(&[opened, shaken]).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Completed, "by the plan of its first event");
    rig.passes(Duration::from_secs(11)).await;
    assert_eq!(
        rig.status("2").await.0,
        ChainStatus::Stuck,
        "its version is known now, with its own deadline"
    );
    let readers =
        Chains::open(rig.database.clone(), vec![Plan { deadline_ms: Some(9), ..visit() }]).await;
    let seen = readers
        .expect("a reader with another plan")
        .show(&chain("1"))
        .await
        .expect("read")
        .expect("seen");
    assert_eq!(
        seen.chain.plan().and_then(|plan| plan.deadline_ms),
        visit().deadline_ms,
        "by the registered plan"
    );
}

/// See `docs/wire.md`: neither is an event of this chain.
#[tokio::test]
async fn an_event_of_another_version_or_of_an_unknown_step_changes_no_chain() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    let newer = Event { version: 9, ..opened.clone() };
    let mut strange = opened.clone();
    strange.key.step = "peep".parse().expect("a name");
    rig.publish(&[rung.clone(), newer, strange]).await;
    let detail = rig.chains.show(&chain("1")).await.expect("read").expect("seen");
    assert_eq!((detail.header.version, detail.header.status), (1, ChainStatus::Running));
    assert_eq!(detail.chain.seen().len(), 1, "foreign events are not stored");
    rig.publish(&[opened, shaken]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

/// The version is that of the chain's first event, whichever arrived first.
#[tokio::test]
async fn a_chain_has_the_version_of_its_first_event_whatever_arrives_earlier() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.publish(&[Event { version: 9, ..opened.clone() }]).await;
    rig.publish(&[rung, opened, shaken]).await;
    let detail = rig.chains.show(&chain("1")).await.expect("read").expect("seen");
    assert_eq!((detail.header.version, detail.header.status), (1, ChainStatus::Completed));
}

/// The program that stored the plan may have hashed it by other rules.
#[tokio::test]
async fn a_chain_has_the_stored_hash_of_its_plan() {
    let mut rig = Rig::new().await;
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute("UPDATE plan SET hash = 'stored'", ()).await.expect("changed");
    open.commit().await.expect("commit");
    let next = vec![Plan { version: 2, ..visit() }];
    let registered = rig.chains.register(next, RegistrationMode::Apply, false).await;
    registered.expect("registered");
    rig.publish(&stories("1").0).await;
    let detail = rig.chains.show(&chain("1")).await.expect("read").expect("seen");
    assert_eq!(
        (detail.header.status, detail.header.hash.as_deref()),
        (ChainStatus::Completed, Some("stored"))
    );
}

#[tokio::test]
async fn a_chain_of_an_unknown_version_is_stored_and_shown() {
    let mut rig = Rig::new().await;
    let newer = Event { version: 7, ..stories("1").0[0].clone() };
    rig.publish(&[newer]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::UnknownVersion, None));
}
