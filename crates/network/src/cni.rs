//! The CNI network configuration list that the container runtime reads.
//!
//! Source: CNI specification 1.0; the plugins are the reference ones (`bridge`, `host-local`, `portmap`).
use crate::{Error, Options, cidr::Cidr};
use serde_json::json;

const FILE: &str = "10-ferrokube.conflist";

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

/// Write the configuration, whole or not at all, and only when it differs.
pub(crate) fn write(options: &Options, subnet: Cidr) -> Result<(), Error> {
    let path = options.cni_conf_dir.join(FILE);
    let wrap = |source| Error::File { path: path.clone(), source };
    let text = conflist(options, subnet).to_string();
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::create_dir_all(&options.cni_conf_dir).map_err(wrap)?;
    let partial = options.cni_conf_dir.join(".ferrokube.partial");
    std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, &path)).map_err(wrap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_written_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let options = Options {
            node_name: "n".into(),
            bridge: "fk0".into(),
            cluster_cidr: "10.244.0.0/16".parse().expect("a CIDR"),
            cni_conf_dir: dir.path().join("net.d"),
            ipam_dir: dir.path().join("ipam"),
            table: "t".into(),
        };
        let subnet = "10.244.0.0/24".parse().expect("a CIDR");
        write(&options, subnet).expect("written");
        let path = options.cni_conf_dir.join(FILE);
        let made = std::fs::metadata(&path).expect("there").modified().expect("time");
        write(&options, subnet).expect("again");
        assert_eq!(std::fs::metadata(&path).expect("there").modified().expect("time"), made);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(r#""ranges":[[{"subnet":"10.244.0.0/24"}]]"#), "{text}");
    }
}
