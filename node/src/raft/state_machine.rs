//! Where committed entries take effect: apply, then persist, then publish, then answer.

use std::{collections::BTreeMap, io, sync::Arc};

use flagraft_core::{apply::apply, proposal::Proposal, state::State};
use futures_util::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend,
    alias::SnapshotOf,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};

use super::{
    applied, install,
    log_size::LogSize,
    publish::Publisher,
    recover::Recovered,
    removal::Leaves,
    revisions::Revision,
    snapshot::{self, SnapshotBuilder, SnapshotData, blocking},
    tiles::OpenTiles,
    types::{Answer, LogId, Published, SnapshotMeta, StoredMembership, TypeConfig, position},
    wire::encode_membership,
};
use crate::{
    canary,
    storage::{MetaKey, Storage, StorageError},
};

/// Entries written in one batch, at most: those that are ready, so a single one never waits for others.
const BATCH_ENTRIES: usize = 128;

/// The state machine: the applied state, and the disk it is written to.
pub(crate) struct StateMachine {
    storage: Arc<Storage>,
    publisher: Publisher,
    state: State,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// Of the audit log that the state counts.
    tiles: Arc<OpenTiles>,
}

impl StateMachine {
    /// The state machine that goes on where the disk left off, and has published that; and how large the log is.
    pub(super) fn new(storage: Arc<Storage>, recovered: Recovered) -> (Self, LogSize) {
        let Recovered { state, last_applied, membership, log_size, tiles } = recovered;
        let tiles = Arc::new(tiles);
        let position = last_applied.as_ref().map(position);
        let publisher = Publisher::new(Published::first(state.clone(), position, Arc::clone(&tiles)));
        (Self { storage, publisher, state, last_applied, membership, tiles }, log_size)
    }

    pub(super) fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    fn apply_batch(&mut self, entries: Vec<EntryResponder<TypeConfig>>) -> Result<(), io::Error> {
        let mut state = self.state.clone();
        let mut last_applied = self.last_applied;
        let mut membership = None;
        let mut answers: Vec<(ApplyResponder<TypeConfig>, Answer)> = Vec::new();
        let mut revisions = Vec::new();
        let mut tiles = Arc::clone(&self.tiles);
        let mut completed = BTreeMap::new();
        let mut batch = self.storage.batch();

        for (entry, responder) in entries {
            last_applied = Some(entry.log_id);
            let answer = match entry.payload {
                EntryPayload::Blank => Answer(None),
                EntryPayload::Membership(changed) => {
                    membership = Some(StoredMembership::new(Some(entry.log_id), changed));
                    Answer(None)
                }
                EntryPayload::Normal(command) => {
                    // An unknown kind ends here, and with it the node: its state would no longer be its peers'.
                    let mut proposal = Proposal::decode(&command.0).map_err(io::Error::other)?;
                    canary::apply::misread(&mut proposal, &state, entry.log_id.index);
                    let applied = apply(&state, &proposal, position(&entry.log_id));
                    for row in &applied.writes {
                        batch.row(&row.key, row.value.as_deref());
                    }
                    if let Some(record) = &applied.record {
                        if record.sequence != state.sequence() {
                            return Err(StorageError::corrupt(format!(
                                "apply made record {} where record {} belongs",
                                record.sequence,
                                state.sequence()
                            ))
                            .into());
                        }
                        batch.record(record.sequence, &canary::apply::stored(record));
                        for (tile, bytes) in Arc::make_mut(&mut tiles).push(record.leaf) {
                            batch.tile(tile, &bytes);
                            completed.insert(tile, bytes);
                        }
                    }
                    let leaves = Leaves { storage: &self.storage, open: &tiles, unwritten: &completed };
                    leaves.remove(&applied.removed, &mut batch)?;
                    if applied.state.revision() != state.revision() {
                        let entry_bytes = command.0.len();
                        revisions.push(Revision { state: applied.state.clone(), entry_bytes });
                    }
                    state = applied.state;
                    Answer(Some(applied.reply))
                }
            };
            answers.extend(responder.map(|responder| (responder, answer)));
        }

        if let Some(id) = &last_applied {
            applied::put(&mut batch, Some(id), &state)?;
        }
        if let Some(membership) = &membership {
            batch.meta(MetaKey::Membership, Some(&encode_membership(membership)?));
        }
        batch.commit()?;

        self.membership = membership.unwrap_or_else(|| self.membership.clone());
        let next = self.take_over(state, last_applied, tiles);
        self.publisher.publish(next, revisions);
        for (responder, answer) in answers {
            responder.send(answer);
        }
        Ok(())
    }

    /// Takes over a state that is written; returns what is to be published.
    fn take_over(&mut self, state: State, last_applied: Option<LogId>, tiles: Arc<OpenTiles>) -> Published {
        self.state = state.clone();
        self.last_applied = last_applied;
        self.tiles = Arc::clone(&tiles);
        self.publisher.current().next(state, last_applied.as_ref().map(position), tiles)
    }

    fn builder(&self) -> SnapshotBuilder {
        SnapshotBuilder {
            storage: Arc::clone(&self.storage),
            state: self.state.clone(),
            last_applied: self.last_applied,
            membership: self.membership.clone(),
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH_ENTRIES);
        while let Some(batch) = batches.next().await {
            let batch = batch.into_iter().collect::<Result<Vec<_>, _>>()?;
            self.apply_batch(batch)?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.builder()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), io::Error> {
        let (storage, meta) = (Arc::clone(&self.storage), meta.clone());
        let counted = Arc::clone(&self.tiles);
        let installed = blocking(move || install::install(&storage, &counted, &meta, data)).await;
        self.storage.note_file(&installed);
        let (catalog, tiles) = installed?;
        self.membership = catalog.meta.last_membership;
        let next = self.take_over(catalog.state, catalog.meta.last_log_id, Arc::new(tiles));
        self.publisher.publish_leap(next);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        let storage = Arc::clone(&self.storage);
        Ok(blocking(move || snapshot::newest(&storage)).await?.map(Into::into))
    }
}
