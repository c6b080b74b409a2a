//! What the cache knows about an object besides its bytes: labels and selectable field values.
//!
//! Both are packed into one allocation an object, separated by 0xFF, a byte that UTF-8 never uses.
use bytes::Bytes;

const SEPARATOR: u8 = 0xFF;

/// Turns stored bytes into [`Facts`]; the cache's only knowledge of a kind.
pub trait Extract: Send + Sync + 'static {
    /// `value` is what the store holds under `key`: storage-version JSON without a resource version
    /// (or a form that [`Facts::json`] replaces). Must be quick: it runs while the event is applied.
    ///
    /// # Errors
    /// A text for the log; an object that cannot be read is not served.
    fn extract(&self, key: &str, value: &Bytes) -> Result<Facts, String>;
}

/// The facts of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub labels: Labels,
    pub fields: Fields,
    /// The object as storage-version JSON, when what is stored is not that (protobuf, encryption).
    pub json: Option<Bytes>,
}

/// An object's labels in their written order, for lookups by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[u8]>);

/// Values of the selectable fields, by the position the kind gives them. An absent one is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Box<[u8]>);

fn pack<'a>(parts: impl Iterator<Item = &'a str>) -> Box<[u8]> {
    let mut packed = Vec::new();
    for part in parts {
        packed.extend_from_slice(part.as_bytes());
        packed.push(SEPARATOR);
    }
    packed.into_boxed_slice()
}

fn unpack(packed: &[u8]) -> impl Iterator<Item = &str> {
    packed.split_inclusive(|byte| *byte == SEPARATOR).filter_map(|part| {
        let text = part.strip_suffix(&[SEPARATOR])?;
        std::str::from_utf8(text).ok()
    })
}

impl Labels {
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Labels(pack(pairs.into_iter().flat_map(|(key, value)| [key, value])))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = unpack(&self.0);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

impl Fields {
    pub fn from_values<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Fields(pack(values.into_iter()))
    }

    /// Empty when the object has no such field.
    pub fn get(&self, position: usize) -> &str {
        unpack(&self.0).nth(position).unwrap_or_default()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_fields_round_trip() {
        let labels = Labels::from_pairs([("app", "web"), ("empty", ""), ("ключ", "значение")]);
        assert_eq!(labels.get("app"), Some("web"));
        assert_eq!(labels.get("empty"), Some(""));
        assert_eq!(labels.get("ключ"), Some("значение"));
        assert_eq!(labels.get("web"), None);
        assert_eq!(labels.iter().count(), 3);
        assert!(Labels::default().is_empty());

        let fields = Fields::from_values(["a", "", "c\u{0}d"]);
        assert_eq!([fields.get(0), fields.get(1), fields.get(2), fields.get(3)], ["a", "", "c\u{0}d", ""]);
    }
}
