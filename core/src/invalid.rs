//! What is wrong with a document, and where.

use std::fmt;

/// A document breaks a rule of the domain: where (a JSON pointer) and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// JSON pointer (RFC 6901) to the fault, relative to the object that was checked; `""` is that object.
    pub path: String,
    /// What is wrong and what to do, for a person.
    pub message: String,
}

impl Invalid {
    /// A fault at `path`, which is a JSON pointer already: `""` or `/a/b`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// A fault of the checked object itself.
    pub fn here(message: impl Into<String>) -> Self {
        Self::new("", message)
    }

    /// The same fault seen from one level further out: `segment` (a field name or an index) goes before the path.
    #[must_use]
    pub fn under(mut self, segment: impl fmt::Display) -> Self {
        self.path = format!("/{}{}", escape_segment(&segment.to_string()), self.path);
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for Invalid {}

/// Escapes one segment of a JSON pointer: `~` becomes `~0` and `/` becomes `~1`.
#[must_use]
pub fn escape_segment(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_grows_outwards_and_is_escaped() {
        let fault = Invalid::here("no").under(3).under("a/b~c").under("rules");
        assert_eq!(fault.path, "/rules/a~1b~0c/3");
        assert_eq!(fault.to_string(), "/rules/a~1b~0c/3: no");
        assert_eq!(Invalid::here("no").to_string(), "no");
    }
}
