//! Keeping the last known good copy on disk.

use std::{path::PathBuf, sync::Arc};

use tokio::{sync::watch, time::sleep};

use crate::{disk, shared::Shared};

/// Saves the copy when it has changed, not too often, and once more at the end.
pub(crate) async fn run(shared: &Shared, file: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut saved = None;
    loop {
        let is_last = tokio::select! {
            () = shared.unsaved.notified() => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        save(shared, &file, &mut saved).await;
        if is_last {
            return;
        }
        tokio::select! {
            () = sleep(shared.settings.save_every) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// `saved` is the copy that lies there already.
async fn save(shared: &Shared, file: &std::path::Path, saved: &mut Option<Arc<crate::held::Held>>) {
    let Some(held) = shared.followed() else { return };
    if saved.as_ref().is_some_and(|saved| Arc::ptr_eq(saved, &held)) {
        return;
    }
    let (copy, file, wall_ms) = (Arc::clone(&held), file.to_owned(), shared.clock.wall_ms());
    let shown = file.display().to_string();
    match tokio::task::spawn_blocking(move || disk::save(&file, &copy, wall_ms)).await {
        Ok(Ok(())) => *saved = Some(held),
        Ok(Err(error)) => {
            tracing::warn!(file = shown, %error, "the copy could not be saved; it is tried again")
        }
        Err(_) => tracing::warn!(file = shown, "the copy was not saved: the runtime is going down"),
    }
}
