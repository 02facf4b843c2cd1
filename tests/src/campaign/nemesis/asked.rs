//! What is asked of nodes beside all else, by a task of its own: they may take their time to answer.

use std::sync::{Arc, OnceLock};

use tokio::task::JoinSet;

/// A question that is asked until it is answered, or until this is dropped.
pub(super) struct Asked<T> {
    answer: Arc<OnceLock<T>>,
    _task: JoinSet<()>,
}

impl<T: Send + Sync + 'static> Asked<T> {
    /// Begins to ask.
    pub(super) fn of(asking: impl Future<Output = T> + Send + 'static) -> Self {
        let answer = Arc::new(OnceLock::new());
        let to = Arc::clone(&answer);
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Nobody else sets it.
            let _ = to.set(asking.await);
        });
        Self { answer, _task: task }
    }

    /// The answer, once there is one.
    pub(super) fn answer(&self) -> Option<&T> {
        self.answer.get()
    }
}
