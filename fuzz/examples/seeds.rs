//! Writes what the fuzzers begin with, made of the evaluation vectors: `seeds VECTORS CORPUS`.
//!
//! VECTORS is a folder of vectors, as `tests/fixtures/evaluation`; CORPUS gets a folder for each target.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use flagraft_core::{condition::Condition, expression};
use serde::Deserialize;
use serde_json::{Value, json};

/// Texts with spellings that no canonical text has.
const SPELLINGS: [&str; 8] = [
    "`größe` in [ 1,2.5e3 , \"\\u00e9\" ]\n or\tnot(a exists)",
    "all(a exists, any(), all(), not not b exists)",
    "x.y-z == true and `and` == \"and\" ignoring case",
    "bucket(targetingKey, \"layer-1\") in [0, 25000) of 100000",
    "a == semver(\"v1.2\") or a >= semver(\"2.1.0-rc.1\") and segment(\"beta testers\")",
    "ip in cidr(\"10.0.0.0/8\", \"::1\") and t before \"2027-03-01T00:00:00Z\"",
    "x in [null, [1, []], {\"a\": {}, \"b\": [true, false]}]",
    "x matches [\"^a\", \"b$\"] ignoring case or x lt [-0.0, 1e-7, 18446744073709551615]",
];

/// What is of use here in a file of vectors.
#[derive(Deserialize)]
struct Vectors {
    segments: Vec<Value>,
    flags: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    flag: String,
    context: Value,
}

/// Inputs for one target, each once.
struct Folder {
    path: PathBuf,
    written: BTreeSet<String>,
}

impl Folder {
    fn new(corpus: &Path, target: &str) -> Result<Self, Box<dyn Error>> {
        let path = corpus.join(target);
        fs::create_dir_all(&path)?;
        Ok(Self { path, written: BTreeSet::new() })
    }

    fn put(&mut self, input: String) -> Result<(), Box<dyn Error>> {
        if !self.written.contains(&input) {
            fs::write(self.path.join(format!("seed-{:04}", self.written.len())), &input)?;
            self.written.insert(input);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [vectors, corpus] = arguments.as_slice() else {
        return Err("give a folder of vectors, and the folder to write to".into());
    };
    let folder = |target| Folder::new(corpus, target);
    let (mut conditions, mut contexts) = (folder("condition")?, folder("context")?);
    let (mut evaluations, mut expressions) = (folder("evaluate")?, folder("expression")?);
    for text in SPELLINGS {
        expressions.put(text.to_owned())?;
    }
    let mut paths: Vec<PathBuf> =
        fs::read_dir(vectors)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let Vectors { segments, flags, cases } = serde_json::from_slice(&fs::read(path)?)?;
        for flag in &flags {
            conditions.put(flag.to_string())?;
            for when in whens(flag) {
                conditions.put(when.to_string())?;
                let condition: Condition = serde_json::from_value(when.clone())?;
                expressions.put(expression::text(&condition))?;
            }
            let asked = cases.iter().filter(|case| flag["key"] == case.flag.as_str());
            let asked: Vec<&Value> = asked.map(|case| &case.context).take(4).collect();
            for context in &asked {
                contexts.put(json!({"context": context}).to_string())?;
            }
            let shown = flag.to_string();
            let needed = |value: &&Value| shown.contains(&value["key"].to_string());
            let segments: Vec<&Value> = segments.iter().filter(needed).collect();
            let flags: Vec<&Value> = flags.iter().filter(needed).collect();
            evaluations.put(json!({"segments": segments, "flags": flags, "contexts": asked}).to_string())?;
        }
    }
    Ok(())
}

/// The conditions of a flag's rules.
fn whens(flag: &Value) -> impl Iterator<Item = &Value> {
    let environments =
        flag["environments"].as_object().into_iter().flat_map(|configured| configured.values());
    let rules = environments.filter_map(|configuration| configuration["rules"].as_array()).flatten();
    rules.filter_map(|rule| rule.get("when"))
}
