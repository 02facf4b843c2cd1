//! The file that a history is: a header, then one line of JSON for each operation, in the order in which they ended.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::operation::{Operation, Outcome};

/// The format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// The first line of a history: where it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// What the schedule was made from.
    pub seed: u64,
    /// The revision that every node had published before the first operation.
    pub revision: u64,
    /// The flags of the environment at that revision. A flag that is not named here was not there. From here on nobody
    /// changes the environment but by operations of the history.
    pub flags: BTreeMap<String, u64>,
}

/// Why a history can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The file can't be read.
    #[error("the history cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the history is damaged: {why}")]
    Damaged {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It was written by another version.
    #[error(
        "the history has format {0}, and this program reads {FORMAT}: read it with the version that wrote it"
    )]
    Format(u32),
}

/// Reads a history, one operation after the other, and keeps none but the writes that it has seen only the beginning
/// of. Those that have no end are given last, as [`Outcome::Unknown`].
///
/// A last line that is not whole is left out: the process was killed while it wrote it.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    line: u64,
    buffer: Vec<u8>,
    begun: HashMap<u64, Operation>,
    last_end_ns: u64,
    torn: bool,
    ended: bool,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// It is not there, or does not begin like a history.
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        Self::new(BufReader::with_capacity(1 << 18, File::open(path)?))
    }
}

