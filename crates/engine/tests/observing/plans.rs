//! Plans are stored by version. An event of another version moves no chain.

use super::*;

/// An upgrade must not lose sight of the chains that began before it.
#[tokio::test]
async fn plans_are_kept_by_version_and_a_version_never_changes() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.tell(std::slice::from_ref(&rung)).await;
    let newer = Event { version: 2, ..stories("2").0[0].clone() };
    rig.tell(std::slice::from_ref(&newer)).await;
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
    let refused = with(other.clone()).await.map(drop).expect_err("the same version");
    assert!(
        refused.to_string().contains("visit version 1 is registered with other contents"),
        "{refused}"
    );
    let mut unsound = Plan { version: 2, ..other.clone() };
    unsound.begins.undo = None;
    let refused = with(unsound).await.map(drop).expect_err("its beginning is never undone");
    assert!(refused.to_string().contains("'ring' of guest has no undo"), "{refused}");
    (rig.observer, rig.chains) = with(Plan { version: 2, ..other }).await.expect("a newer version");
    rig.tell(&[opened, shaken]).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Completed, "by the plan that it began with");
    rig.passes(Duration::from_secs(11)).await;
    assert_eq!(
        rig.status("2").await.0,
        ChainStatus::Stuck,
        "its version is known by now, with a deadline of its own"
    );
    let readers =
        Chains::open(rig.database.clone(), vec![Plan { deadline_ms: Some(9), ..visit() }]).await;
    let seen = readers
        .expect("who reads is not refused")
        .show(&chain("1"))
        .await
        .expect("read")
        .expect("seen");
    assert_eq!(
        seen.chain.plan().and_then(|plan| plan.deadline_ms),
        visit().deadline_ms,
        "by what is registered"
    );
}

/// `docs/wire.md`: neither is an event of this chain.
#[tokio::test]
async fn an_event_of_another_version_or_of_an_unknown_step_moves_no_chain() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    let newer = Event { version: 9, ..opened.clone() };
    let mut strange = opened.clone();
    strange.key.step = "peep".parse().expect("a name");
    rig.tell(&[rung.clone(), newer, strange]).await;
    let detail = rig.chains.show(&chain("1")).await.expect("read").expect("seen");
    assert_eq!((detail.header.version, detail.header.status), (1, ChainStatus::Running));
    assert_eq!(detail.chain.seen().len(), 1, "what does not belong to it is not kept");
    rig.tell(&[opened, shaken]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

/// The version is that of the event that began the chain, whichever was seen first.
#[tokio::test]
async fn a_chain_that_is_seen_first_by_an_event_of_another_version_has_that_of_its_beginning() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.tell(&[Event { version: 9, ..opened.clone() }]).await;
    rig.tell(&[rung, opened, shaken]).await;
    let detail = rig.chains.show(&chain("1")).await.expect("read").expect("seen");
    assert_eq!((detail.header.version, detail.header.status), (1, ChainStatus::Completed));
}

#[tokio::test]
async fn a_version_that_is_not_known_is_kept_and_told_as_such() {
    let mut rig = Rig::new().await;
    let newer = Event { version: 7, ..stories("1").0[0].clone() };
    rig.tell(&[newer]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::UnknownVersion, None));
}
