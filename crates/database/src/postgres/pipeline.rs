//! Pipelining: many requests on one connection in one round trip.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Polls all futures once in order before waiting for the first. Each sends its request on its
/// first poll, and the answers arrive in the order of the requests.
pub(super) async fn in_order<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Result<F::Output, Pin<Box<F>>>> =
        futures.into_iter().map(|future| Err(Box::pin(future))).collect();
    let mut first = 0;
    let mut begun = false;
    poll_fn(|context| {
        if !begun {
            begun = true;
            for place in &mut waiting {
                advance(place, context);
            }
        }
        while let Some(place) = waiting.get_mut(first) {
            if !advance(place, context) {
                return Poll::Pending;
            }
            first += 1;
        }
        Poll::Ready(())
    })
    .await;
    waiting.into_iter().filter_map(Result::ok).collect()
}

/// Polls an unfinished future. Returns whether it is finished.
fn advance<F: Future>(
    place: &mut Result<F::Output, Pin<Box<F>>>,
    context: &mut std::task::Context<'_>,
) -> bool {
    if let Err(future) = place
        && let Poll::Ready(output) = future.as_mut().poll(context)
    {
        *place = Ok(output);
    }
    place.is_ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn all_begin_in_order_before_the_first_is_awaited() {
        let begun = RefCell::new(Vec::new());
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..100).map(|_| oneshot::channel::<usize>()).unzip();
        let mut all =
            Box::pin(in_order(receivers.into_iter().enumerate().map(|(place, receiver)| {
                let begun = &begun;
                async move {
                    begun.borrow_mut().push(place);
                    receiver.await.unwrap()
                }
            })));
        assert!(all.as_mut().now_or_never().is_none());
        assert_eq!(*begun.borrow(), (0..100).collect::<Vec<_>>());
        for (place, sender) in senders.into_iter().enumerate().rev() {
            sender.send(place * 2).unwrap();
        }
        assert_eq!(all.now_or_never(), Some((0..100).map(|place| place * 2).collect()));
        assert!(in_order(Vec::<std::future::Ready<()>>::new()).now_or_never().unwrap().is_empty());
    }
}
