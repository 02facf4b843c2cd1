//! The one thread that syncs the write-ahead log, and tells whoever waits for it.
//!
//! Writes do not sync. They put a completion into the queue, *after* their write has returned; the thread takes
//! all that is queued, syncs once, and completes in order. So one sync serves everybody who wrote while the
//! previous one ran, and no completion can overtake an earlier one: openraft takes a completion as a watermark
//! for everything before it.
//!
//! Before anybody is told, the floor is: whatever was acknowledged is missed if a damaged disk does not have it.

use std::{
    io,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::Instant,
};

use super::{fatal::FatalHook, floor::Floor, metrics::StorageMetrics};

/// Called once, when everything written before it was queued is on the disk, or surely never will be.
pub type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Called before the completion, when the sync has succeeded: raises the floor to what is durable now.
pub type Note = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Makes everything written so far durable.
pub(super) type SyncFn = Box<dyn FnMut() -> io::Result<()> + Send>;

struct Waiting {
    entries: usize,
    note: Note,
    complete: Completion,
}

/// The handle to the thread. Dropping it lets the thread finish what is queued and waits for it.
pub(super) struct Syncer {
    queue: Option<Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system has no thread left.
    pub(super) fn start(
        sync: SyncFn,
        floor: Floor,
        metrics: StorageMetrics,
        fatal: FatalHook,
    ) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("wal-sync".to_owned())
            .spawn(move || run(&waiting, sync, &floor, &metrics, &fatal))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues `complete` behind a write of `entries` log entries that has already returned.
    pub(super) fn submit(&self, entries: usize, note: Note, complete: Completion) {
        let waiting = Waiting { entries, note, complete };
        let refused = match &self.queue {
            Some(queue) => queue.send(waiting).err().map(|unsent| unsent.0),
            None => Some(waiting),
        };
        if let Some(waiting) = refused {
            (waiting.complete)(Err(io::Error::other("the storage is closed")));
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        drop(self.queue.take());
        // The last owner can be a completion, which runs on the thread itself; it ends by itself then.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic in there has been reported by the panic hook already.
            drop(thread.join());
        }
    }
}

fn run(
    waiting: &Receiver<Waiting>,
    mut sync: SyncFn,
    floor: &Floor,
    metrics: &StorageMetrics,
    fatal: &FatalHook,
) {
    let mut failure: Option<String> = None;
    while let Ok(first) = waiting.recv() {
        let mut entries = 0;
        let (mut notes, mut completions) = (Vec::new(), Vec::new());
        for one in std::iter::once(first).chain(waiting.try_iter()) {
            entries += one.entries;
            notes.push(one.note);
            completions.push(one.complete);
        }
        if failure.is_none() {
            let started = Instant::now();
            let synced = sync()
                .and_then(|()| notes.into_iter().try_for_each(|note| note()))
                .and_then(|()| floor.write_latest());
            match synced {
                Ok(()) => {
                    metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
                    if entries > 0 {
                        #[expect(
                            clippy::cast_precision_loss,
                            reason = "a count of entries is far below 2^52"
                        )]
                        metrics.sync_entries.observe(entries as f64);
                    }
                }
                Err(error) => failure = Some(format!("syncing the write-ahead log failed: {error}")),
            }
        }
        match &failure {
            None => completions.into_iter().for_each(|complete| complete(Ok(()))),
            Some(why) => {
                completions.into_iter().for_each(|complete| complete(Err(io::Error::other(why.clone()))));
                // Only a test's hook returns, and after it nothing is synced or acknowledged again.
                fatal(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use super::*;

    /// A floor, and the folder it lies in for as long as the test runs.
    fn floor() -> (Floor, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a folder");
        (Floor::open(dir.path(), true).expect("a new floor"), dir)
    }

    fn note(floor: &Floor, payload: u32) -> Note {
        let floor = floor.clone();
        Box::new(move || {
            floor.set(payload.to_be_bytes().to_vec());
            Ok(())
        })
    }

    fn metrics() -> StorageMetrics {
        StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry")
    }

    fn recording_hook() -> (FatalHook, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        (Arc::new(move |_| _ = counted.fetch_add(1, Ordering::SeqCst)), calls)
    }

    #[test]
    fn completes_in_order_and_never_before_the_sync() {
        let (entered, wait_entered) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let synced = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&synced);
        let (hook, fatal_calls) = recording_hook();
        let (floor, dir) = floor();
        let syncer = Syncer::start(
            Box::new(move || {
                entered.send(()).expect("test listens");
                // A test that has failed meanwhile releases nothing, and must still end.
                wait_release.recv_timeout(Duration::from_secs(10)).map_err(io::Error::other)?;
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }),
            floor.clone(),
            metrics(),
            hook,
        )
        .expect("a thread");

        let seen = Arc::new(Mutex::new(Vec::new()));
        let submit = |name: u32| {
            let (seen, synced) = (Arc::clone(&seen), Arc::clone(&synced));
            let path = dir.path().to_owned();
            let complete = move |result: io::Result<()>| {
                assert!(result.is_ok());
                let noted = Floor::open(&path, false).expect("readable").latest();
                let noted = u32::from_be_bytes(noted.try_into().expect("a number"));
                assert!(noted >= name, "acknowledged before the floor's file says so");
                seen.lock().expect("unpoisoned").push((name, synced.load(Ordering::SeqCst)));
            };
            syncer.submit(1, note(&floor, name), Box::new(complete));
        };
        submit(0);
        wait_entered.recv().expect("the first sync starts");
        assert!(
            seen.lock().expect("unpoisoned").is_empty(),
            "nothing is acknowledged before its sync returned"
        );
        // These arrive while the first sync runs, so it can't cover them: the second one does, at once for all.
        (1..=50).for_each(submit);
        release.send(()).expect("the syncer waits");
        wait_entered.recv().expect("the second sync starts");
        assert_eq!(*seen.lock().expect("unpoisoned"), [(0, 1)]);
        release.send(()).expect("the syncer waits");
        drop(syncer);

        let expected: Vec<_> = std::iter::once((0, 1)).chain((1..=50).map(|name| (name, 2))).collect();
        assert_eq!(*seen.lock().expect("unpoisoned"), expected);
        assert_eq!(fatal_calls.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn after_a_failed_sync_nothing_succeeds_again() {
        let healthy_again = Arc::new(AtomicBool::new(false));
        let asked_again = Arc::new(AtomicUsize::new(0));
        let (health, asked) = (Arc::clone(&healthy_again), Arc::clone(&asked_again));
        let (hook, fatal_calls) = recording_hook();
        let (floor, _dir) = floor();
        let syncer = Syncer::start(
            Box::new(move || {
                asked.fetch_add(1, Ordering::SeqCst);
                if health.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other("no space left")) }
            }),
            floor.clone(),
            metrics(),
            hook,
        )
        .expect("a thread");
        let (tell, told) = mpsc::channel();
        for round in 0..3 {
            let tell = tell.clone();
            syncer.submit(
                1,
                note(&floor, round),
                Box::new(move |result| tell.send(result.is_err()).expect("test listens")),
            );
            assert!(told.recv().expect("an answer"), "round {round}");
            // A disk that works again proves nothing about what it lost.
            healthy_again.store(true, Ordering::SeqCst);
        }
        drop(syncer);
        assert_eq!(asked_again.load(Ordering::SeqCst), 1, "a failed sync is not retried");
        assert!(floor.latest().is_empty(), "what is not synced is not noted");
        assert!(fatal_calls.load(Ordering::SeqCst) >= 1);
    }
}
