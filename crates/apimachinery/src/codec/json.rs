//! JSON bodies. Depth is bounded by the parser (128), size by whoever reads the body.
use super::Error;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::borrow::Cow;

/// What every object says of itself first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeMeta<'a> {
    #[serde(borrow, default)]
    pub api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
}

/// `apiVersion` and `kind`, without building the rest.
///
/// # Errors
/// When `json` is not one well-formed object.
pub fn type_meta(json: &[u8]) -> Result<TypeMeta<'_>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Nullable<'a> {
        #[serde(borrow, default)]
        api_version: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        kind: Option<Cow<'a, str>>,
    }
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::Json("expected an object".to_owned()));
    }
    // Of repeated members the derived reader refuses the second one; upstream lets the last one win.
    match serde_json::from_slice::<Nullable<'_>>(json) {
        Ok(meta) => {
            Ok(TypeMeta { api_version: meta.api_version.unwrap_or_default(), kind: meta.kind.unwrap_or_default() })
        }
        Err(error) => {
            let Ok(Value::Object(map)) = serde_json::from_slice(json) else {
                return Err(Error::Json(error.to_string()));
            };
            let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(TypeMeta { api_version: text("apiVersion").into(), kind: text("kind").into() })
        }
    }
}

/// Parses `json` as a value of any type.
///
/// # Errors
/// With the parser's message, which names line and column.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|e| Error::Json(e.to_string()))
}

/// Parses an object.
///
/// # Errors
/// When `json` is malformed or something else than an object.
pub fn parse_object(json: &[u8]) -> Result<serde_json::Map<String, Value>, Error> {
    parse(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_meta_of_bodies() {
        let cases = [
            (r#"{"kind":"Pod","spec":{"a":[1]},"apiVersion":"v1"}"#, Some(("v1", "Pod"))),
            (r#"{"kind":null}"#, Some(("", ""))),
            (r#"{"kind":"A","kind":"B"}"#, Some(("", "B"))),
            (r#"{"kind":"P\u006fd"}"#, Some(("", "Pod"))),
            ("[]", None),
            ("{", None),
        ];
        for (json, want) in cases {
            let got = type_meta(json.as_bytes()).ok();
            let want = want.map(|(a, k)| TypeMeta { api_version: a.into(), kind: k.into() });
            assert_eq!(got, want, "{json}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse::<Value>("[".repeat(100_000).as_bytes()).is_err());
    }
}
