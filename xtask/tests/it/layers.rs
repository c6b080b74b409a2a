//! Dependencies between our crates go strictly downward, and are the ones written down in `crate-graph.txt`.
//!
//! Components (one layer) so never depend on each other: they meet in the API.
use super::root;
use std::{collections::BTreeMap, fs, process::Command};

const GOLDEN: &str = "xtask/tests/it/crate-graph.txt";

struct Crate {
    layer: u64,
    /// Our own crates that it depends on, dev-dependencies left out.
    uses: Vec<String>,
}

fn crates() -> BTreeMap<String, Crate> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours = |name: &str| packages.iter().any(|p| p["name"] == name);
    let describe = |package: &serde_json::Value| {
        let name = package["name"].as_str().expect("a name").to_owned();
        let layer = package["metadata"]["ferrokube"]["layer"].as_u64();
        let layer =
            layer.unwrap_or_else(|| panic!("{name}: its manifest states no [package.metadata.ferrokube] layer"));
        let mut uses: Vec<String> = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|d| d["kind"] != "dev")
            .filter_map(|d| d["name"].as_str())
            .filter(|d| ours(d))
            .map(str::to_owned)
            .collect();
        uses.sort();
        (name, Crate { layer, uses })
    };
    packages.iter().map(describe).collect()
}

#[test]
fn dependencies_go_strictly_downward() {
    let crates = crates();
    for (name, this) in &crates {
        for used in &this.uses {
            let below = crates[used].layer;
            // Layer 3 holds what stands beside each other: storage, client, pki, telemetry, cri, nft.
            assert!(below < this.layer, "{name} (layer {}) uses {used} (layer {below})", this.layer);
        }
    }
}

#[test]
fn the_crate_graph_is_the_one_written_down() {
    let lines = crates().into_iter().map(|(name, this)| format!("{} {name}: {}\n", this.layer, this.uses.join(" ")));
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    let graph = lines.concat();
    let path = root().join(GOLDEN);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &graph).expect("written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, graph, "the crate graph changed: if that is meant, run this test with UPDATE_GOLDEN=1");
}
