//! Rewrites the links of an HTML page as it streams by.
//!
//! Only tags are looked into: text, comments and the contents of scripts and styles pass unchanged, and so does
//! everything else in a tag. A tag is held back until it is complete, up to [`TAG_BYTES_MAX`].
use super::rewrite::Base;

/// A tag longer than this passes unchanged.
const TAG_BYTES_MAX: usize = 64 * 1024;

/// Attributes that hold links, by element (upstream's `atomsToAttrs`).
const LINKS: [(&str, &[&str]); 29] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
    // Their contents are no HTML.
    ("style", &[]),
    ("textarea", &[]),
    ("title", &[]),
    ("xmp", &[]),
];

/// Elements whose contents are text up to their end tag.
const RAW: [&str; 5] = ["script", "style", "textarea", "title", "xmp"];

pub struct Rewriter {
    base: Base,
    /// What has not been decided about yet.
    held: Vec<u8>,
    /// Inside an element of [`RAW`].
    raw: Option<&'static str>,
}

/// What stands at the beginning of the held bytes.
enum Next {
    /// So many bytes that pass.
    Pass(usize),
    /// A start tag of so many bytes.
    Tag(usize),
    More,
}

impl Rewriter {
    pub fn new(base: Base) -> Self {
        Rewriter { base, held: Vec::new(), raw: None }
    }

