//! The order of fields in Go's structures, which is that of the JSON that typed clients print.
//!
//! The facts are in `v1_36.order`, which the xtask generates: a line a definition, its name and its fields' names.
use super::Schema;
use std::{collections::BTreeMap, sync::LazyLock};

static LINES: LazyLock<BTreeMap<&'static str, &'static str>> =
    LazyLock::new(|| include_str!("v1_36.order").lines().filter_map(|line| line.split_once(' ')).collect());

impl Schema {
    /// Where a field stands in the Go structure, counted from 0; `None` for unknown fields, and for types that no Go
    /// structure is known of.
    pub fn go_position(self, field: &str) -> Option<usize> {
        LINES.get(self.short_name())?.split(' ').position(|name| name == field)
    }
}

#[cfg(test)]
mod tests {
    use crate::schema;

    #[test]
    fn fields_stand_as_in_go() {
        let position = |kind: &str, field: &str| schema::of("", "v1", kind).and_then(|s| s.go_position(field));
        assert_eq!(position("Pod", "kind"), Some(0));
        assert_eq!(position("Pod", "status"), Some(4));
        assert_eq!(position("Pod", "nothing"), None);
    }
}
