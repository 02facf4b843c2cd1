//! What the disk itself can do: what every write waits for at least.

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use flagraft_bench_common::{failure::Failure, statistics::percentile};

const SYNCS: usize = 500;
const BYTES: usize = 400;

/// How long an fdatasync takes after 400 bytes were appended to a file in `folder`: the median and the 99th percentile.
pub fn syncs(folder: &Path) -> Result<(Duration, Duration), Failure> {
    fs::create_dir_all(folder)?;
    let path = folder.join("fdatasync");
    let mut file = fs::File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..SYNCS {
        file.write_all(&[b'.'; BYTES])?;
        let begun = Instant::now();
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    fs::remove_file(&path)?;
    Ok((percentile(&mut took, 0.5), percentile(&mut took, 0.99)))
}
