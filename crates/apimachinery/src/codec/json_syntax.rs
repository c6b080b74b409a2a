//! What is wrong with text that is not JSON, in the words of Go's `encoding/json`, which clients of upstream see.
//!
//! Only failures pay for this walk. It neither recurses nor allocates more than a byte for each open bracket.
//! Source: Go's `encoding/json` scanner (the texts).

use serde_json::Value;

/// What Go calls a value of this kind.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

/// `None` when the text is well-formed.
pub fn error(json: &[u8]) -> Option<String> {
    Walk { json, at: 0 }.document().err()
}

struct Walk<'a> {
    json: &'a [u8],
    at: usize,
}

fn end() -> String {
    "unexpected end of JSON input".to_owned()
}

fn unexpected(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    };
    format!("invalid character {shown} {context}")
}

impl Walk<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.json.get(self.at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    /// The next byte, spaces included.
    fn take(&mut self) -> Result<u8, String> {
        let byte = self.json.get(self.at).copied().ok_or_else(end)?;
        self.at += 1;
        Ok(byte)
    }

    fn document(&mut self) -> Result<(), String> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            // At the start of a value.
            match self.peek().ok_or_else(end)? {
                b'{' => {
                    self.at += 1;
                    if self.peek().ok_or_else(end)? != b'}' {
                        self.key()?;
                        open.push(Open::Object);
                        continue;
                    }
                    self.at += 1;
                }
                b'[' => {
                    self.at += 1;
                    if self.peek().ok_or_else(end)? != b']' {
                        open.push(Open::Array);
                        continue;
                    }
                    self.at += 1;
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                other => return Err(unexpected(other, "looking for beginning of value")),
            }
            // After a value: what it was in goes on or ends.
            loop {
                let next = self.peek();
                match (open.last(), next) {
                    (None, None) => return Ok(()),
                    (None, Some(other)) => return Err(unexpected(other, "after top-level value")),
                    (Some(_), None) => return Err(end()),
                    (Some(Open::Object), Some(b',')) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (Some(Open::Array), Some(b',')) => {
                        self.at += 1;
                        break;
                    }
                    (Some(Open::Object), Some(b'}')) | (Some(Open::Array), Some(b']')) => {
                        self.at += 1;
                        open.pop();
                    }
                    (Some(Open::Object), Some(other)) => return Err(unexpected(other, "after object key:value pair")),
                    (Some(Open::Array), Some(other)) => return Err(unexpected(other, "after array element")),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), String> {
        match self.peek().ok_or_else(end)? {
            b'"' => self.string()?,
            other => return Err(unexpected(other, "looking for beginning of object key string")),
        }
        match self.peek().ok_or_else(end)? {
            b':' => {
                self.at += 1;
                Ok(())
            }
            other => Err(unexpected(other, "after object key")),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.take()? {
                b'"' => return Ok(()),
                b'\\' => match self.take()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.take()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(unexpected(digit, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    other => return Err(unexpected(other, "in string escape code")),
                },
                control if control < 0x20 => return Err(unexpected(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for wanted in word.bytes() {
            let byte = self.take()?;
            if byte != wanted {
                let context = format!("in literal {word} (expecting '{}')", char::from(wanted));
                return Err(unexpected(byte, &context));
            }
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        let first = self.take()?;
        if !first.is_ascii_digit() {
            return Err(unexpected(first, context));
        }
        while self.json.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.json.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.json.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.json.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if self.json.get(self.at).is_some_and(|b| matches!(b, b'e' | b'E')) {
            self.at += 1;
            if self.json.get(self.at).is_some_and(|b| matches!(b, b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let cases = [
            ("{\"a\": [1, -0.5e+3, true, null, \"x\\u00e9\"], \"b\": {}}", None),
            (" [] ", None),
            ("", Some("unexpected end of JSON input")),
            ("{\"a\":", Some("unexpected end of JSON input")),
            ("\"a", Some("unexpected end of JSON input")),
            ("x", Some("invalid character 'x' looking for beginning of value")),
            ("{x", Some("invalid character 'x' looking for beginning of object key string")),
            ("{\"a\":1,}", Some("invalid character '}' looking for beginning of object key string")),
            ("{\"a\" 1}", Some("invalid character '1' after object key")),
            ("{\"a\":1 \"", Some("invalid character '\"' after object key:value pair")),
            ("[1 2]", Some("invalid character '2' after array element")),
            ("[1,]", Some("invalid character ']' looking for beginning of value")),
            ("{} {}", Some("invalid character '{' after top-level value")),
            ("\"\n\"", Some("invalid character '\\n' in string literal")),
            ("\"\\x\"", Some("invalid character 'x' in string escape code")),
            ("\"\\u00g0\"", Some("invalid character 'g' in \\u hexadecimal character escape")),
            ("trux", Some("invalid character 'x' in literal true (expecting 'e')")),
            ("-x", Some("invalid character 'x' in numeric literal")),
            ("01", Some("invalid character '1' after top-level value")),
            ("1.x", Some("invalid character 'x' after decimal point in numeric literal")),
            ("1ex", Some("invalid character 'x' in exponent of numeric literal")),
            ("'a'", Some("invalid character '\\'' looking for beginning of value")),
        ];
        for (json, want) in cases {
            assert_eq!(error(json.as_bytes()).as_deref(), want, "{json}");
        }
        assert!(error(&b"[".repeat(1_000_000)).is_some());
    }
}
