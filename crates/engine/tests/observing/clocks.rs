//! The observer under clocks that are wrong.

use super::*;

/// A clock that is ahead must not expire any chain.
#[tokio::test]
async fn a_clock_far_ahead_removes_no_chains_and_advances_no_horizon() {
    let day = Duration::from_secs(24 * 3600);
    let mut rig = Rig::new().await;
    rig.days_pass(40).await;
    rig.publish(&stories("over").0).await;
    let right = rig.now;
    let least = rig.horizon().await.ended_before;
    for jump in [right.plus(200 * day), right, right.minus(60 * day), right.plus(60 * day), right] {
        rig.now = jump;
        (rig.observer, rig.chains) = open(&rig.database, &rig.log).await;
        rig.turns().await;
        rig.passes(Duration::from_secs(700)).await;
        assert_eq!(rig.status("over").await, (ChainStatus::Completed, None));
        let ended_before = rig.horizon().await.ended_before;
        assert!(ended_before <= least.plus(2 * day), "{ended_before} for {least}, at {jump}");
    }
}

/// A service's clock may be wrong by any amount.
#[tokio::test]
async fn a_chain_is_overdue_by_the_observers_clock_not_by_its_services_timestamps() {
    let mut rig = Rig::new().await;
    let day = Duration::from_secs(24 * 3600);
    for (key, at) in [
        ("behind", Timestamp(0)),
        ("a-minute-behind", rig.now.minus(DEADLINE)),
        ("ahead", rig.now.plus(60 * day)),
    ] {
        let rung = stories(key).0[0].clone();
        rig.publish(&[Event { at, ..rung }]).await;
        rig.passes(DEADLINE - Duration::from_secs(1)).await;
        assert_eq!(rig.status(key).await, (ChainStatus::Running, None), "{key}");
        rig.passes(Duration::from_secs(2)).await;
        assert_eq!(rig.status(key).await, (ChainStatus::Stuck, None), "{key}");
    }
}

#[tokio::test]
async fn a_chain_seen_while_the_clock_was_ahead_is_overdue_by_the_corrected_clock() {
    let mut rig = Rig::new().await;
    let right = rig.now;
    rig.passes(Duration::from_secs(60 * 24 * 3600)).await;
    rig.publish(&[stories("1").0[0].clone()]).await;
    rig.now = right;
    rig.turns().await;
    assert_eq!(rig.status("1").await, (ChainStatus::Running, None));
    for _ in 0..2 {
        rig.passes(DEADLINE).await;
    }
    assert_eq!(rig.status("1").await, (ChainStatus::Stuck, None));
}
