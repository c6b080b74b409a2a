//! YAML bodies and files, as YAML 1.1 reads them, several documents to a file; and YAML output as kubectl prints it.
mod write;

use super::Error;
use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;

/// A request body or a manifest of this size is the largest that is taken.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const DEPTH_MAX: usize = 100;
/// What anchors stand for, each of them spelled out: a few lines that refer to each other grow without end.
const ANCHOR_EVENTS_MAX: usize = 20_000;

fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        budget: serde_saphyr::budget! {
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            max_depth: DEPTH_MAX,
            max_documents: 100_000,
            max_total_scalar_bytes: BYTES_MAX,
            max_recorded_anchor_events: ANCHOR_EVENTS_MAX,
        },
        // As Go's YAML library reads `defaultMode: 0644`.
        legacy_octal_numbers: true,
        emit_comments: false,
    }
}

/// The parser calls itself for each level, and takes more for it than a caller may have left: it gets a stack that is
/// enough for [`DEPTH_MAX`] several times over, so that no text can end the process.
const STACK_BYTES: usize = 16 * 1024 * 1024;

fn read(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Vec<Value>, Error> {
    let parse = || {
        let read = serde_saphyr::from_multiple_with_options(text, options(duplicate_keys));
        read.map_err(|error| Error::Yaml(message(&error)))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("yaml".to_owned()).stack_size(STACK_BYTES);
        let started = thread.spawn_scoped(scope, parse).map_err(|error| Error::Yaml(error.to_string()))?;
        started.join().unwrap_or_else(|_| Err(Error::Yaml("the parser failed".to_owned())))
    })
}

/// All documents of a stream; empty ones are left out.
///
/// # Errors
/// In the parser's words, with line and column.
pub fn parse_all(text: &str) -> Result<Vec<Value>, Error> {
    if text.len() > BYTES_MAX {
        return Err(Error::Yaml(format!("the document is larger than {BYTES_MAX} bytes")));
    }
    let mut documents = read(text, DuplicateKeyPolicy::Error)?;
    documents.retain(|d| !d.is_null());
    documents.iter_mut().for_each(whole_numbers);
    Ok(documents)
}

/// `1e3` and `5.0` are whole numbers in JSON as Go writes it, and fit where one is wanted.
fn whole_numbers(value: &mut Value) {
    /// Above it not every whole number has a floating-point form.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Number(number) if number.is_f64() => {
            if let Some(f) = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= EXACT_MAX) {
                *number = (f as i64).into();
            }
        }
        _ => {}
    }
}

/// The only or first document.
///
/// # Errors
/// As [`parse_all`].
pub fn parse(text: &str) -> Result<Value, Error> {
    Ok(parse_all(text)?.into_iter().next().unwrap_or(Value::Null))
}

/// As [`parse`], but of a key that a map has twice the last value counts, and the complaint about it is returned.
///
/// # Errors
/// As [`parse_all`].
pub fn parse_tolerant(text: &str) -> Result<(Value, Option<String>), Error> {
    let strict = match parse(text) {
        Err(Error::Yaml(why)) if why.contains(DUPLICATE) => why,
        other => return other.map(|value| (value, None)),
    };
    let documents = read(text, DuplicateKeyPolicy::LastWins)?;
    let mut value = documents.into_iter().find(|d| !d.is_null()).unwrap_or(Value::Null);
    whole_numbers(&mut value);
    Ok((value, Some(duplicate(&strict))))
}

/// How the parser begins to say that a key is there twice.
const DUPLICATE: &str = "duplicate mapping key: ";

/// The complaint as Go's YAML library words it.
fn duplicate(why: &str) -> String {
    let between = |start: &str, end: &str| {
        let rest = why.split_once(start).map_or("", |(_, rest)| rest);
        rest.split_once(end).map_or(rest, |(found, _)| found)
    };
    let (line, key) = (between("line ", " "), between(DUPLICATE, ","));
    format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")
}

/// The error without its excerpt of the source.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

