//! Writes in which order Go's structures name their fields, which is the order of the JSON of typed objects.
//!
//! One line a definition of the schema table with several fields: its name without `io.k8s.`, and its JSON names,
//! those of inlined structures where these stand.
use crate::go_types::Image;
use std::fmt::Write as _;

/// The lines for the definitions of `table`, as it is written beside.
pub fn lines(executable: &[u8], table: &str) -> anyhow::Result<String> {
    let image = Image::new(executable)?;
    let types = image.definitions()?;
    let mut out = String::new();
    let names = table.lines().filter_map(|line| line.strip_prefix('@')?.split(' ').next());
    for name in names {
        let Some(at) = types.get(name) else { continue };
        let mut fields = Vec::new();
        flatten(&image, *at, &mut fields)?;
        if fields.len() > 1 {
            let _ = writeln!(out, "{name} {}", fields.join(" "));
        }
    }
    Ok(out)
}

fn flatten(image: &Image<'_>, at: u64, names: &mut Vec<String>) -> anyhow::Result<()> {
    for field in image.fields(at)? {
        match field.tag("json").unwrap_or_default().split(',').next().unwrap_or_default() {
            "-" => {}
            "" => flatten(image, field.type_at, names)?,
            name => names.push(name.to_owned()),
        }
    }
    Ok(())
}
