//! Indents compact JSON, keeping the order of its fields, for `?pretty` and for people with curl.
//!
//! Works on bytes and never fails: what is not JSON comes out as it went in, with some line breaks.

pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut bytes = json.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        if in_string {
            out.push(b);
            in_string = escaped || b != b'"';
            escaped = !escaped && b == b'\\';
            continue;
        }
        match b {
            b'"' => {
                in_string = true;
                out.push(b);
            }
            b'{' | b'[' => {
                out.push(b);
                let close = if b == b'{' { b'}' } else { b']' };
                if bytes.next_if_eq(&close).is_some() {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(b);
            }
            b',' => {
                out.push(b);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\t' | b'\r' => {}
            _ => out.push(b),
        }
    }
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth.min(256) * 2));
}

#[cfg(test)]
mod tests {
    #[test]
    fn keeps_order_and_strings() {
        let json = br#"{"kind":"A","b":[1,{"c":"x:{,\"]"}],"e":{},"l":[]}"#;
        let want = "{\n  \"kind\": \"A\",\n  \"b\": [\n    1,\n    {\n      \"c\": \"x:{,\\\"]\"\n    }\n  ],\n  \"e\": {},\n  \"l\": []\n}";
        assert_eq!(String::from_utf8(super::indent(json)).expect("utf-8"), want);
    }
}
