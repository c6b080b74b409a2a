//! Where a cluster's files are, and the options that it was made with.
use anyhow::{Context, Result, bail};
use network::cidr::Cidr;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    net::Ipv4Addr,
    path::{Component, Path, PathBuf},
};

/// Raised when a new release writes what an old one cannot read.
pub const FORMAT: u32 = 1;
pub const FILE: &str = "cluster.json";
/// Holds a folder for each cluster of this machine.
pub const RUN: &str = "/run/ferrokube";

/// A cluster's options, fixed when it is first started; `cluster.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    pub format: u32,
    pub name: String,
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    pub api_port: u16,
    pub kubelet_port: u16,
    pub dns_port: u16,
    pub service_cidr: String,
    pub pod_cidr: String,
    /// A CRI socket that is not ours; empty when we run containerd ourselves.
    #[serde(default)]
    pub container_runtime_endpoint: String,
}

/// What is there of a cluster that did not come up: it says why.
const REMAINS: [&str; 2] = ["lock", "logs"];

impl Cluster {
    /// The `n`th service address: the first is `kubernetes.default`, the tenth DNS.
    pub fn service_ip(&self, n: u32) -> Result<Ipv4Addr> {
        Ok(self.service_cidr.parse::<Cidr>()?.host(n))
    }

    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// The bridge's name: interface names end at 15 characters, so long names are shortened to a hash.
    pub fn bridge(&self) -> String {
        let plain = format!("{}0", self.name);
        if plain.len() <= 15 {
            return plain;
        }
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(self.name.as_bytes());
        let hex: String = digest.iter().take(5).map(|b| format!("{b:02x}")).collect();
        format!("fk-{hex}0")
    }

    pub fn proxy_table(&self) -> String {
        if self.name == "ferrokube" { "kube-proxy".into() } else { format!("kube-proxy-{}", self.name) }
    }

    pub fn network_table(&self) -> String {
        format!("pod-network-{}", self.name)
    }

    /// Relative to the root of each cgroup hierarchy. Never the root itself: another kubelet's `kubepods` may be there.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.name)
    }
}

/// `path`, which is absolute, as the mount table would show it: without links and `..`. What does not exist yet is
/// taken as it is written.
fn real_path(path: &Path) -> Result<PathBuf> {
    let mut missing = Vec::new();
    let mut parts = path.components();
    loop {
        let there = parts.as_path();
        match there.canonicalize() {
            Ok(mut real) => {
                for part in missing.into_iter().rev() {
                    match part {
                        Component::ParentDir => drop(real.pop()),
                        part => real.push(part),
                    }
                }
                return Ok(real);
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                missing.extend(parts.next_back());
            }
            Err(e) => return Err(e).with_context(|| format!("finding {}", there.display())),
        }
    }
}

