//! Something that many threads change and one takes away, in parts that they hardly ever meet in.

use std::{
    cell::Cell,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many parts there are: more than threads that work at once, on most machines.
const SHARDS: usize = 16;

/// The parts. Each thread has one that it comes to first, and takes another where that one is held.
#[derive(Debug, Default)]
pub struct Shards<T>([Shard<T>; SHARDS]);

/// Far enough from its neighbours in memory that the threads' caches do not fight over it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard<T>(Mutex<T>);

impl<T> Shards<T> {
    /// A part that nobody else holds. Waits only where all are held. A panic while one was held leaves it as it was then.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let own = own_number() % SHARDS;
        match self.0.get(own).and_then(Shard::try_lock) {
            Some(part) => part,
            None => self.lock_another(own),
        }
    }

    #[cold]
    fn lock_another(&self, own: usize) -> MutexGuard<'_, T> {
        let (before, after) = self.0.split_at_checked(own).unwrap_or((&[], &self.0));
        let free = after.iter().chain(before).find_map(Shard::try_lock);
        free.unwrap_or_else(|| {
            let [first, ..] = &self.0;
            first.lock()
        })
    }
}

impl<T: Default> Shards<T> {
    /// What is in the parts, of which empty ones take the place. Each is held no longer than that takes.
    pub fn take(&self) -> impl Iterator<Item = T> {
        self.0.iter().map(|shard| std::mem::take(&mut *shard.lock()))
    }
}

impl<T> Shard<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(part) => Some(part),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A number of the calling thread's own.
#[inline]
fn own_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = THREADS.fetch_add(1, Ordering::Relaxed);
        OWN.set(Some(own));
        own
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_its_part_held_takes_another_and_nothing_is_lost() {
        let shards: Shards<u64> = Shards::default();
        let mut held: Vec<_> = (0..SHARDS).map(|_| shards.lock()).collect();
        held.iter_mut().for_each(|part| **part += 1);
        drop(held);
        *shards.lock() += 10;
        let mut parts: Vec<u64> = shards.take().collect();
        parts.sort_unstable();
        assert_eq!((parts.first(), parts.last(), parts.iter().sum::<u64>()), (Some(&1), Some(&11), 26));
        assert!(shards.take().all(|part| part == 0));
    }
}
