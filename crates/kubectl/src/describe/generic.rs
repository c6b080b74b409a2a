//! Every kind that has no layout of its own: all its fields.
use super::{
    Related,
    doc::{Doc, pairs, text},
};
use serde_json::Value;

const SKIPPED: [&str; 5] =
    [".metadata.managedFields", ".metadata.name", ".metadata.namespace", ".metadata.labels", ".metadata.annotations"];
const ACRONYMS: [&str; 5] = ["API", "URL", "UID", "OSB", "GUID"];

pub fn object(doc: &mut Doc, object: &Value, _: &Related) {
    let metadata = &object["metadata"];
    doc.field(0, "Name", text(&metadata["name"]));
    doc.field(0, "Namespace", text(&metadata["namespace"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    fields(doc, 0, object, "");
}

fn fields(doc: &mut Doc, level: usize, object: &Value, prefix: &str) {
    for (name, value) in pairs(object) {
        let path = format!("{prefix}.{name}");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        let title = label(name);
        match value {
            Value::Object(_) => {
                doc.line(level, format!("{title}:"));
                fields(doc, level + 1, value, &path);
            }
            Value::Array(items) => {
                doc.line(level, format!("{title}:"));
                for item in items {
                    match item {
                        Value::Object(_) => fields(doc, level + 1, item, &path),
                        plain => doc.line(level + 1, text(plain)),
                    }
                }
            }
            Value::Null => doc.field(level, &title, "<nil>"),
            plain => doc.field(level, &title, text(plain)),
        }
    }
}

/// `creationTimestamp` is `Creation Timestamp`; names with special characters stay as they are.
fn label(name: &str) -> String {
    if !name.chars().all(|c| c.is_alphabetic() || c == '-') {
        return name.to_owned();
    }
    let words = split(name).into_iter().map(|word| {
        let upper = word.to_uppercase();
        if ACRONYMS.contains(&upper.as_str()) {
            return upper;
        }
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    });
    words.collect::<Vec<String>>().join(" ")
}

/// The words of a camel-case name; the second of two capitals belongs to the word after it, and more are an acronym that
/// takes the small letters behind it along.
fn split(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let class = |c: char| {
        if c.is_lowercase() {
            1
        } else if c.is_uppercase() {
            2
        } else {
            3
        }
    };
    let mut words: Vec<String> = Vec::new();
    let mut last = 0;
    for &letter in &letters {
        let this = class(letter);
        let joins = this == last || (last == 2 && this == 1);
        match words.last_mut() {
            Some(word) if joins => {
                if last == 2 && this == 1 && word.chars().count() == 2 {
                    let moved = word.pop();
                    let start: String = moved.into_iter().chain([letter]).collect();
                    words.push(start);
                } else {
                    word.push(letter);
                }
            }
            _ => words.push(letter.to_string()),
        }
        last = this;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_words() {
        let cases = [
            ("creationTimestamp", "Creation Timestamp"),
            ("uid", "UID"),
            ("apiVersion", "API Version"),
            ("podCIDRs", "Pod CIDRs"),
            ("nonResourceURLs", "Non Resource URLs"),
            ("externalIPs", "External I Ps"),
            ("fooURLsBar", "Foo URLs Bar"),
            ("isURLSafe", "Is URLSafe"),
            ("APIsGroup", "APIs Group"),
            ("fooAsBar", "Foo As Bar"),
            ("clusterIP", "Cluster IP"),
            ("a.b/c", "a.b/c"),
        ];
        for (name, want) in cases {
            assert_eq!(label(name), want);
        }
    }
}
