//! Where an import goes: its changes, one after the other, and the bar that shows how far they are.

use std::io::IsTerminal as _;

use flagraft_client::admin::Change;
use flagraft_core::proposal::{Cause, CauseKind};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::plan::{self, Item};
use crate::{
    failure::Failure,
    session::{Session, Why},
};

/// What an import did.
#[derive(Default)]
pub(super) struct Written {
    /// The revision of the last change; `None` when there was nothing to do.
    pub(super) revision: Option<u64>,
    /// Batches of which an earlier run had done everything.
    pub(super) already: usize,
}

/// Where an import goes, and why.
pub(super) struct Target<'a> {
    pub(super) session: &'a Session,
    pub(super) project: &'a str,
    pub(super) why: &'a Why,
    pub(super) file: &'a [u8],
    /// The catalog's revision that the import was planned at.
    pub(super) planned_at: &'a str,
}

impl Target<'_> {
    /// The change that a batch is; `None` where all of it is done already.
    fn change(&self, batch: &[Item]) -> Option<Change> {
        let operations: Vec<Value> = batch.iter().filter_map(Item::operation).collect();
        let cause = Cause { kind: CauseKind::Import, id: plan::file_id(self.file) };
        let change = Change::new(self.project, self.why).operations(&operations).caused_by(cause);
        (!operations.is_empty()).then_some(change)
    }

    /// Asks the cluster whether it would accept the import. Only one batch can be judged: each later one
    /// rests on those before it.
    pub(super) async fn dry_run(&self, batches: &[&[Item]]) -> Result<Written, Failure> {
        if let Some(change) = batches.first().and_then(|batch| self.change(batch)) {
            self.session.client.send(&change.dry_run().call()).await?;
        }
        Ok(Written::default())
    }

    pub(super) async fn write(&self, batches: &[&[Item]], quiet: bool) -> Result<Written, Failure> {
        let mut written = Written::default();
        let progress = progress(batches, quiet);
        for (index, batch) in batches.iter().enumerate() {
            match self.change(batch) {
                None => written.already += 1,
                Some(change) => {
                    let call = change.call();
                    let body = call.body().unwrap_or(&Value::Null);
                    let operations = body["operations"].as_array().map_or(0, Vec::len);
                    let key = plan::batch_key(self.file, self.project, self.planned_at, index, body);
                    let sent = self.session.client.send(&call.with_key(key)).await;
                    let answer =
                        sent.map_err(|error| cut_off(error.into(), &progress, index, batches.len()))?;
                    written.revision = answer.json()["revision"].as_u64();
                    progress.inc(operations as u64);
                }
            }
        }
        progress.finish_and_clear();
        Ok(written)
    }
}

/// A failure in the middle of an import, saying what is in and how to go on.
fn cut_off(mut failure: Failure, progress: &ProgressBar, done: usize, batches: usize) -> Failure {
    progress.finish_and_clear();
    if batches > 1 {
        let cause = failure.message;
        failure.message = format!("batch {} of {batches} failed: {cause}", done + 1);
        let resume = format!("{done} batches are in; run the same command again to resume");
        failure.next = Some(match failure.next {
            Some(next) => format!("{next}; {resume}"),
            None => resume,
        });
    }
    failure
}

/// How many batches still have something to do, and how many operations that is.
pub(super) fn pending(batches: &[&[Item]]) -> (usize, usize) {
    let operations =
        batches.iter().map(|batch| batch.iter().filter(|item| item.operation().is_some()).count());
    operations.filter(|count| *count > 0).fold((0, 0), |(batches, all), count| (batches + 1, all + count))
}

/// A bar where there is something to wait for and somebody to see it. Several batches are announced in any
/// case.
fn progress(batches: &[&[Item]], quiet: bool) -> ProgressBar {
    let (changes, operations) = pending(batches);
    if changes < 2 || quiet {
        return ProgressBar::hidden();
    }
    let already = match batches.len() - changes {
        0 => String::new(),
        already => format!("; {already} are in already"),
    };
    eprintln!("{operations} operations go in as {changes} changes, each of them all or nothing{already}");
    let bar = ProgressBar::new(operations as u64);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    match ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn an_import_that_is_cut_off_says_how_to_resume() {
        let failure = Failure::new(Exit::Unavailable, "no node answered").next("start one");
        let failure = cut_off(failure, &ProgressBar::hidden(), 2, 5);
        assert_eq!(
            failure.to_string(),
            "batch 3 of 5 failed: no node answered; start one; 2 batches are in; run the same command again to resume"
        );
        let failure = cut_off(Failure::new(Exit::Rejected, "no"), &ProgressBar::hidden(), 0, 1);
        assert_eq!(failure.to_string(), "no", "one change is all or nothing");
    }
}