impl<R: BufRead> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// It does not begin like a history.
    pub fn new(input: R) -> Result<Self, Unreadable> {
        let header = Header { format: FORMAT, seed: 0, revision: 0, flags: BTreeMap::new() };
        let (buffer, begun) = (Vec::new(), HashMap::new());
        let mut reader =
            Self { input, header, line: 0, buffer, begun, last_end_ns: 0, torn: false, ended: false };
        if !reader.next_line()? {
            return Err(Unreadable::Damaged { line: 1, why: "there is no header".to_owned() });
        }
        // The format before all else: another one may have other fields.
        let Format { format } = reader.parse()?;
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        reader.header = reader.parse()?;
        Ok(reader)
    }

    /// Where the history begins.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the last line was not whole. Known once all were given.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Reads a line into the buffer; false: there is none.
    fn next_line(&mut self) -> Result<bool, Unreadable> {
        self.buffer.clear();
        let length = self.input.read_until(b'\n', &mut self.buffer)?;
        self.line += 1;
        self.torn = length > 0 && self.buffer.last() != Some(&b'\n');
        Ok(length > 0 && !self.torn)
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Unreadable> {
        serde_json::from_slice(&self.buffer).map_err(|why| self.damaged(why))
    }

    fn damaged(&self, why: impl ToString) -> Unreadable {
        Unreadable::Damaged { line: self.line, why: why.to_string() }
    }

    fn next_operation(&mut self) -> Result<Option<Operation>, Unreadable> {
        while !self.ended {
            if !self.next_line()? {
                self.ended = true;
                break;
            }
            let operation: Operation = self.parse()?;
            if operation.end_ns < operation.start_ns {
                return Err(self.damaged("it ended before it began"));
            }
            self.last_end_ns = self.last_end_ns.max(operation.end_ns);
            if operation.outcome != Outcome::Begun {
                self.begun.remove(&operation.op);
                return Ok(Some(operation));
            }
            match self.begun.entry(operation.op) {
                Entry::Vacant(place) => place.insert(operation),
                Entry::Occupied(_) => return Err(self.damaged("an operation of this number is under way")),
            };
        }
        let Some(first) = self.begun.keys().min().copied() else { return Ok(None) };
        let forgotten = self.begun.remove(&first);
        Ok(forgotten.map(|operation| Operation {
            outcome: Outcome::Unknown,
            end_ns: self.last_end_ns,
            ..operation
        }))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Operation, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_operation().transpose()
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[cfg(test)]
mod tests {
    use std::{fs, mem, thread};

    use super::*;
    use crate::{
        operation::{Asked, Consistency, Did},
        recorder::Recorder,
    };

    fn header() -> Header {
        Header { format: FORMAT, seed: 7, revision: 3, flags: [("gate".to_owned(), 0)].into() }
    }

    fn write(value: u64) -> Did {
        Did::Write { set: vec![("gate".to_owned(), value)] }
    }

    fn read(path: &Path) -> (Vec<Operation>, bool) {
        let mut reader = Reader::open(path).expect("a history");
        assert_eq!(reader.header(), &header());
        let operations = reader.by_ref().collect::<Result<_, _>>().expect("every line is good");
        (operations, reader.is_torn())
    }

    #[test]
    fn what_many_threads_note_is_all_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path, &header()).expect("a file");
        thread::scope(|scope| {
            for client in 0..8 {
                let recorder = &recorder;
                scope.spawn(move || {
                    for turn in 1..=500_u64 {
                        let value = u64::from(client) * 1000 + turn;
                        let begun = recorder.begin(client, 1, None, write(value)).expect("written");
                        recorder.end(begun, Outcome::Ok, Some(value), write(value)).expect("written");
                    }
                });
            }
        });
        // As if it had been killed: nothing is closed or flushed.
        mem::forget(recorder);
        let (operations, torn) = read(&path);
        assert!(!torn);
        let mut values: Vec<_> = operations.iter().filter_map(|operation| operation.revision).collect();
        values.sort_unstable();
        let expected: Vec<u64> =
            (0..8).flat_map(|client| (1..=500).map(move |turn| client * 1000 + turn)).collect();
        assert_eq!(values, expected);
        assert!(operations.iter().all(|o| o.outcome == Outcome::Ok && o.start_ns <= o.end_ns));
    }

    #[test]
    fn a_write_without_an_end_is_unknown_and_a_torn_line_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path, &header()).expect("a file");
        let lost = recorder.begin(1, 2, None, write(1)).expect("written");
        let asked = Did::Read { asked: Asked::Critical, saw: vec![], consistency: None, age_ms: None };
        let begun = recorder.begin(2, 2, Some(9), asked).expect("written");
        let saw = Did::Read {
            asked: Asked::Critical,
            saw: vec![("gate".to_owned(), Some(1)), ("none".to_owned(), None)],
            consistency: Some(Consistency::Linearizable),
            age_ms: Some(4),
        };
        recorder.end(begun.through(3), Outcome::Ok, Some(4), saw.clone()).expect("written");
        drop(lost);
        let mut text = fs::read(&path).expect("a file");
        text.extend(br#"{"op":3,"client":1,"no"#);
        fs::write(&path, &text).expect("written");
        let (operations, torn) = read(&path);
        assert!(torn);
        let [seen, lost] = &operations[..] else { panic!("{operations:?}") };
        assert_eq!((seen.node, seen.session, seen.revision, &seen.did), (3, Some(9), Some(4), &saw));
        assert_eq!((lost.op, lost.outcome, lost.end_ns), (1, Outcome::Unknown, seen.end_ns));
    }

    #[test]
    fn what_is_no_history_is_refused() {
        let error = |text: &str| {
            let reader = Reader::new(text.as_bytes());
            reader.and_then(|reader| reader.collect::<Result<Vec<_>, _>>()).expect_err(text).to_string()
        };
        let header = serde_json::to_string(&header()).expect("JSON");
        assert!(error("").contains("no header"));
        assert!(error("{\"format\":2,\"more\":1}\n").contains("format 2"));
        assert!(error(&format!("{header}\n{{}}\n")).contains("line 2"));
        let line = r#"{"op":1,"client":1,"node":1,"start_ns":5,"end_ns":4,"outcome":"ok","did":{"write":{"set":[]}}}"#;
        assert!(error(&format!("{header}\n{line}\n")).contains("before it began"));
        let begun = line.replace("\"end_ns\":4", "\"end_ns\":5").replace("\"ok\"", "\"begun\"");
        assert!(error(&format!("{header}\n{begun}\n{begun}\n")).contains("under way"));
    }

    /// Histories are kept with the bugs that they showed, so their lines are a format.
    #[test]
    fn a_line_is_frozen() {
        let saw = vec![("gate".to_owned(), Some(17)), ("none".to_owned(), None)];
        let (asked, consistency) = (Asked::MinRevision(4), Some(Consistency::SafeVariant));
        let operation = Operation {
            op: 12,
            client: 3,
            node: 2,
            session: Some(8),
            start_ns: 100,
            end_ns: 250,
            outcome: Outcome::Ok,
            revision: Some(88),
            did: Did::Read { asked, saw, consistency, age_ms: Some(5) },
        };
        let text = concat!(
            r#"{"op":12,"client":3,"node":2,"session":8,"start_ns":100,"end_ns":250,"outcome":"ok","revision":88,"#,
            r#""did":{"read":{"asked":{"min-revision":4},"saw":[["gate",17],["none",null]],"#,
            r#""consistency":"safe-variant","age_ms":5}}}"#
        );
        assert_eq!(serde_json::to_string(&operation).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<Operation>(text).expect("an operation"), operation);
    }
}
