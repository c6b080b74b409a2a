//! The order of merged lists: the patch's order holds for its items, the server's for the rest.
use super::Error;
use serde_json::Value;

/// How items of a list are told apart.
#[derive(Clone, Copy)]
pub enum Identity<'a> {
    Scalar,
    Key(&'a str),
}

impl<'a> Identity<'a> {
    pub fn of(self, item: &Value) -> Option<&Value> {
        match self {
            Identity::Scalar => Some(item),
            Identity::Key(key) => item.get(key),
        }
    }

    pub fn position(self, list: &[Value], item: &Value) -> Option<usize> {
        let identity = self.of(item)?;
        list.iter().position(|other| self.of(other) == Some(identity))
    }

    /// # Errors
    /// When a map item has no merge key.
    pub fn require(self, item: &Value) -> Result<&Value, Error> {
        let key = match self {
            Identity::Scalar => "",
            Identity::Key(key) => key,
        };
        self.of(item).ok_or_else(|| Error::NoMergeKey { map: shown(item), key: key.to_owned() })
    }
}

/// An object as Go's `%v` prints a map.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", shown(v))).collect();
            format!("map[{}]", parts.join(" "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// Sorts `list` as `order` has its items; those it does not have keep their places at the end.
pub fn sort_by(list: &mut [Value], order: &[Value], identity: Identity<'_>) {
    list.sort_by_key(|item| identity.position(order, item).unwrap_or(usize::MAX));
}

/// Puts `merged` into the order that the patch asks for, with items it does not name where the server had them.
pub fn normalize(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let (mut patched, mut server): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| identity.position(patch_order, item).is_some());
    sort_by(&mut patched, patch_order, identity);
    sort_by(&mut server, server_order, identity);
    let mut out = Vec::with_capacity(patched.len() + server.len());
    let mut patched = patched.into_iter().peekable();
    let mut server = server.into_iter().peekable();
    loop {
        let server_first = match (server.peek(), patched.peek()) {
            (Some(left), Some(right)) => {
                let places = (identity.position(server_order, left), identity.position(server_order, right));
                matches!(places, (Some(left), Some(right)) if left < right)
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        out.extend(if server_first { server.next() } else { patched.next() });
    }
}
