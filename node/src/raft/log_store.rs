//! Raft's log and vote on the disk.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, ControlFlow, Range, RangeBounds},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{Stream, StreamExt, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};

use super::{
    floor::{Synced, Watermark},
    log_size::LogSize,
    recent::Recent,
    snapshot::blocking,
    types::{Entry, LogId, TypeConfig, Vote},
    wire::{decode_entry, decode_log_id, decode_vote, encode_entry, encode_log_id, encode_vote},
};
use crate::storage::{MetaKey, Storage, StorageError};

/// Entries that `apply` is handed at a time, so that catching up does not load the whole log at once.
const PAGE_ENTRIES: u64 = 1_024;

/// The log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    storage: Arc<Storage>,
    /// The first index that may be in the log. Reading starts here, and never walks over the tombstones of what
    /// was purged.
    first: Arc<AtomicU64>,
    /// Bytes of entries after which a read for replication stops.
    append_bytes_max: usize,
    size: Arc<Mutex<LogSize>>,
    watermark: Arc<Watermark>,
    /// The end of the log. It holds what the database holds: written after it, and removed before it.
    recent: Arc<Mutex<Recent>>,
}

impl LogStore {
    /// The log in `storage`, of which `size` has measured what is there already. All of that is durable: the
    /// database syncs what it recovers.
    pub(super) fn new(
        storage: Arc<Storage>,
        append_bytes_max: usize,
        size: LogSize,
    ) -> Result<Self, io::Error> {
        let purged = read_log_id(&storage, MetaKey::LastPurged)?;
        let first = Arc::new(AtomicU64::new(purged.map_or(0, |id| id.index.saturating_add(1))));
        let vote = read_vote(&storage)?;
        let watermark = Watermark::new(&storage, Synced { vote, last: last_entry(&storage)?.or(purged) })?;
        Ok(Self {
            storage,
            first,
            append_bytes_max,
            size: Arc::new(Mutex::new(size)),
            watermark: Arc::new(watermark),
            recent: Arc::default(),
        })
    }

    /// How large the log is.
    pub(super) fn size(&self) -> MutexGuard<'_, LogSize> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of `range`, up to the first after which they are `bytes_max` or more.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, io::Error> {
        let range = range.start.max(self.first.load(Ordering::Acquire))..range.end;
        if let Some(entries) = self.recent().read(range.clone(), bytes_max) {
            return Ok(entries);
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut size = 0_usize;
        self.storage.scan_log(range, |index, bytes| {
            let entry = decode_entry(bytes)?;
            // openraft may ask from before the first entry, and checks that what it needs is there.
            let expected = entries.last().map_or(index, |last| last.log_id.index.saturating_add(1));
            if index != expected || entry.log_id.index != index {
                return Err(hole(expected, index, entry.log_id.index));
            }
            size = size.saturating_add(bytes.len());
            entries.push(entry);
            Ok(if size >= bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let store = self.clone();
        let pages = stream::try_unfold(half_open(&range), move |left| {
            let page = left.start..left.end.min(left.start.saturating_add(PAGE_ENTRIES));
            let read =
                if page.is_empty() { Ok(Vec::new()) } else { store.read(page, store.append_bytes_max) };
            std::future::ready(read.map(|entries| {
                let next = entries.last()?.log_id.index.saturating_add(1);
                Some((stream::iter(entries.into_iter().map(Ok)), next..left.end))
            }))
        });
        pages.flat_map(|page| match page {
            Ok(entries) => entries.left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        })
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(half_open(&range), usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        read_vote(&self.storage)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, self.append_bytes_max)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = read_log_id(&self.storage, MetaKey::LastPurged)?;
        let last_log_id = last_entry(&self.storage)?.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.storage.put_meta(MetaKey::Vote, &encode_vote(vote)?)?;
        let (watermark, vote) = (Arc::clone(&self.watermark), *vote);
        Ok(self.storage.sync_and_note(Box::new(move || watermark.voted(vote))).await?)
    }

    // `save_committed` is openraft's own, which keeps nothing: what is committed is applied a moment later, and the applied
    // position is kept with the state. It would be a write to the database, which each commit waits for, to spare a
    // restart the entries between the two; and those its leader commits again.

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        read_log_id(&self.storage, MetaKey::Committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let last = entries.last().map(|entry| entry.log_id);
        let encoded: Result<Vec<_>, _> =
            entries.iter().map(|entry| Ok((entry.log_id.index, encode_entry(entry.clone())?))).collect();
        let encoded = encoded.inspect(|encoded| {
            let mut size = self.size();
            encoded.iter().for_each(|(index, bytes)| size.append(*index, bytes.len()));
        });
        let count =
            match encoded.and_then(|encoded| self.storage.append_log(encoded).map_err(io::Error::from)) {
                Ok(count) => count,
                Err(error) => {
                    callback.io_completed(Err(io::Error::other(error.to_string())));
                    return Err(error);
                }
            };
        let mut recent = self.recent();
        entries.into_iter().for_each(|entry| recent.append(entry));
        drop(recent);
        // Only after the write has returned: what is queued before a sync starts must be in the log by then.
        let (watermark, cuts) = (Arc::clone(&self.watermark), self.watermark.cuts());
        let note = move || last.map_or(Ok(()), |last| watermark.appended(last, cuts));
        self.storage.on_synced(count, Box::new(note), Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let first = last_log_id.map_or(0, |id| id.index.saturating_add(1));
        let watermark = Arc::clone(&self.watermark);
        blocking(move || watermark.cut(last_log_id)).await?;
        self.size().truncate(first);
        self.recent().truncate(first);
        Ok(self.storage.truncate_log(first)?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let watermark = Arc::clone(&self.watermark);
        blocking(move || watermark.purged(log_id)).await?;
        let first = self.first.load(Ordering::Acquire);
        let next = log_id.index.saturating_add(1);
        self.recent().purge(log_id.index);
        self.storage.purge_log(first..next, &encode_log_id(&log_id)?)?;
        self.first.fetch_max(next, Ordering::AcqRel);
        self.size().purge(log_id.index);
        Ok(())
    }
}

/// Reads the stored vote.
pub(super) fn read_vote(storage: &Storage) -> Result<Option<Vote>, io::Error> {
    Ok(storage.meta(MetaKey::Vote)?.map(|bytes| decode_vote(&bytes)).transpose()?)
}

/// Reads a stored log id.
pub(super) fn read_log_id(storage: &Storage, key: MetaKey) -> Result<Option<LogId>, io::Error> {
    Ok(storage.meta(key)?.map(|bytes| decode_log_id(&bytes)).transpose()?)
}

/// The last entry of the stored log.
pub(super) fn last_entry(storage: &Storage) -> Result<Option<LogId>, io::Error> {
    let last = storage.last_log()?.map(|(_, bytes)| decode_entry(&bytes)).transpose()?;
    Ok(last.map(|entry| entry.log_id))
}

/// The error for a log that does not count up.
pub(super) fn hole(expected: u64, key: u64, inside: u64) -> io::Error {
    StorageError::corrupt(format!(
        "the Raft log has entry {inside} under index {key} where entry {expected} belongs"
    ))
    .into()
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
