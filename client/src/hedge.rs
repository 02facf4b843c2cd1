//! Asking several nodes, the second one a little after the first: the first good answer wins.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};

/// Asks the nodes in order: the next one when one has failed, and when no answer came for a while. The others are given up
/// when one has answered. Of errors the last one is told; `None` where there is no node to ask.
pub(crate) async fn first_good<T, E, F: Future<Output = Result<T, E>>>(
    order: Vec<usize>,
    after: Duration,
    ask: impl Fn(usize) -> F,
) -> Result<T, Option<E>> {
    let mut left = order.into_iter();
    let mut asked = FuturesUnordered::new();
    let mut last = None;
    loop {
        let next = left.next();
        let is_last = next.is_none();
        asked.extend(next.map(&ask));
        if asked.is_empty() {
            return Err(last);
        }
        loop {
            let answered = if is_last {
                asked.next().await
            } else {
                match tokio::time::timeout(after, asked.next()).await {
                    Ok(answered) => answered,
                    Err(_) => break,
                }
            };
            match answered {
                Some(Ok(good)) => return Ok(good),
                Some(Err(error)) => {
                    last = Some(error);
                    if !is_last {
                        break;
                    }
                }
                None => return Err(last),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    const AFTER: Duration = Duration::from_millis(300);

    #[tokio::test(start_paused = true)]
    async fn a_node_that_says_nothing_costs_no_more_than_the_wait_for_the_next() {
        let begun = Instant::now();
        let ask = async |index| if index == 0 { pending().await } else { Ok::<_, ()>(index) };
        assert_eq!(first_good(vec![0, 1, 2], AFTER, ask).await, Ok(1));
        assert_eq!(begun.elapsed(), AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_asks_the_next_one_at_once_and_the_slow_first_may_still_win() {
        let begun = Instant::now();
        let ask = async |index: usize| match index {
            0 => {
                sleep(AFTER * 3 / 2).await;
                Ok(index)
            }
            index => Err(index),
        };
        assert_eq!(first_good(vec![1, 0, 2, 3], AFTER, ask).await, Ok(0));
        assert_eq!(begun.elapsed(), AFTER * 3 / 2);
        assert_eq!(first_good(vec![1, 2, 3], AFTER, ask).await, Err(Some(3)));
        assert_eq!(first_good(vec![], AFTER, ask).await, Err(None));
    }
}
