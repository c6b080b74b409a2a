//! The descriptions of all definitions and fields, unpacked while an OpenAPI document is being made and not longer.
use super::{Field, Schema, table::Table};
use flate2::read::DeflateDecoder;
use std::io::{self, Read};

/// Far above what the packed text comes to.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// About a megabyte of text.
pub struct Descriptions {
    text: String,
    /// End of each description, in the table's order.
    ends: Vec<u32>,
}

impl Descriptions {
    /// # Errors
    /// When the packed text is damaged.
    pub fn unpack() -> io::Result<Self> {
        let mut text = String::new();
        DeflateDecoder::new(super::compressed_descriptions()).take(BYTES_MAX).read_to_string(&mut text)?;
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == 0x1e).filter_map(|(i, _)| u32::try_from(i).ok());
        Ok(Descriptions { ends: ends.collect(), text })
    }

    fn at(&self, index: usize) -> &str {
        let start = index.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |end| *end as usize + 1);
        let end = self.ends.get(index).map_or(start, |end| *end as usize);
        self.text.get(start..end).unwrap_or_default()
    }

    /// Empty when there is none.
    pub fn of(&self, schema: Schema) -> &str {
        Table::get().description_index(schema.0).map_or("", |index| self.at(index))
    }

    /// `field` must be one of `schema`'s.
    pub fn of_field(&self, schema: Schema, field: Field) -> &str {
        let Some(index) = Table::get().description_index(schema.0) else { return "" };
        let Some((at, _)) = schema.field_index(field.name().as_bytes()) else { return "" };
        self.at(index + 1 + at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::schema::{all, named};

    #[test]
    fn descriptions_stand_by_their_fields() {
        let descriptions = Descriptions::unpack().unwrap();
        let pod = named("io.k8s.api.core.v1.Pod").unwrap();
        assert!(descriptions.of(pod).starts_with("Pod is a collection of containers"));
        let spec = named("io.k8s.api.core.v1.PodSpec").unwrap();
        assert!(descriptions.of_field(spec, spec.field("containers").unwrap()).starts_with("List of containers"));
        let last = all().last().unwrap();
        assert!(!descriptions.of(last).is_empty());
    }
}
