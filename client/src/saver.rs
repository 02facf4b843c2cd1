//! Keeping the last known good copy on disk.

use std::{path::PathBuf, sync::Arc, time::Duration};

use flagraft_core::identity::RevisionToken;
use tokio::{sync::watch, time::sleep};

use crate::{disk, endpoints::Pause, shared::Shared};

/// The longest pause between two attempts to save a copy that can't be saved.
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);
/// A copy that does not change is saved again so many times before it would be too old.
const SAVES_PER_LIFE: u32 = 7;

/// Saves the copy when it has changed, not too often; now and then while it is current though it does not change; and once
/// more at the end.
pub(crate) async fn run(shared: &Shared, file: PathBuf, mut stop: watch::Receiver<bool>) {
    let every = shared.settings.save_every;
    let retry = Pause { min: every, max: every.max(RETRY_MAX) };
    // So that a service that lived for long without a change starts from disk too.
    let again = (shared.settings.disk_age_max / SAVES_PER_LIFE).max(every).max(Duration::from_secs(1));
    let mut saver = Saver { shared, file, saved: None };
    let mut failures = 0;
    loop {
        let wait = if failures > 0 { retry.after(failures) } else { again };
        let is_last = tokio::select! {
            () = shared.unsaved.notified() => false,
            () = sleep(wait) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let is_saved = saver.save().await;
        if is_last {
            return;
        }
        failures = if is_saved { 0 } else { failures.saturating_add(1) };
        tokio::select! {
            () = sleep(every) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

struct Saver<'s> {
    shared: &'s Shared,
    file: PathBuf,
    /// The definitions that lie there, and the time as of which they are said to have been current.
    saved: Option<(RevisionToken, i64)>,
}

impl Saver<'_> {
    /// Saves the copy, unless what lies there says the same already. Whether there is nothing left to do.
    async fn save(&mut self) -> bool {
        let Some(held) = self.shared.followed() else { return true };
        let Some(definitions) = held.definitions() else { return true };
        let clock = &*self.shared.clock;
        // Of an age that nobody knows the time of the first save is the best that there is.
        let age_ms = held.age_ms(clock).and_then(|age_ms| i64::try_from(age_ms).ok());
        let current_at_ms = clock.wall_ms().saturating_sub(age_ms.unwrap_or(0));
        let is_saved = self.saved.is_some_and(|(saved, saved_at_ms)| {
            saved == definitions && (age_ms.is_none() || saved_at_ms == current_at_ms)
        });
        if is_saved {
            return true;
        }
        let (copy, file) = (Arc::clone(&held), self.file.clone());
        let shown = file.display().to_string();
        match tokio::task::spawn_blocking(move || disk::save(&file, &copy, current_at_ms)).await {
            Ok(Ok(())) => {
                self.saved = Some((definitions, current_at_ms));
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(file = shown, %error, "the copy could not be saved; it is tried again");
                false
            }
            Err(_) => {
                tracing::warn!(file = shown, "the copy was not saved: the runtime is going down");
                false
            }
        }
    }
}
