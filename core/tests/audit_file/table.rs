//! Tables under the same hands as lines of JSON: nothing that is done to one goes unseen.

use flagraft_core::audit_file::{Fault, Format};

use super::{
    log::{Export, Log, verify},
    sequence::Sequence,
};

const SEED: u64 = 0x7ab1e;
const MUTATIONS: usize = 600;

fn table() -> Vec<Vec<u8>> {
    let log = Log::new(700, SEED);
    Export { format: Format::Csv, ..log.whole() }.lines()
}

/// A row that became a remark is gone for whoever reads the table.
#[test]
fn a_record_is_no_remark() {
    let log = Log::new(300, SEED);
    let lines = Export { format: Format::Csv, ..log.whole() }.lines();
    for sequence in [0, 1, 150, 299] {
        let record = &log.records[sequence];
        let row =
            lines.iter().position(|line| line.starts_with(format!("{sequence},").as_bytes())).expect("a row");
        let mut altered = lines.clone();
        altered[row] = [b"#", &record[..], b"\r\n"].concat();
        let line = u64::try_from(row + 1).expect("small");
        let fault = verify(&altered).expect_err("no row says it");
        assert!(
            matches!(fault, Fault::Malformed { line: at, .. } if at == line)
                || matches!(fault, Fault::Columns { line: at, .. } if at == line),
            "{fault:?}"
        );
    }
}

#[test]
fn whatever_is_done_to_a_table_is_seen() {
    let original = table();
    verify(&original).expect("good before it is tampered with");
    let mut random = Sequence::new(SEED);
    for mutation in 0..MUTATIONS {
        let mut lines = original.clone();
        let at = random.below(lines.len());
        let other = random.below(lines.len());
        match mutation % 6 {
            0 => {
                let byte = random.below(lines[at].len());
                lines[at][byte] ^= 1 << random.below(7);
            }
            1 => drop(lines.remove(at)),
            2 => lines.insert(other, original[at].clone()),
            3 => lines.swap(at, other),
            4 => lines.truncate(at),
            _ => lines[at].insert(0, b'#'),
        }
        if lines != original {
            assert!(verify(&lines).is_err(), "seed {SEED:#x}, mutation {mutation} of line {at}, {other}");
        }
    }
}
