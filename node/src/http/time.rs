//! Times as the API writes and reads them: RFC 3339, UTC.

use flagraft_core::invalid::Invalid;
use jiff::Timestamp;

/// A time in milliseconds since 1970 UTC, as text.
pub(super) fn rfc3339(ms: i64) -> String {
    // Every time here was given by a clock or parsed below, so it is within jiff's years.
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// Reads a time.
pub(super) fn parse_rfc3339(text: &str) -> Result<i64, Invalid> {
    text.parse::<Timestamp>()
        .map(Timestamp::as_millisecond)
        .map_err(|_| Invalid::here(format!("give an RFC 3339 time, as 2027-03-01T00:00:00Z, not {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(parse_rfc3339("2027-03-01T00:00:00Z").map(rfc3339).as_deref(), Ok("2027-03-01T00:00:00Z"));
        assert_eq!(
            parse_rfc3339("2027-03-01T02:00:00+02:00").map(rfc3339).as_deref(),
            Ok("2027-03-01T00:00:00Z")
        );
        assert!(parse_rfc3339("tomorrow").is_err());
    }
}
