//! The difference of two objects as error messages show it: the changed fields, old and new.
//!
//! Upstream prints Go's structures (`cmp.Diff`); here it is JSON, in the same `-`/`+` layout.
use serde_json::Value;

/// Lines past this are cut.
const LINES_MAX: usize = 60;

/// What differs from `old` in `new`, one line a value; empty when nothing does.
pub fn text(new: &impl serde::Serialize, old: &impl serde::Serialize) -> String {
    let (Ok(new), Ok(old)) = (serde_json::to_value(new), serde_json::to_value(old)) else { return String::new() };
    let mut lines = Vec::new();
    walk(&mut String::new(), Some(&old), Some(&new), &mut lines);
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        lines.push("  ... // more differences".to_owned());
    }
    let mut out = lines.join("\n");
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn walk(path: &mut String, old: Option<&Value>, new: Option<&Value>, lines: &mut Vec<String>) {
    if old == new || lines.len() > LINES_MAX {
        return;
    }
    match (old, new) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                walk(path, before.get(key), after.get(key), lines);
                path.truncate(length);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for i in 0..before.len().max(after.len()) {
                let length = path.len();
                path.push_str(&format!("[{i}]"));
                walk(path, before.get(i), after.get(i), lines);
                path.truncate(length);
            }
        }
        _ => {
            if let Some(old) = old {
                lines.push(format!("- \t{path}: {old}"));
            }
            if let Some(new) = new {
                lines.push(format!("+ \t{path}: {new}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn only_what_changed_is_shown() {
        let old = json!({"a": 1, "b": [{"c": "x"}], "d": true});
        let new = json!({"a": 1, "b": [{"c": "y"}, 2]});
        assert_eq!(super::text(&new, &old), "- \tb[0].c: \"x\"\n+ \tb[0].c: \"y\"\n+ \tb[1]: 2\n- \td: true\n");
    }
}
