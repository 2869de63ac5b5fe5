//! A fourth domain: errands, whose participants have no barrier. A courier deduplicates by command
//! id. A wrapper and an insurer never do, and only the insurer can be queried.

use std::time::Duration;

use sagamore_core::{Definition, definition};
use sagamore_sdk::Message;

/// The participants, each with its class.
pub const OUTSIDERS: [&str; 3] = ["courier", "wrapper", "insurer"];

/// The input of an errand.
#[derive(Clone, Debug, Message)]
pub struct Errand {
    /// The business key.
    pub errand_id: String,
    /// A field without meaning.
    pub note: String,
}

/// The output of every action.
#[derive(Clone, Debug, Message)]
pub struct Receipt {
    /// The number of the receipt.
    pub receipt: String,
}

macro_rules! asks {
    ($action:ident $to:literal $(undone by $undo:ident)?) => {
        #[doc = "A command of a step."]
        #[derive(Clone, Debug, Message)]
        #[message(to = $to, yields = Receipt)]
        pub struct $action {
            #[doc = "The errand's key."]
            pub errand_id: String,
        }
        $(
            #[doc = "The undo of a step."]
            #[derive(Clone, Debug, Message)]
            #[message(to = $to, undoes = $action)]
            pub struct $undo {
                #[doc = "The receipt of the action."]
                pub receipt: String,
            }
        )?
    };
}

asks!(FetchParcel "courier" undone by ReturnParcel);
asks!(WrapParcel "wrapper" undone by UnwrapParcel);
asks!(InsureParcel "insurer" undone by CancelPolicy);
asks!(CarryParcel "courier");
asks!(SettlePolicy "insurer");

/// Returns the definition. Wrapping and insuring run in parallel.
pub fn errand() -> Result<Definition, definition::Error> {
    let (soon, late) = (Duration::from_millis(200), Duration::from_secs(2));
    let mut saga = Definition::named("errand").version(1).deadline(Duration::from_secs(40));
    let ErrandFrom { errand_id, note: _ } = saga.input::<Errand>();
    saga.participant("courier").by_key();
    saga.participant("wrapper").never();
    saga.participant("insurer").never().query("insurer.status");
    saga.step("fetch-parcel")
        .sends(FetchParcelFrom { errand_id })
        .undone_by_output(|output| ReturnParcelFrom { receipt: output.receipt })
        .timeout(Duration::from_millis(800))
        .attempts(3)
        .backoff(soon, late);
    saga.step("wrap-parcel")
        .sends(WrapParcelFrom { errand_id })
        .undone_by_output(|output| UnwrapParcelFrom { receipt: output.receipt })
        .after(["fetch-parcel"])
        .timeout(Duration::from_secs(4))
        .backoff(soon, late);
    saga.step("insure-parcel")
        .sends(InsureParcelFrom { errand_id })
        .undone_by_output(|output| CancelPolicyFrom { receipt: output.receipt })
        .after(["fetch-parcel"])
        .timeout(late)
        .backoff(soon, late);
    saga.pivot("carry-parcel")
        .sends(CarryParcelFrom { errand_id })
        .after(["wrap-parcel", "insure-parcel"])
        .timeout(late)
        .backoff(soon, late);
    saga.retriable("settle-policy")
        .sends(SettlePolicyFrom { errand_id })
        .after(["carry-parcel"])
        .timeout(late)
        .backoff(soon, late);
    saga.build()
}
