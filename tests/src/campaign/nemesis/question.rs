//! What is asked of nodes while the nemesis does something else: each question is put until there is an answer.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{api::Api, metrics::Metrics, wait};

/// How often a node is asked.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a node may take to answer, before it is asked again.
const SAID_WITHIN: Duration = Duration::from_millis(800);

/// An answer that is to come. Nobody is asked any more once this is dropped.
pub(super) struct Question<T> {
    task: JoinSet<T>,
    answer: Option<T>,
}

impl<T: Send + 'static> Question<T> {
    /// Asks.
    pub(super) fn put(question: impl Future<Output = T> + Send + 'static) -> Self {
        let mut task = JoinSet::new();
        task.spawn(question);
        Self { task, answer: None }
    }

    /// What the answer is, once there is one.
    pub(super) fn answer(&mut self) -> Option<&T> {
        if let Some(ended) = self.task.try_join_next() {
            self.answer = Some(ended.expect("whoever asks does not panic"));
        }
        self.answer.as_ref()
    }
}

/// Asks these nodes in turn what they count, until `wanted` finds what it looks for.
pub(super) async fn metrics_until<T>(nodes: &[Api], wanted: impl Fn(&Metrics) -> Option<T>) -> T {
    loop {
        for node in nodes {
            let said = Metrics::said_by(node, SAID_WITHIN).await;
            if let Some(found) = said.and_then(|metrics| wanted(&metrics)) {
                return found;
            }
        }
        wait::pace(PAUSE).await;
    }
}

/// Asks a node until it is ready.
pub(super) async fn ready(node: Api) {
    let is_ready = async || {
        let said = node.get("/readyz").within(SAID_WITHIN).send().await;
        said.is_ok_and(|answer| answer.status == 200)
    };
    while !is_ready().await {
        wait::pace(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_stays_once_it_is_there() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut question = Question::put(async { told.await.expect("it is told") });
        assert_eq!(question.answer(), None);
        tell.send(7).expect("it is asked");
        let answer = wait::found(Duration::from_secs(10), || question.answer().copied()).await;
        assert_eq!((answer, question.answer().copied()), (Some(7), Some(7)));
    }
}
