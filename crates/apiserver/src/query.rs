//! Query strings, read as upstream reads them.
//!
//! Unknown parameters are ignored; a parameter given twice counts once, the first time, except those
//! that are lists. Source: `metav1` conversion of url.Values, API reference "Common parameters".
use apimachinery::ApiError;
use std::borrow::Cow;

/// Parsed `a=b&c=d`, in order.
#[derive(Debug, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Undoes percent encoding; `plus` also turns `+` into a space. Broken escapes stay as they are.
pub fn percent_decode(text: &str, plus: bool) -> Cow<'_, str> {
    let encoded = text.contains('%') || plus && text.contains('+');
    if !encoded {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let hex = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16)).map(|d| d as u8);
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        match (b, hex(bytes.get(i + 1)), hex(bytes.get(i + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                i += 3;
                continue;
            }
            (b'+', ..) if plus => out.push(b' '),
            _ => out.push(b),
        }
        i += 1;
    }
    match String::from_utf8(out) {
        Ok(s) => Cow::Owned(s),
        Err(e) => Cow::Owned(String::from_utf8_lossy(e.as_bytes()).into_owned()),
    }
}

impl<'a> Query<'a> {
    pub fn parse(text: Option<&'a str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key, true), percent_decode(value, true))
        });
        Query(pairs.collect())
    }

    /// The first value, `None` when absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The first value, empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// As upstream reads booleans here: present and neither `0` nor `false` is true.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|_| self.flag(name))
    }

    /// # Errors
    /// `BadRequest` when it is not a whole number.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_clients_send() {
        let q = Query::parse(Some("labelSelector=app%3Dweb%2Ctier+in+(a)&watch&limit=5&x=%zz&y=%ff"));
        assert_eq!(q.text("labelSelector"), "app=web,tier in (a)");
        assert!(q.flag("watch"));
        assert!(!q.flag("pretty"));
        assert_eq!(q.integer("limit"), Ok(Some(5)));
        assert_eq!(q.text("x"), "%zz");
        assert_eq!(q.text("y"), "\u{fffd}");
        assert_eq!(Query::parse(Some("watch=false")).optional_flag("watch"), Some(false));
        assert!(Query::parse(Some("limit=x")).integer("limit").is_err());
    }
}