/// The files of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: &Path) -> Result<Self> {
        Ok(Layout { root: real_path(&std::env::current_dir()?.join(root))? })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.root.join("admin.kubeconfig")
    }

    pub fn log(&self, component: &str) -> PathBuf {
        self.root.join("logs").join(format!("{component}.log"))
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Run-time state: gone after a reboot, as sockets and container state have to be.
    pub fn run(&self, name: &str) -> PathBuf {
        Path::new(RUN).join(name)
    }

    /// The data directory of the cluster of this machine with that name.
    pub fn of_name(name: &str) -> Option<PathBuf> {
        Some(fs::read_to_string(Path::new(RUN).join(name).join("owner")).ok()?.into())
    }

    /// The cluster that ran from this directory, whose files somebody has removed.
    pub fn orphan(&self) -> Option<Cluster> {
        if self.path(FILE).exists() {
            return None;
        }
        let folders = fs::read_dir(RUN).into_iter().flatten().flatten();
        let of_ours = |run: &PathBuf| fs::read_to_string(run.join("owner")).is_ok_and(|o| Path::new(&o) == self.root);
        let run = folders.map(|folder| folder.path()).find(of_ours)?;
        serde_json::from_slice(&fs::read(run.join(FILE)).ok()?).ok()
    }

    /// `None` when there is no cluster in the directory.
    ///
    /// # Errors
    /// What is there was made by a newer release, or by something else, or it has been removed under a cluster.
    pub fn load(&self) -> Result<Option<Cluster>> {
        let path = self.root.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                if let Some(cluster) = self.orphan() {
                    let (root, name) = (self.root.display(), cluster.name);
                    bail!(
                        "the files of cluster {name} are gone from {root}, and what else it left on this machine is \
                         not: `ferrokube delete --data-dir {root}` takes it away"
                    );
                }
                return self.foreign().map(|()| None);
            }
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = || format!("{} is damaged: it does not describe a cluster", path.display());
        let version: Version = serde_json::from_str(&text).with_context(damaged)?;
        if version.format > FORMAT {
            bail!(
                "{} was made by a newer ferrokube (format {}, this one knows up to {FORMAT}): use that release, or \
                 another --data-dir",
                self.root.display(),
                version.format
            );
        }
        Ok(Some(serde_json::from_str(&text).with_context(damaged)?))
    }

    /// An error when the directory holds something that is not ours.
    fn foreign(&self) -> Result<()> {
        let mut entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                bail!("{} is a file, not a directory: choose another --data-dir", self.root.display())
            }
            Err(e) => return Err(e).with_context(|| format!("reading {}", self.root.display())),
        };
        let known = REMAINS.iter().chain(&["lost+found"]);
        match entries.find(|e| e.as_ref().is_ok_and(|e| !known.clone().any(|k| e.file_name() == *k))) {
            None => Ok(()),
            Some(_) => bail!(
                "{} is not empty and holds no ferrokube cluster: choose an empty or new --data-dir",
                self.root.display()
            ),
        }
    }

    /// Remove what a cluster that did not come up left for its user to read. Whether there was any.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_remains(&self) -> Result<bool> {
        let log = self.log("ferrokube");
        if !log.exists() {
            return Ok(false);
        }
        fs::remove_file(&log).with_context(|| format!("removing {}", log.display()))?;
        for file in [self.log("containerd"), self.lock()] {
            let _ = fs::remove_file(file);
        }
        // Fails where somebody else has something in it.
        let _ = fs::remove_dir(self.path("logs")).and_then(|()| fs::remove_dir(&self.root));
        Ok(true)
    }

    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self, cluster: &Cluster) -> Result<()> {
        Ok(pki::write_public(&self.root.join(FILE), &serde_json::to_vec_pretty(cluster)?)?)
    }

    /// Write down whose the cluster's name is, for the other clusters of this machine, and for [`Layout::orphan`].
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn claim(&self, cluster: &Cluster) -> Result<()> {
        let run = self.run(&cluster.name);
        fs::create_dir_all(&run).with_context(|| format!("creating {}", run.display()))?;
        pki::write_public(&run.join(FILE), &serde_json::to_vec_pretty(cluster)?)?;
        Ok(pki::write_public(&run.join("owner"), self.root.as_os_str().as_encoded_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> Cluster {
        Cluster {
            format: FORMAT,
            name: name.into(),
            node_name: name.into(),
            node_ip: Ipv4Addr::LOCALHOST,
            api_port: 6443,
            kubelet_port: 10250,
            dns_port: 53,
            service_cidr: "10.96.0.0/12".into(),
            pod_cidr: "10.244.0.0/16".into(),
            container_runtime_endpoint: String::new(),
        }
    }

    #[test]
    fn names_fit_where_they_go() {
        assert_eq!(cluster("ferrokube").bridge(), "ferrokube0");
        assert!(cluster("a-name-that-is-much-longer-than-an-interface").bridge().len() <= 15);
        assert_eq!(cluster("ferrokube").service_ip(10).expect("address").to_string(), "10.96.0.10");
    }

    #[test]
    fn the_root_is_where_the_mount_table_shows_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let real = dir.path().canonicalize().expect("real").join("real");
        fs::create_dir(&real).expect("made");
        std::os::unix::fs::symlink(&real, dir.path().join("link")).expect("linked");
        for (path, want) in [
            ("link", real.clone()),
            ("link/data", real.join("data")),
            ("real/../link/a/b", real.join("a/b")),
            ("link/a/../b", real.join("b")),
            ("real/.", real.clone()),
        ] {
            let layout = Layout::new(&dir.path().join(path)).expect("layout");
            assert_eq!(layout.root(), want, "{path}");
        }
    }

    #[test]
    fn of_what_remains_only_our_own_is_removed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let layout = Layout::new(&dir.path().join("data")).expect("layout");
        let logs = layout.path("logs");
        fs::create_dir_all(&logs).expect("made");
        fs::write(logs.join("others.log"), "precious").expect("written");
        assert!(!layout.remove_remains().expect("nothing of ours"));
        fs::write(layout.log("ferrokube"), "why").expect("written");
        assert!(layout.remove_remains().expect("removed"));
        assert!(logs.join("others.log").exists() && !layout.log("ferrokube").exists());
        fs::remove_file(logs.join("others.log")).expect("removed");
        fs::write(layout.log("ferrokube"), "why").expect("written");
        assert!(layout.remove_remains().expect("removed"));
        assert!(!layout.root().exists());
    }

    #[test]
    fn a_foreign_or_newer_directory_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let layout = Layout::new(dir.path()).expect("layout");
        assert_eq!(layout.load().expect("empty is fine"), None);
        layout.save(&cluster("a")).expect("saved");
        assert_eq!(layout.load().expect("ours"), Some(cluster("a")));
        layout.save(&Cluster { format: FORMAT + 1, ..cluster("a") }).expect("saved");
        assert!(layout.load().expect_err("newer").to_string().contains("newer ferrokube"));
        let file = Layout::new(&dir.path().join(FILE)).expect("layout").load().expect_err("a file");
        assert!(file.to_string().contains("is a file, not a directory"), "{file}");
        fs::remove_file(dir.path().join(FILE)).expect("removed");
        fs::write(dir.path().join("precious"), "data").expect("written");
        assert!(layout.load().expect_err("foreign").to_string().contains("holds no ferrokube cluster"));
    }
}
