//! What records have to be about.

use flagraft_core::record::is_removed;
use serde_json::{Map, Value};

use super::term::{Term, Told};

/// Groups of terms: a record has to be about at least one term of each group. Without groups every record will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    groups: Vec<Vec<Term<String>>>,
}

/// The hashes of a filter's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted(pub(super) Vec<Vec<u32>>);

impl Filter {
    /// The filter that also asks for at least one of these terms.
    pub(crate) fn any_of(mut self, terms: impl IntoIterator<Item = Term<String>>) -> Self {
        self.groups.push(terms.into_iter().collect());
        self
    }

    /// Whether it takes every record.
    pub(crate) fn is_open(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether this row of the audit log is a record that is asked for. A record that this version can't read is shown
    /// to nobody whose right to it depends on what it says.
    pub(crate) fn takes(&self, row: &[u8]) -> bool {
        if self.is_open() {
            return !is_removed(row);
        }
        let Some(told) = Told::read(row) else { return false };
        let mut missing: Vec<&[Term<String>]> = self.groups.iter().map(Vec::as_slice).collect();
        let inside = self.groups.iter().flatten().any(Term::is_inside);
        let read = told.terms(inside, |term| {
            missing.retain(|group| !group.iter().any(|wanted| wanted.borrowed() == term));
        });
        read.is_some() && missing.is_empty()
    }

    /// What it asks for, as an export states it: of each of `all_of` a record is about one term at least. `None` where it
    /// asks for nothing.
    pub(crate) fn stated(&self) -> Option<Map<String, Value>> {
        let text = |term: &Term<String>| Value::String(term.borrowed().to_string());
        let groups = self.groups.iter().map(|group| group.iter().map(text).collect()).collect();
        (!self.is_open()).then(|| Map::from_iter([("all_of".to_owned(), Value::Array(groups))]))
    }

    pub(super) fn wanted(&self) -> Wanted {
        let hashes = |group: &Vec<Term<String>>| group.iter().map(|term| term.borrowed().hash()).collect();
        Wanted(self.groups.iter().map(hashes).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::term::tests::{operations, record},
        *,
    };

    #[test]
    fn every_group_has_to_be_met_and_any_term_of_it_will_do() {
        let text = str::to_owned;
        let record = record(&json!({
            "ticket": "OPS-1", "touches": {"environments": ["live"], "critical": false},
            "operations": operations(&[json!({"op": "flag.enable", "flag": "a", "environment": "live"})]),
        }));
        let takes = |filter: Filter| filter.takes(&record);
        let kind = |kinds: &[&str]| Filter::default().any_of(kinds.iter().map(|kind| Term::Kind(text(kind))));
        assert!(takes(Filter::default()));
        assert!(takes(kind(&["system", "change"])) && !takes(kind(&["system"])) && !takes(kind(&[])));
        let flag = |key: &str| Term::Flag(text("shop"), text(key));
        assert!(takes(kind(&["change"]).any_of([flag("a")])));
        assert!(!takes(kind(&["change"]).any_of([flag("b")])));
        assert!(!takes(kind(&["system"]).any_of([flag("a")])));
        assert!(!takes(Filter::default().any_of([Term::Flag(text("other"), text("a"))])));
        let tombstone = [0; 33];
        assert!(!Filter::default().takes(&tombstone) && !kind(&["change"]).takes(&tombstone));
        assert!(!kind(&["change"]).takes(b"{\"kind\":\"change\"}"), "not all that it needs is there");
    }
}
