//! The text of an event stream, as WHATWG's HTML standard has it.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its name; empty where it has none.
    pub name: String,
    /// The id that it carries.
    pub id: String,
    /// Its data, lines joined.
    pub data: String,
}

/// Makes events of bytes, however they are cut.
#[derive(Debug)]
pub(crate) struct Parser {
    /// The line that is not yet whole.
    line: Vec<u8>,
    /// Whether the last line ended with a carriage return, whose line feed may be still to come.
    after_return: bool,
    at_start: bool,
    event: Event,
    has_data: bool,
    bytes_max: usize,
}

/// The stream is none: an event is too large, or it is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    TooLarge,
    NotText,
}

impl Parser {
    /// A parser that takes events of up to so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            after_return: false,
            at_start: true,
            event: Event::default(),
            has_data: false,
            bytes_max,
        }
    }

    /// Takes in bytes; gives the events that they complete.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, Unreadable> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len().saturating_add(part.len()).saturating_add(self.event.data.len())
                > self.bytes_max
            {
                return Err(Unreadable::TooLarge);
            }
            self.line.extend_from_slice(part);
            let Some((ending, rest)) = rest.split_first() else { break };
            self.after_return = *ending == b'\r';
            bytes = rest;
            let line = std::mem::take(&mut self.line);
            events.extend(self.take_line(&line)?);
        }
        Ok(events)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Event>, Unreadable> {
        let mut line = std::str::from_utf8(line).map_err(|_| Unreadable::NotText)?;
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let id = self.event.id.clone();
            let event = std::mem::replace(&mut self.event, Event { id, ..Event::default() });
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" if !value.contains('\0') => value.clone_into(&mut self.event.id),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, and what this client has no use for.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\nevent: snapshot\r\nid: ab.1\r\ndata: {\"a\":\ndata: \"größe\"}\n\nevent: progress\rdata:x\r\rdata\n\nretry: 5\n\nid: ab.2\ndata: last\n\ndata: never whole";

    fn expected() -> Vec<Event> {
        let event = |name: &str, id: &str, data: &str| Event {
            name: name.to_owned(),
            id: id.to_owned(),
            data: data.to_owned(),
        };
        vec![
            event("snapshot", "ab.1", "{\"a\":\n\"größe\"}"),
            event("progress", "ab.1", "x"),
            event("", "ab.1", ""),
            event("", "ab.2", "last"),
        ]
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        for size in 1..=STREAM.len() {
            let mut parser = Parser::new(1_000);
            let events: Vec<Event> = STREAM
                .as_bytes()
                .chunks(size)
                .flat_map(|part| parser.push(part).expect("a stream"))
                .collect();
            assert_eq!(events, expected(), "in parts of {size}");
        }
    }

    #[test]
    fn what_is_too_large_or_no_text_is_refused_before_it_is_whole() {
        let mut parser = Parser::new(20);
        assert_eq!(parser.push(&[b'x'; 20]), Ok(vec![]));
        assert_eq!(parser.push(b"y"), Err(Unreadable::TooLarge));
        let mut parser = Parser::new(20);
        assert_eq!(parser.push(b"data: 12345678\ndata: 12345678\n"), Err(Unreadable::TooLarge));
        assert_eq!(Parser::new(20).push(b"data: \xff\n"), Err(Unreadable::NotText));
    }
}
