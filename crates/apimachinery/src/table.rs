//! Server-side printing: the columns and cells of a `meta.k8s.io/v1` `Table`.
//!
//! Source: API concepts, "Receiving resources as Tables".

/// One column of a kind's table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Column {
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `date`, …
    #[serde(rename = "type")]
    pub type_: &'static str,
    pub format: &'static str,
    pub description: &'static str,
    /// 0 shows always, 1 only with `-o wide`.
    pub priority: i32,
}

/// A cell as JSON: kubectl right-aligns nothing but sorts and prints numbers as such.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Cell {
    Text(String),
    Integer(i64),
    Bool(bool),
    Null,
}

/// One object's cells, in the order of the kind's columns.
pub type Row = Vec<Cell>;

impl From<&str> for Cell {
    fn from(s: &str) -> Self {
        Cell::Text(s.to_owned())
    }
}

impl From<String> for Cell {
    fn from(s: String) -> Self {
        Cell::Text(s)
    }
}

impl From<i64> for Cell {
    fn from(n: i64) -> Self {
        Cell::Integer(n)
    }
}

impl From<bool> for Cell {
    fn from(b: bool) -> Self {
        Cell::Bool(b)
    }
}
