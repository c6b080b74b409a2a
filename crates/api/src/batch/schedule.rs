//! Whether a text is a cron schedule: five fields, or a macro.
//!
//! Source: `github.com/robfig/cron/v3` `ParseStandard`, which upstream validates with.

const MACROS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The violation, in the parser's words.
pub fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".into());
    }
    if let Some(every) = schedule.strip_prefix("@every ") {
        return apimachinery::duration::parse(every)
            .map(|_| ())
            .map_err(|e| format!("failed to parse duration {schedule}: {e}"));
    }
    if schedule.starts_with('@') {
        return match MACROS.contains(&schedule) {
            true => Ok(()),
            false => Err(format!("unrecognized descriptor: {schedule}")),
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    };
    field(minute, 0, 59, &[], 0)?;
    field(hour, 0, 23, &[], 0)?;
    field(day, 1, 31, &[], 0)?;
    field(month, 1, 12, MONTHS, 1)?;
    field(weekday, 0, 6, DAYS, 0)
}

fn field(text: &str, low: u32, high: u32, names: &[&str], first: u32) -> Result<(), String> {
    text.split(',').try_for_each(|range| check_range(range, low, high, names, first))
}

fn number(text: &str, names: &[&str], first: u32) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(at) = names.iter().position(|n| *n == lower) {
        return Ok(first + u32::try_from(at).unwrap_or_default());
    }
    text.parse().map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
}

fn check_range(range: &str, low: u32, high: u32, names: &[&str], first: u32) -> Result<(), String> {
    let (span, step) = match range.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (range, None),
    };
    let (start, end) = match span.split_once('-') {
        _ if span == "*" || span == "?" => (low, high),
        Some((start, end)) => (number(start, names, first)?, number(end, names, first)?),
        None => {
            let start = number(span, names, first)?;
            (start, if step.is_some() { high } else { start })
        }
    };
    if let Some(step) = step
        && number(step, &[], 0)? == 0
    {
        return Err(format!("step of range should be a positive number: {range}"));
    }
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {range}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {range}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {range}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan-mar mon", "@hourly", "@every 1h30m", "0 0 31 12 6"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "@never", "x * * * *", "* * * * 7"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
