//! How large things are, as JSON.

use std::io::{self, Write};

use serde::Serialize;

/// The bytes of a value as compact JSON, counted without keeping them; `usize::MAX` for what has no JSON.
pub(crate) fn json_bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_counted_is_what_would_be_written() {
        for value in [json!(null), json!({"a": [1, 2.5, "Größe\n"], "b": {}}), json!("x".repeat(100_000))] {
            assert_eq!(json_bytes(&value), value.to_string().len());
        }
    }
}
