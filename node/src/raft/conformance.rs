//! openraft's own suite for storages, on RocksDB. It is the contract in about 45 cases; none is about durability,
//! which the tests of the syncer and of start-up are for.

use std::sync::Arc;

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt,
};
use tempfile::TempDir;

use super::{
    log_size::LogSize, log_store::LogStore, recover::recover, state_machine::StateMachine, types::TypeConfig,
};
use crate::storage::{Storage, StorageMetrics, StorageOptions};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
        let options = StorageOptions {
            dir: dir.path().to_owned(),
            node_id: 0,
            fatal: Arc::new(|why| panic!("{why}")),
            metrics,
            fail_sync_after: None,
        };
        let storage = Storage::open(options).expect("a new folder opens");
        let recovered = recover(&storage, u64::MAX).expect("a new folder is sound");
        let log =
            LogStore::new(Arc::clone(&storage), 4 * 1024 * 1024, LogSize::new(u64::MAX)).expect("a new log");
        Ok((dir, log, StateMachine::new(storage, recovered).0))
    }
}

#[test]
fn openraft_storage_suite() {
    TypeConfig::run(async { Suite::test_all(Builder).await.expect("the suite passes") });
}