pub use write::to_string;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn anchors_that_multiply_are_refused_early() {
        let grown = |levels: u32| {
            let list = |name: u32| vec![format!("*a{name}"); 9].join(",");
            (1..levels).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
                text + &format!("a{n}: &a{n} [{}]\n", list(n - 1))
            })
        };
        assert!(parse_all(&grown(3)).is_ok());
        let error = parse_all(&grown(9)).expect_err("too much").to_string();
        assert!(error.contains(&format!("recorded_anchor_events: {}", ANCHOR_EVENTS_MAX + 1)), "{error}");
    }

    #[test]
    fn reading() {
        let cases = [
            ("a: 1\nb: [x, 'y']\n", json!({"a": 1, "b": ["x", "y"]})),
            ("mode: 0644\n", json!({"mode": 420})),
            ("a: \"0644\"\nb: ~\nc: 1.5\nd: true", json!({"a": "0644", "b": null, "c": 1.5, "d": true})),
            ("a: yes\nb: off", json!({"a": true, "b": false})),
            ("a: |\n  x\n  y\n", json!({"a": "x\ny\n"})),
            ("base: &b {x: 1}\nc:\n  <<: *b\n  y: 2", json!({"base": {"x": 1}, "c": {"x": 1, "y": 2}})),
            ("{\"a\": 1}", json!({"a": 1})),
            ("", Value::Null),
            ("a: 1Gi\nb: 1.2.3\nc: 12h", json!({"a": "1Gi", "b": "1.2.3", "c": "12h"})),
            ("1: x", json!({"1": "x"})),
            ("a: 1e3\nb: 5.\nc: 08\nd: y", json!({"a": 1000, "b": 5, "c": 8, "d": true})),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).map_err(|e| e.to_string()), Ok(want), "{text}");
        }
        assert_eq!(parse_all("---\na: 1\n---\n---\nb: 2\n").unwrap(), [json!({"a": 1}), json!({"b": 2})]);
        assert!(parse("a: [").is_err());
        assert!(parse(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn as_deep_as_it_may_be_fits_on_the_stack() {
        let nested = |levels: usize| (0..levels).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        let parsed = |levels| {
            // As little as a thread may have.
            let text = nested(levels);
            let thread = std::thread::Builder::new().stack_size(128 * 1024);
            thread.spawn(move || parse(&text).is_ok()).unwrap().join().unwrap()
        };
        assert!(parsed(DEPTH_MAX));
        assert!(!parsed(DEPTH_MAX + 1));
    }

    #[test]
    fn a_key_twice() {
        let text = "a: 1\nb:\n  c: 1\n  c: 2\n";
        assert!(parse(text).is_err());
        let (value, complaint) = parse_tolerant(text).unwrap();
        assert_eq!(value, json!({"a": 1, "b": {"c": 2}}));
        assert_eq!(complaint.as_deref(), Some("yaml: unmarshal errors:\n  line 4: key \"c\" already set in map"));
        assert_eq!(parse_tolerant("a: 1").unwrap(), (json!({"a": 1}), None));
    }

    #[test]
    fn writing() {
        let value = json!({
            "apiVersion": "v1", "list": [{"a": 1, "b": [true, null]}, [], "x"], "empty": {},
            "text": "x\ny\n", "number": "1", "bool": "true", "port": "80:80", "time": "2024-01-01T00:00:00Z",
            "colon": "a: b", "dash": "- a", "star": "*", "quote": "it's", "tab": "a\tb", "exp": "1e3"
        });
        let want = "apiVersion: v1\nbool: \"true\"\ncolon: 'a: b'\ndash: '- a'\nempty: {}\nexp: \"1e3\"\nlist:\n- a: 1\n  b:\n  - true\n  - null\n- []\n- x\nnumber: \"1\"\nport: 80:80\nquote: it's\nstar: '*'\ntab: \"a\\tb\"\ntext: |\n  x\n  y\ntime: \"2024-01-01T00:00:00Z\"\n";
        assert_eq!(to_string(&value), want);
    }

    #[test]
    fn writing_as_kubectl_does() {
        let long = "word ".repeat(30);
        let cases = [
            (json!({"a10": 1, "a2": 1, "a": 1, "1": 1}), "\"1\": 1\na: 1\na2: 1\na10: 1\n"),
            (json!({"a": "\nb"}), "a: |2-\n\n  b\n"),
            (json!({"a": "  b\nc\n\n"}), "a: |2+\n    b\n  c\n\n"),
            (json!({"a": "x \ny"}), "a: \"x \\ny\"\n"),
            (json!({"a": "b\tc\n"}), "a: \"b\\tc\\n\"\n"),
            (json!({"a": "😀"}), "a: \"\\U0001F600\"\n"),
            (json!({"a": "="}), "a: =\n"),
            (json!({"a": "2001-12-14 21:59:43.10 -5"}), "a: 2001-12-14 21:59:43.10 -5\n"),
            (json!({"a": [{"b": ["c"]}, ["d", ["e"]]]}), "a:\n- b:\n  - c\n- - d\n  - - e\n"),
            (
                json!({"a": long.trim()}),
                "a: word word word word word word word word word word word word word word word word\n  word word word \
                 word word word word word word word word word word word\n",
            ),
        ];
        for (value, want) in cases {
            assert_eq!(to_string(&value), want);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~\\n\\t]{0,12}", "\\PC{0,6}", "[0-9+.:eExT-]{1,8}", "(yes|no|null|on|~|<<)"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn writing_then_reading_changes_nothing(value in any_value()) {
            let wrapped = json!({ "value": value });
            let text = to_string(&wrapped);
            prop_assert_eq!(parse(&text).map_err(|e| format!("{e}\n{text}")), Ok(wrapped), "{}", text);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,60}") {
            let _ = parse_all(&text);
        }
    }
}
