//! Lengths of time as people read them (`5m3s`, `2d4h`) and as Go's flags and API fields write them (`1h0m0s`).
//!
//! Source: `k8s.io/apimachinery/pkg/util/duration`; Go's `time.Duration`.
use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// An age of `seconds` as kubectl's AGE column shows it; slightly negative ages (clock skew) count as zero.
pub fn human(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |big: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, 'd', hours % 24, 'h'),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}

/// The largest unit only: `5m`, `2d`.
pub fn short_human(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

/// Why a text is no duration, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {1:?} in duration {0:?}")]
    UnknownUnit(String, String),
}

/// Parses Go's form: `1h30m`, `1.5s`, `100ms`, `0`.
///
/// # Errors
/// In Go's words; negative durations and ones past 2^63 ns are refused as invalid.
pub fn parse(text: &str) -> Result<Duration, ParseError> {
    let invalid = || ParseError::Invalid(text.to_owned());
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" || text == "-0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(number_end).ok_or_else(invalid)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end).ok_or_else(invalid)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            "" => return Err(ParseError::MissingUnit(text.to_owned())),
            other => return Err(ParseError::UnknownUnit(text.to_owned(), other.to_owned())),
        };
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| invalid())?.into() };
        total += whole * scale;
        let mut place = scale;
        for digit in fraction.bytes().take(18) {
            place /= 10;
            total += u128::from(digit - b'0') * place;
        }
        if total > i64::MAX as u128 {
            return Err(invalid());
        }
        rest = after;
    }
    Ok(Duration::from_nanos(u64::try_from(total).map_err(|_| invalid())?))
}

/// Go's form, as `metav1.Duration` is written: `1m30s`, `1h0m0s`, `1.5s`, `100ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < NANOS_PER_SECOND {
        let (unit, scale) = match nanos {
            0..1_000 => return format!("{nanos}ns"),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanos, scale));
    }
    let seconds = nanos / NANOS_PER_SECOND;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let below_minute = decimal(nanos % (60 * NANOS_PER_SECOND), NANOS_PER_SECOND);
    match (hours, minutes) {
        (0, 0) => format!("{below_minute}s"),
        (0, _) => format!("{minutes}m{below_minute}s"),
        _ => format!("{hours}h{minutes}m{below_minute}s"),
    }
}

/// `value / scale` with as many fraction digits as it takes; `scale` is a power of ten.
fn decimal(value: u128, scale: u128) -> String {
    let fraction = value % scale;
    if fraction == 0 {
        return (value / scale).to_string();
    }
    let width = scale.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{}.{}", value / scale, digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ages() {
        let (hour, day) = (3600, 86_400);
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (303, "5m3s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * hour, "3h"),
            (3 * hour + 60, "3h1m"),
            (8 * hour + 60, "8h"),
            (48 * hour, "2d"),
            (49 * hour, "2d1h"),
            (8 * day, "8d"),
            (800 * day, "2y70d"),
            (9 * 365 * day, "9y"),
        ];
        for (seconds, want) in cases {
            assert_eq!(human(seconds), want);
        }
        assert_eq!(short_human(3 * hour + 60), "3h");
    }

    #[test]
    fn gos_form() {
        let cases = [
            ("0", "0s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5s", "1.5s"),
            ("100ms", "100ms"),
            ("1500us", "1.5ms"),
            ("1h0.5s", "1h0m0.5s"),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("", "time: invalid duration \"\""),
            ("..s", "time: invalid duration \"..s\""),
        ];
        for (text, want) in cases {
            let got = parse(text).map(format).unwrap_or_else(|e| e.to_string());
            assert_eq!(got, want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn formatting_then_parsing_changes_nothing(nanos in 0..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
