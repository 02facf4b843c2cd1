//! What a node counts, as Prometheus reads it.

use std::{collections::HashMap, time::Duration};

use crate::api::{Answer, Api};

/// The metrics of a node at one moment.
#[derive(Clone, Debug)]
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    /// Reads a node's `/metrics`.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn of(node: &Api) -> Self {
        Self::read(&node.get("/metrics").ok().await)
    }

    /// What a node says of itself, if it does within `limit`.
    pub async fn said_by(node: &Api, limit: Duration) -> Option<Self> {
        let answer = node.get("/metrics").within(limit).send().await.ok()?;
        (answer.status == 200).then(|| Self::read(&answer))
    }

    /// Reads an answer of `/metrics`.
    ///
    /// # Panics
    /// It has no text.
    pub fn read(answer: &Answer) -> Self {
        let text = answer.body.as_str().expect("metrics are text");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The sample of this name, its labels included: `name{label="value"}`. 0 when it was never counted.
    pub fn get(&self, name: &str) -> u64 {
        let value = self.value(name);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are small and whole"
        )]
        let count = value as u64;
        count
    }

    /// The same where it need not be whole, such as seconds.
    pub fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}
