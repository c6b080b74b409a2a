//! Log lines as upstream's `--logging-format=json` writes them: `{"ts":1580306777.04728,"caller":"…","msg":"…","v":0}`.
//!
//! `ts` is milliseconds since the epoch; warnings and errors carry no `v`, as klog's do not; fields follow the message.
use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

pub(super) struct Json;

/// A text in quotes, with what JSON does not allow in it escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn add(&mut self, name: &str, json: &str) {
        // klog calls an error's text so.
        let name = if name == "error" { "err" } else { name };
        self.rest.push_str(&format!(",{}:{json}", quoted(name)));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.add(field.name(), &quoted(&text));
        }
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.add(field.name(), &quoted(value));
        }
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        self.add(field.name(), &value.to_string());
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        self.add(field.name(), &value.to_string());
    }

    fn record_bool(&mut self, field: &tracing::field::Field, value: bool) {
        self.add(field.name(), &value.to_string());
    }
}

fn line(ts_ms: f64, level: &Level, caller: &str, fields: &Fields) -> String {
    let mut out = format!("{{\"ts\":{ts_ms},\"caller\":{},\"msg\":{}", quoted(caller), quoted(&fields.message));
    match *level {
        Level::ERROR | Level::WARN => {}
        Level::INFO => out.push_str(",\"v\":0"),
        Level::DEBUG => out.push_str(",\"v\":4"),
        Level::TRACE => out.push_str(",\"v\":6"),
    }
    out.push_str(&fields.rest);
    out.push('}');
    out
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let caller = match (metadata.file().and_then(|path| path.rsplit('/').next()), metadata.line()) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            _ => metadata.target().to_owned(),
        };
        writeln!(writer, "{}", line(since.as_secs_f64() * 1000.0, metadata.level(), &caller, &fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_klogs() {
        let mut fields = Fields { message: "a \"b\"\n\u{1}".into(), ..Fields::default() };
        fields.add("error", &quoted("no"));
        fields.add("count", "3");
        assert_eq!(
            line(1_580_306_777.5, &Level::INFO, "run.rs:1", &fields),
            r#"{"ts":1580306777.5,"caller":"run.rs:1","msg":"a \"b\"\n\u0001","v":0,"err":"no","count":3}"#
        );
        assert!(!line(0.0, &Level::WARN, "x", &Fields::default()).contains("\"v\""));
    }
}
