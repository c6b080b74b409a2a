//! A pod template as upstream prints it to hash it: go-spew's `%#v` of the Go struct, with sorted keys and without
//! methods, addresses or capacities.
//!
//! What the API leaves out is printed as Go's zero value; empty lists and maps are nil, as they are for everybody who
//! reads them over protobuf.
use super::{
    layout::{self, Layout},
    quantity,
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _};

/// API objects are not nested this deep; nothing below is printed.
const DEPTH_MAX: usize = 64;
const ZERO_TIME: &str = "{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}";

/// The print of a `PodTemplateSpec`, given as JSON.
pub fn pod_template(template: &Value) -> String {
    let mut print = Print { layout: Layout::get(), out: String::with_capacity(8192) };
    print.value("*v1.PodTemplateSpec", template, true, 0);
    print.out
}

struct Print {
    layout: &'static Layout,
    out: String,
}

impl Print {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// `shown`: whether the type is printed; a list's items and a map's entries do not say theirs.
    fn value(&mut self, type_: &str, value: &Value, shown: bool, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        if shown {
            let _ = write!(self.out, "({type_})");
        }
        if let Some(target) = type_.strip_prefix('*') {
            if value.is_null() { self.push("<nil>") } else { self.bare(target, value, depth) }
        } else {
            self.bare(type_, value, depth);
        }
    }

    fn bare(&mut self, type_: &str, value: &Value, depth: usize) {
        match type_ {
            "resource.Quantity" => return self.push(&quantity::print(value.as_str().unwrap_or("0"))),
            "v1.Time" => return self.push(ZERO_TIME),
            "intstr.IntOrString" => return self.int_or_string(value),
            "v1.FieldsV1" => return self.push("{Raw:([]uint8)<nil>}"),
            _ => {}
        }
        if self.layout.fields(type_).is_some() {
            return self.structure(type_, value, depth);
        }
        let underlying = self.layout.underlying(type_);
        if let Some(item) = layout::item(underlying) {
            self.list(item, value, depth);
        } else if let Some((_, of)) = layout::entry(underlying) {
            self.map(of, value, depth);
        } else {
            self.scalar(underlying, value);
        }
    }

    fn structure(&mut self, type_: &str, value: &Value, depth: usize) {
        self.push("{");
        let fields = self.layout.fields(type_).unwrap_or_default();
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                self.push(" ");
            }
            self.push(field.name);
            self.push(":");
            let inner = field.json.map_or(value, |json| value.get(json).unwrap_or(&Value::Null));
            self.value(field.type_, inner, true, depth + 1);
        }
        self.push("}");
    }

    fn list(&mut self, item: &str, value: &Value, depth: usize) {
        let Some(items) = value.as_array().filter(|items| !items.is_empty()) else { return self.push("<nil>") };
        self.push("[");
        for (index, inner) in items.iter().enumerate() {
            if index > 0 {
                self.push(" ");
            }
            self.value(item, inner, false, depth + 1);
        }
        self.push("]");
    }

    fn map(&mut self, of: &str, value: &Value, depth: usize) {
        let Some(entries) = value.as_object().filter(|entries| !entries.is_empty()) else { return self.push("<nil>") };
        let sorted: BTreeMap<&str, &Value> = entries.iter().map(|(key, value)| (key.as_str(), value)).collect();
        self.push("map[");
        for (index, (key, inner)) in sorted.into_iter().enumerate() {
            if index > 0 {
                self.push(" ");
            }
            self.push(key);
            self.push(":");
            self.value(of, inner, false, depth + 1);
        }
        self.push("]");
    }

    fn scalar(&mut self, type_: &str, value: &Value) {
        match (type_, value) {
            ("string", _) => self.push(value.as_str().unwrap_or_default()),
            ("bool", _) => self.push(if value.as_bool() == Some(true) { "true" } else { "false" }),
            _ => {
                let _ = write!(self.out, "{}", value.as_i64().unwrap_or(0));
            }
        }
    }

    fn int_or_string(&mut self, value: &Value) {
        let (kind, number, text) = match value {
            Value::String(text) => (1, 0, text.as_str()),
            number => (0, number.as_i64().unwrap_or(0), ""),
        };
        let _ = write!(self.out, "{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}");
    }
}
