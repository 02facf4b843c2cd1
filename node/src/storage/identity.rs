//! Who a data folder belongs to. A folder keeps its node id and its own random id for ever, so that a wiped disk
//! can't come back under the name of what it lost.

use flagraft_core::identity::ClusterId;
use rocksdb::{ColumnFamily, DB, WriteBatch};

use super::{
    error::StorageError,
    schema::{FOLDER, prefixed},
};

/// The layout of the folder that this version reads and writes.
const FORMAT: u32 = 1;

/// Who a data folder belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node's id in its cluster.
    pub node_id: u64,
    /// 128 random bits minted with the folder: 32 hexadecimal digits.
    pub member_uid: String,
    /// The cluster the folder joined, once it has.
    pub cluster_id: Option<ClusterId>,
}

impl Identity {
    /// This identity as a member of `cluster_id`.
    pub(super) fn joined_to(self, cluster_id: ClusterId) -> Result<Self, StorageError> {
        match self.cluster_id {
            Some(other) if other != cluster_id => Err(StorageError::Identity(format!(
                "this data folder belongs to cluster {other} and can't join cluster {cluster_id}; \
                 start with an empty folder to join another cluster as a new member"
            ))),
            _ => Ok(Self { cluster_id: Some(cluster_id), ..self }),
        }
    }
}

/// A fresh member uid: 128 random bits as 32 hexadecimal digits.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn random_uid() -> Result<String, StorageError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StorageError::Random(error.to_string()))?;
    Ok(hex::encode(bytes))
}

/// Reads the folder's identity and checks it, or mints one for a folder that has none.
pub(super) fn load_or_mint(db: &DB, meta: &ColumnFamily, node_id: u64) -> Result<Identity, StorageError> {
    let Some(identity) = load(db, meta)? else {
        let identity = Identity { node_id, member_uid: random_uid()?, cluster_id: None };
        let mut batch = WriteBatch::default();
        put(&mut batch, meta, &identity);
        db.write(batch)?;
        db.flush_wal(true)?;
        return Ok(identity);
    };
    if identity.node_id != node_id {
        return Err(StorageError::Identity(format!(
            "this data folder belongs to node {}, not to node {node_id}; \
             give the node its own --data folder or its own --node-id",
            identity.node_id
        )));
    }
    Ok(identity)
}

/// Reads the folder's identity; `None` for a folder that has none yet.
pub(super) fn load(db: &DB, meta: &ColumnFamily) -> Result<Option<Identity>, StorageError> {
    let read = |name: &str| db.get_cf(meta, key(name));
    let Some(format) = read("format")? else { return Ok(None) };
    let format = u32::from_be_bytes(exactly("format", &format)?);
    if format != FORMAT {
        return Err(StorageError::Identity(format!(
            "this data folder has format {format} and this version of flagraft reads format {FORMAT}; \
             start the version that wrote it, or one that can convert it"
        )));
    }
    let node_id =
        read("node_id")?.ok_or_else(|| StorageError::corrupt("the folder has a format but no node id"))?;
    let node_id = u64::from_be_bytes(exactly("node_id", &node_id)?);
    let member_uid = read("member_uid")?
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|uid| uid.len() == 32 && uid.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(|| StorageError::corrupt("the folder's member uid is missing or damaged"))?;
    let cluster_id = read("cluster_id")?
        .map(|bytes| exactly("cluster_id", &bytes).map(|bytes| ClusterId(u128::from_be_bytes(bytes))))
        .transpose()?;
    Ok(Some(Identity { node_id, member_uid, cluster_id }))
}

/// Puts the identity into a batch.
pub(super) fn put(batch: &mut WriteBatch, meta: &ColumnFamily, identity: &Identity) {
    batch.put_cf(meta, key("format"), FORMAT.to_be_bytes());
    batch.put_cf(meta, key("node_id"), identity.node_id.to_be_bytes());
    batch.put_cf(meta, key("member_uid"), &identity.member_uid);
    if let Some(ClusterId(cluster_id)) = identity.cluster_id {
        batch.put_cf(meta, key("cluster_id"), cluster_id.to_be_bytes());
    }
}

fn key(name: &str) -> Vec<u8> {
    prefixed(FOLDER, name.as_bytes())
}

fn exactly<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], StorageError> {
    bytes.try_into().map_err(|_| {
        StorageError::corrupt(format!("the folder's {name} has {} bytes where {N} belong", bytes.len()))
    })
}
