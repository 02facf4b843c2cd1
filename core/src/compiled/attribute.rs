//! The name of an attribute, ready to be looked up.

use super::hash::name_hash;

/// The name of an attribute: as it stands, and as the path that its dots make.
#[derive(Clone, Debug)]
pub struct AttributeName {
    text: Box<str>,
    hash: u64,
    path: Option<Box<Path>>,
}

/// A path into an attribute that is an object.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub first: Box<str>,
    pub first_hash: u64,
    pub rest: Box<[Box<str>]>,
}

impl AttributeName {
    /// The name, or path, as a condition has it (`user.plan`).
    #[must_use]
    pub fn new(text: &str) -> Self {
        let path = text.split_once('.').map(|(first, rest)| {
            let rest = rest.split('.').map(Box::from).collect();
            Box::new(Path { first: first.into(), first_hash: name_hash(first), rest })
        });
        Self { text: text.into(), hash: name_hash(text), path }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}
