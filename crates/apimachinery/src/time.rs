//! Points in time as the API writes them: RFC 3339, UTC, whole seconds (`Time`) or microseconds (`MicroTime`).
use jiff::Timestamp;

/// `2006-01-02T15:04:05Z`
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2006-01-02T15:04:05.000000Z`
pub fn rfc3339_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// As [`rfc3339`], from seconds since the epoch; `None` outside years -9999 to 9999.
pub fn from_epoch(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(rfc3339)
}

/// Parses RFC 3339 with any offset and any number of fraction digits.
///
/// # Errors
/// When the text is no point in time.
pub fn parse(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms() {
        let time = parse("2006-01-02T15:04:05.123456789+01:00").expect("valid");
        assert_eq!(rfc3339(time), "2006-01-02T14:04:05Z");
        assert_eq!(rfc3339_micro(time), "2006-01-02T14:04:05.123456Z");
        assert_eq!(from_epoch(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(from_epoch(i64::MAX), None);
    }
}
