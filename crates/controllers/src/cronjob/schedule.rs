//! Cron schedules: five fields or `@daily` and the like, in a time zone.
//!
//! Source: "CronJob: schedule syntax". As in Vixie cron, a day matches by month or by week when both
//! are restricted.
use jiff::{
    Timestamp, ToSpan, Zoned,
    civil::{DateTime, Weekday},
    tz::TimeZone,
};

/// How far ahead a time is looked for, in years: past this the schedule names no time (February 30).
const HORIZON_YEARS: i16 = 5;

/// A parsed schedule; each field is a set of bits.
#[derive(Clone, Debug)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
    every_s: Option<i64>,
    zone: TimeZone,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn number(text: &str, names: &[&str], base: u8) -> Result<u8, String> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match named.and_then(|at| u8::try_from(at).ok()) {
        Some(at) => Ok(at + base),
        None => text.parse().map_err(|_| format!("failed to parse int from {text}")),
    }
}

/// One field as bits, and whether it was `*` or `?`.
fn field(text: &str, low: u8, high: u8, names: &[&str]) -> Result<(u64, bool), String> {
    let (mut bits, mut any) = (0_u64, false);
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (first, last) = match range {
            "*" | "?" => {
                any |= step.is_none();
                (low, high)
            }
            _ => match range.split_once('-') {
                Some((first, last)) => (number(first, names, low)?, number(last, names, low)?),
                None => {
                    let first = number(range, names, low)?;
                    (first, if step.is_some() { high } else { first })
                }
            },
        };
        let step = step.map_or(Ok(1), |step| number(step, &[], 0))?;
        if first < low || last > high || first > last || step == 0 {
            return Err(format!("{part} is not within {low}-{high}"));
        }
        for value in (first..=last).step_by(step.into()) {
            bits |= 1 << value;
        }
    }
    Ok((bits, any))
}

impl Schedule {
    /// The time in the schedule's zone, in RFC 3339.
    pub fn local(&self, at: Timestamp) -> String {
        if self.zone == TimeZone::UTC {
            return apimachinery::time::rfc3339(at);
        }
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// Parse a schedule; `zone` is an IANA name, UTC without one.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| format!("unknown time zone {name}: {error}"))?,
        };
        let text = text.trim();
        if let Some(period) = text.strip_prefix("@every ") {
            let period = apimachinery::duration::parse(period.trim()).map_err(|error| error.to_string())?;
            let every_s = i64::try_from(period.as_secs()).unwrap_or(i64::MAX).max(1);
            let nothing = Self {
                minutes: 0,
                hours: 0,
                days: 0,
                months: 0,
                weekdays: 0,
                any_day: true,
                any_weekday: true,
                every_s: Some(every_s),
                zone,
            };
            return Ok(nothing);
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", fields.len()));
        };
        let (days, any_day) = field(days, 1, 31, &[])?;
        let (weekdays, any_weekday) = field(weekdays, 0, 6, &WEEKDAYS)?;
        Ok(Self {
            minutes: field(minutes, 0, 59, &[])?.0,
            hours: field(hours, 0, 23, &[])?.0,
            months: field(months, 1, 12, &MONTHS)?.0,
            days,
            weekdays,
            any_day,
            any_weekday,
            every_s: None,
            zone,
        })
    }

    /// The first time after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if let Some(every) = self.every_s {
            return Timestamp::from_second(after.as_second() + every).ok();
        }
        let start: Zoned = after.to_zoned(self.zone.clone());
        let limit = start.year().saturating_add(HORIZON_YEARS);
        let start = start.datetime();
        let mut at = start.with().second(0).subsec_nanosecond(0).build().ok()?.checked_add(1.minute()).ok()?;
        while at.year() <= limit {
            if !has(self.months, at.month()) {
                at = at.date().last_of_month().tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight());
            } else if !self.day_matches(at) {
                at = at.date().tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight());
            } else if !has(self.hours, at.hour()) {
                at = at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if !has(self.minutes, at.minute()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                // In a gap of daylight saving the time after it counts.
                let found = at.to_zoned(self.zone.clone()).ok()?.timestamp();
                if found > after {
                    return Some(found);
                }
                at = at.checked_add(1.minute()).ok()?;
            }
        }
        None
    }

    fn day_matches(&self, at: DateTime) -> bool {
        let weekday = match at.weekday() {
            Weekday::Sunday => 0,
            other => other.to_monday_one_offset(),
        };
        let (by_day, by_weekday) = (has(self.days, at.day()), has(self.weekdays, weekday));
        if self.any_day || self.any_weekday { by_day && by_weekday } else { by_day || by_weekday }
    }
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| value < 64 && bits & (1 << value) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> String {
        let schedule = Schedule::parse(schedule, zone).expect("a schedule");
        schedule.next(after.parse().expect("a time")).map(|at| at.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_next_time() {
        assert_eq!(next("*/15 * * * *", None, "2026-01-01T00:00:00Z"), "2026-01-01T00:15:00Z");
        assert_eq!(next("0 3 * * mon-fri", None, "2026-01-02T04:00:00Z"), "2026-01-05T03:00:00Z");
        assert_eq!(next("0 0 13 * 5", None, "2026-01-01T00:00:00Z"), "2026-01-02T00:00:00Z", "a Friday or a 13th");
        assert_eq!(next("@monthly", None, "2026-01-31T00:00:00Z"), "2026-02-01T00:00:00Z");
        assert_eq!(next("0 9 * * *", Some("Europe/Berlin"), "2026-07-01T00:00:00Z"), "2026-07-01T07:00:00Z");
        assert_eq!(next("0 0 30 2 *", None, "2026-01-01T00:00:00Z"), "");
        assert_eq!(next("@every 90s", None, "2026-01-01T00:00:00Z"), "2026-01-01T00:01:30Z");
    }

    #[test]
    fn nonsense_is_refused() {
        for schedule in ["", "* * * *", "60 * * * *", "*/0 * * * *", "x * * * *", "5-1 * * * *"] {
            assert!(Schedule::parse(schedule, None).is_err(), "{schedule}");
        }
        assert!(Schedule::parse("* * * * *", Some("Moon/Base")).is_err());
    }
}