    /// More of the page; what can be sent of it.
    pub fn push(&mut self, data: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(data);
        let held = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(held.len());
        let mut rest: &[u8] = &held;
        while !rest.is_empty() {
            let length = match self.next(rest) {
                Next::Pass(length) => {
                    out.extend_from_slice(rest.get(..length).unwrap_or(rest));
                    length
                }
                Next::Tag(length) => {
                    self.tag(rest.get(..length).unwrap_or(rest), &mut out);
                    length
                }
                Next::More if rest.len() > TAG_BYTES_MAX => {
                    out.extend_from_slice(rest);
                    rest.len()
                }
                Next::More => break,
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        self.held = rest.to_vec();
        out
    }

    /// The page has ended.
    pub fn finish(self) -> Vec<u8> {
        self.held
    }

    fn next(&mut self, rest: &[u8]) -> Next {
        if let Some(element) = self.raw {
            return self.in_raw(rest, element);
        }
        let Some(start) = rest.iter().position(|b| *b == b'<') else { return Next::Pass(rest.len()) };
        if start > 0 {
            return Next::Pass(start);
        }
        match rest.get(1) {
            None => Next::More,
            Some(b'!') if b"<!--".starts_with(rest.get(..4).unwrap_or(rest)) => match find(rest, b"-->") {
                Some(at) => Next::Pass(at + 3),
                None => Next::More,
            },
            Some(b) if b.is_ascii_alphabetic() => match tag_end(rest) {
                Some(end) => Next::Tag(end),
                None => Next::More,
            },
            Some(_) => Next::Pass(1),
        }
    }

    fn in_raw(&mut self, rest: &[u8], element: &str) -> Next {
        let mut at = 0;
        while let Some(found) = rest.get(at..).and_then(|tail| tail.iter().position(|b| *b == b'<')) {
            let start = at + found;
            let name = rest.get(start + 2..start + 2 + element.len());
            match (rest.get(start + 1), name) {
                (Some(b'/'), Some(name)) if name.eq_ignore_ascii_case(element.as_bytes()) => {
                    self.raw = None;
                    return Next::Pass(start + 2 + element.len());
                }
                // Perhaps the end tag, cut off.
                (None, _) | (Some(b'/'), None) if start > 0 => return Next::Pass(start),
                (None, _) | (Some(b'/'), None) => return Next::More,
                _ => at = start + 1,
            }
        }
        Next::Pass(rest.len())
    }

    fn tag(&mut self, tag: &[u8], out: &mut Vec<u8>) {
        let end = tag.iter().skip(1).position(|b| !b.is_ascii_alphanumeric()).map_or(tag.len(), |at| at + 1);
        let name = tag.get(1..end).unwrap_or_default().to_ascii_lowercase();
        self.raw = RAW.into_iter().find(|raw| raw.as_bytes() == name);
        let links = LINKS.iter().find(|(element, _)| element.as_bytes() == name).map_or(&[][..], |(_, links)| links);
        let mut written = 0;
        for (attribute, value) in attributes(tag, end) {
            let is_link = links.iter().any(|link| attribute.eq_ignore_ascii_case(link.as_bytes()));
            let Some(text) = tag.get(value.clone()).filter(|_| is_link).and_then(|v| std::str::from_utf8(v).ok())
            else {
                continue;
            };
            out.extend_from_slice(tag.get(written..value.start).unwrap_or_default());
            out.extend_from_slice(self.base.rewrite(text).as_bytes());
            written = value.end;
        }
        out.extend_from_slice(tag.get(written..).unwrap_or_default());
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The length of the tag at the start: up to the `>` that is in no quotes.
fn tag_end(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut before = b' ';
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == *byte => quote = None,
            (Some(_), _) => {}
            // A quote opens a value only behind `=`.
            (None, b'"' | b'\'') if before == b'=' => quote = Some(*byte),
            (None, b'>') => return Some(at + 1),
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = *byte;
        }
    }
    None
}

/// Names of the attributes of a tag, and where their values stand, without quotes.
fn attributes(tag: &[u8], mut at: usize) -> Vec<(&[u8], std::ops::Range<usize>)> {
    let mut all = Vec::new();
    let byte = |at: usize| tag.get(at).copied();
    let skip = |mut at: usize, is: fn(u8) -> bool| {
        while byte(at).is_some_and(is) {
            at += 1;
        }
        at
    };
    let blank: fn(u8) -> bool = |b| b.is_ascii_whitespace() || b == b'/';
    while at < tag.len() {
        at = skip(at, blank);
        let start = at;
        at = skip(at, |b| !b.is_ascii_whitespace() && !matches!(b, b'=' | b'>' | b'/'));
        let name = tag.get(start..at).unwrap_or_default();
        let equals = skip(at, |b| b.is_ascii_whitespace());
        if byte(equals) != Some(b'=') {
            // No value; or no attribute, at the end of the tag.
            at = if at == start { at + 1 } else { at };
            continue;
        }
        let value = skip(equals + 1, |b| b.is_ascii_whitespace());
        let (from, to) = match byte(value) {
            Some(quote @ (b'"' | b'\'')) => {
                let rest = tag.get(value + 1..).unwrap_or_default();
                let length = rest.iter().position(|b| *b == quote).unwrap_or(rest.len());
                (value + 1, value + 1 + length)
            }
            _ => (value, skip(value, |b| !b.is_ascii_whitespace() && b != b'>')),
        };
        all.push((name, from..to));
        at = (to + 1).min(tag.len());
        if byte(value).is_some_and(|b| b != b'"' && b != b'\'') {
            at = to;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewriter() -> Rewriter {
        Rewriter::new(Base { prefix: "/P".into(), backend: "b:1".into(), host: "h:2".into() })
    }

    const PAGE: &str = "<!DOCTYPE html><html><head><title><a href=/t></title><base href='/'>\n\
        <script src=\"/s.js\">if (1 </a/.x) '<a href=\"/no\">'</script><style>a<b</style></head>\n\
        <!-- <a href=\"/no\"> --><body bgcolor=/no><A  HREF = \"/a?x=1&amp;y\" title='> /no'>1 < 2</A>\n\
        <img src=/i.png alt><img src=\"i.png\"/><form action='http://b:1/f'><a href=http://else/x>x</a></form>";
    const WANT: &str = "<!DOCTYPE html><html><head><title><a href=/t></title><base href='/P/'>\n\
        <script src=\"/P/s.js\">if (1 </a/.x) '<a href=\"/no\">'</script><style>a<b</style></head>\n\
        <!-- <a href=\"/no\"> --><body bgcolor=/no><A  HREF = \"/P/a?x=1&amp;y\" title='> /no'>1 < 2</A>\n\
        <img src=/P/i.png alt><img src=\"i.png\"/><form action='/P/f'><a href=http://else/x>x</a></form>";

    #[test]
    fn links_are_rewritten_however_the_page_is_cut() {
        for size in [1, 2, 3, 7, 64, PAGE.len()] {
            let mut rewriter = rewriter();
            let mut out = Vec::new();
            for piece in PAGE.as_bytes().chunks(size) {
                out.extend(rewriter.push(piece));
            }
            out.extend(rewriter.finish());
            assert_eq!(String::from_utf8_lossy(&out), WANT, "in pieces of {size}");
        }
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let mut rewriter = rewriter();
        let long = format!("<a href=\"{}", "x".repeat(2 * TAG_BYTES_MAX));
        assert_eq!(rewriter.push(long.as_bytes()).len(), long.len());
        assert!(rewriter.push(b"<a href=\"/").is_empty());
        assert_eq!(rewriter.finish(), b"<a href=\"/");
    }
}
