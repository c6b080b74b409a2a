//! The CNI network configuration list that the container runtime reads.
//!
//! Source: CNI specification 1.0; the plugins are the reference ones (`bridge`, `host-local`, `portmap`).
use crate::{Error, Options, cidr::Cidr};
use serde_json::json;
use std::path::{Path, PathBuf};

fn conflist(options: &Options, subnet: Cidr) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "ferrokube",
        "plugins": [
            {
                "type": "bridge",
                "bridge": options.bridge,
                "isDefaultGateway": true,
                "hairpinMode": true,
                // Masquerading is ours (one nftables table), not the plugin's (iptables rules a pod).
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": options.ipam_dir,
                    "ranges": [[{"subnet": subnet.to_string()}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Somebody else's configuration in the same folder; the endings are those that runtimes read.
fn other(file: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(file.parent()?).ok()?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path != file);
    paths.into_iter().find(|path| path.extension().is_some_and(|e| e == "conf" || e == "conflist" || e == "json"))
}

/// Write the configuration, whole or not at all, and only when it differs.
pub(crate) fn write(options: &Options, subnet: Cidr) -> Result<(), Error> {
    let path = &options.cni_file;
    if let Some(other) = other(path) {
        tracing::info!(path = %other.display(), "the container runtime has a pod network, which is used");
        return Ok(());
    }
    let wrap = |source| Error::File { path: path.clone(), source };
    let text = conflist(options, subnet).to_string();
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrap)?;
    }
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, path)).map_err(wrap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path) -> Options {
        Options {
            node_name: "n".into(),
            bridge: "fk0".into(),
            cluster_cidr: "10.244.0.0/16".parse().expect("a CIDR"),
            cni_file: dir.join("net.d/10-fk0.conflist"),
            ipam_dir: dir.join("ipam"),
            table: "t".into(),
        }
    }

    #[test]
    fn the_file_is_written_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let options = options(dir.path());
        let subnet = "10.244.0.0/24".parse().expect("a CIDR");
        write(&options, subnet).expect("written");
        let path = &options.cni_file;
        let made = std::fs::metadata(path).expect("there").modified().expect("time");
        write(&options, subnet).expect("again");
        assert_eq!(std::fs::metadata(path).expect("there").modified().expect("time"), made);
        let text = std::fs::read_to_string(path).expect("readable");
        assert!(text.contains(r#""ranges":[[{"subnet":"10.244.0.0/24"}]]"#), "{text}");
    }
    #[test]
    fn somebody_elses_network_is_left_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let options = options(dir.path());
        std::fs::create_dir(dir.path().join("net.d")).expect("made");
        std::fs::write(dir.path().join("net.d/05-calico.conflist"), "{}").expect("written");
        write(&options, "10.244.0.0/24".parse().expect("a CIDR")).expect("nothing to do");
        assert!(!options.cni_file.exists());
    }
}
