//! `--append-hash`: names that change with the content.
//!
//! Source: kustomize's hasher: SHA-256 of the sorted JSON, ten digits, without letters that make words.
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const DIGITS: usize = 10;

/// The suffix for a config map or a secret.
pub fn suffix(object: &Value) -> String {
    let mut content = json!({"kind": object["kind"], "name": object["metadata"]["name"]});
    // Go's nil map of strings is null in JSON, that of secrets' bytes too.
    content["data"] = object.get("data").cloned().unwrap_or(Value::Null);
    if object["kind"] == "Secret" {
        content["type"] = object.get("type").cloned().unwrap_or_else(|| json!(""));
    } else if object["binaryData"].is_object() {
        content["binaryData"] = object["binaryData"].clone();
    } else if object.get("data").is_none() {
        content["data"] = json!("");
    }
    let digest = Sha256::digest(crate::printers::html_escaped(&content.to_string()));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let safe = |c: char| match c {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    hex.chars().take(DIGITS).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_official_one_names_them() {
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}});
        assert_eq!(suffix(&map), "m4h6ctkgb2");
        let secret = json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "Yg=="}});
        assert_eq!(suffix(&secret), "7fd2tm89d8");
    }
}
