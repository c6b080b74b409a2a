//! The cluster's authority, and every certificate and kubeconfig that it issues.
//!
//! Source: "PKI certificates and requirements"; file names are kubeadm's, so that upstream components
//! find what they expect. What exists and is valid is kept; what would expire within
//! [`RENEW_BEFORE_DAYS`] is made anew.
use super::layout::{Cluster, Layout};
use anyhow::{Context, Result};
use pki::{Authority, Request, Usage};
use std::{fs, net::IpAddr};

const RENEW_BEFORE_DAYS: i64 = 30;

struct Leaf {
    file: &'static str,
    request: Request,
}

fn leaf(file: &'static str, common_name: &str, groups: &[&str], usage: Usage) -> Leaf {
    let organizations = groups.iter().map(|&g| g.to_owned()).collect();
    Leaf { file, request: Request { common_name: common_name.to_owned(), organizations, usage, ..Request::default() } }
}

const CLIENT: Usage = Usage { server: false, client: true };
const SERVER: Usage = Usage { server: true, client: false };

fn leaves(cluster: &Cluster) -> Result<Vec<Leaf>> {
    let node = format!("system:node:{}", cluster.node_name);
    let mut api = leaf("apiserver", "kube-apiserver", &[], SERVER);
    let hosts = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    api.request.dns = hosts.iter().map(|&h| h.to_owned()).chain([cluster.node_name.clone()]).collect();
    api.request.ips = vec![
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        cluster.node_ip.into(),
        cluster.service_ip(1)?.into(),
    ];
    let mut kubelet = leaf("kubelet", &node, &["system:nodes"], SERVER);
    kubelet.request.dns = vec![cluster.node_name.clone(), "localhost".into()];
    kubelet.request.ips = vec![cluster.node_ip.into(), IpAddr::from([127, 0, 0, 1])];
    Ok(vec![
        api,
        kubelet,
        leaf("admin", "kubernetes-admin", &["system:masters"], CLIENT),
        leaf("apiserver-kubelet-client", "kube-apiserver-kubelet-client", &["system:masters"], CLIENT),
        leaf("kube-scheduler", "system:kube-scheduler", &[], CLIENT),
        leaf("kube-controller-manager", "system:kube-controller-manager", &[], CLIENT),
        leaf("kube-proxy", "system:kube-proxy", &[], CLIENT),
        leaf("node", &node, &["system:nodes"], CLIENT),
    ])
}

fn authority(layout: &Layout) -> Result<Authority> {
    let (cert, key) = (layout.pki("ca.crt"), layout.pki("ca.key"));
    if let (Ok(cert), Ok(key)) = (fs::read_to_string(&cert), fs::read_to_string(&key)) {
        return Authority::load(&cert, &key)
            .with_context(|| format!("the cluster's CA in {}", layout.pki("").display()));
    }
    let made = Authority::generate("kubernetes")?;
    // The key first: a certificate alone would look like a CA somebody else holds the key of.
    pki::write_private(&key, made.key_pem().as_bytes())?;
    pki::write_public(&cert, made.cert_pem().as_bytes())?;
    Ok(made)
}

fn valid(layout: &Layout, leaf: &Leaf) -> bool {
    let Ok(text) = fs::read_to_string(layout.pki(&format!("{}.crt", leaf.file))) else { return false };
    layout.pki(&format!("{}.key", leaf.file)).exists() && pki::covers(&text, &leaf.request, RENEW_BEFORE_DAYS)
}

/// Make what is missing: CA, certificates, service-account key, `admin.kubeconfig` and one kubeconfig a component.
///
/// # Errors
/// The data directory cannot be written, or holds a CA that cannot be read.
pub fn ensure(layout: &Layout, cluster: &Cluster) -> Result<()> {
    let folder = layout.pki("");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let ca = authority(layout)?;
    for leaf in leaves(cluster)? {
        if valid(layout, &leaf) {
            continue;
        }
        let pair = ca.issue(&leaf.request)?;
        pki::write_private(&layout.pki(&format!("{}.key", leaf.file)), pair.key_pem.as_bytes())?;
        pki::write_public(&layout.pki(&format!("{}.crt", leaf.file)), pair.cert_pem.as_bytes())?;
    }
    if !layout.pki("sa.key").exists() || !layout.pki("sa.pub").exists() {
        let (private, public) = pki::service_account::generate_key()?;
        pki::write_public(&layout.pki("sa.pub"), public.as_bytes())?;
        pki::write_private(&layout.pki("sa.key"), private.as_bytes())?;
    }
    with_entry(layout, cluster, "admin", |entry| Ok(pki::kubeconfig::write(&layout.admin_kubeconfig(), entry)?))?;
    for component in ["kube-scheduler", "kube-controller-manager", "kube-proxy", "node"] {
        let path = layout.pki(&format!("{component}.kubeconfig"));
        with_entry(layout, cluster, component, |entry| Ok(pki::kubeconfig::write(&path, entry)?))?;
    }
    Ok(())
}

/// Hand the kubeconfig entry of one identity to `act`.
///
/// # Errors
/// The files cannot be read, or `act` fails.
pub fn with_entry<T>(
    layout: &Layout,
    cluster: &Cluster,
    identity: &str,
    act: impl FnOnce(&pki::kubeconfig::Entry<'_>) -> Result<T>,
) -> Result<T> {
    let read = |file: String| {
        let path = layout.pki(&file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let (ca, cert, key) = (read("ca.crt".into())?, read(format!("{identity}.crt"))?, read(format!("{identity}.key"))?);
    let server = cluster.api_url();
    act(&pki::kubeconfig::Entry { name: &cluster.name, server: &server, ca_pem: &ca, cert_pem: &cert, key_pem: &key })
}
