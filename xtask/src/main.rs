//! Tasks of maintainers: `cargo run -p xtask -- schema <definitions.json> <k8s-pb sources> <kubectl>` writes the
//! schema table of built-in kinds from upstream's published facts.
//!
//! The inputs: `v1.36.*-local/_definitions.json` of the PyPI package `kubernetes-validate` (upstream's OpenAPI
//! definitions), the `src` folder of the crate `k8s-pb`, and an official kubectl for linux/amd64 of the same or the
//! next minor version. `xtask layout <kubectl>` writes how the pod template is laid out in Go, and `xtask order <kubectl>`
//! the order of all fields in Go, from a kubectl of exactly our minor version. Which fields were left without a number is reported; alpha types may be.
mod definitions;
mod field_order;
mod go_layout;
mod go_types;
mod model;
mod prost_source;
mod write;

use anyhow::{Context, bail};
use std::path::Path;

const OUT: &str = "crates/apimachinery/src/schema";
const LAYOUT: &str = "crates/controllers/src/hash/pod_template.layout";

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["schema", definitions, k8s_pb, kubectl] => schema(definitions.as_ref(), k8s_pb.as_ref(), kubectl.as_ref()),
        ["layout", kubectl] => layout(kubectl.as_ref()),
        ["order", kubectl] => order(kubectl.as_ref()),
        _ => bail!(
            "usage: xtask schema <_definitions.json> <k8s-pb source folder> <kubectl executable>, layout <kubectl executable>, or \
             order <kubectl executable>"
        ),
    }
}

/// OpenAPI definitions say what there is; the Go types inside the official kubectl say how it is encoded; k8s-pb
/// fills in the types kubectl does not link, and the defaults.
fn schema(definitions: &Path, k8s_pb: &Path, kubectl: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(definitions).with_context(|| definitions.display().to_string())?;
    let mut model = definitions::read(&text)?;
    let executable = std::fs::read(kubectl).with_context(|| kubectl.display().to_string())?;
    let from_go = go_types::read(&executable)?;
    let from_prost = prost_source::read(k8s_pb)?;
    model.add_defaults(&from_prost);
    model.add_messages(from_go);
    model.compare(&from_prost);
    model.add_messages(from_prost);
    write::table(&model, Path::new(OUT).join("v1_36.table").as_path())?;
    write::descriptions(&model, Path::new(OUT).join("v1_36.descriptions").as_path())?;
    model.report();
    Ok(())
}

/// How the pod template of that very minor version looks in Go.
fn layout(kubectl: &Path) -> anyhow::Result<()> {
    let executable = std::fs::read(kubectl).with_context(|| kubectl.display().to_string())?;
    std::fs::write(LAYOUT, go_layout::pod_template(&executable)?).context(LAYOUT)
}

/// The order of fields in Go, of every definition in the table.
fn order(kubectl: &Path) -> anyhow::Result<()> {
    let executable = std::fs::read(kubectl).with_context(|| kubectl.display().to_string())?;
    let table = std::fs::read_to_string(Path::new(OUT).join("v1_36.table"))?;
    std::fs::write(Path::new(OUT).join("v1_36.order"), field_order::lines(&executable, &table)?).context(OUT)
}
