//! A cluster for one test.
//!
//! Its guardian is a shell that waits for this process to end and then deletes the cluster: also when the
//! test panics, is killed, or runs out of time.
use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The binary under test.
pub const FERROKUBE: &str = env!("CARGO_BIN_EXE_ferrokube");

/// Long enough for a loaded CI machine; nothing waits this long when it works.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long the machine may take to run one container without us.
const BARE_CONTAINER_TIMEOUT_S: &str = "30";

/// Why whole clusters cannot run here, if they cannot.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| {
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|f| f.join(program).is_file())
    };
    let absent = ["containerd", "runc", "nft", "iptables"].into_iter().find(|p| !there(p));
    absent.map(|p| format!("{p} is not installed")).or_else(|| bare_container().err())
}

/// Run a container with nothing but `runc`: a kernel that is out of network namespaces, or whose cgroups cannot be
/// written, fails every cluster, and that is not for these tests to find.
fn bare_container() -> Result<(), String> {
    let folder = tempfile::Builder::new().prefix("ferrokube-bare-").tempdir().map_err(|e| e.to_string())?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).is_file());
    let Some(busybox) = busybox else { return Ok(()) };
    let root = folder.path().join("rootfs/bin");
    std::fs::create_dir_all(&root).and_then(|()| std::fs::copy(busybox, root.join("sh"))).map_err(|e| e.to_string())?;
    let namespaces: Vec<_> =
        ["pid", "network", "ipc", "uts", "mount"].map(|kind| serde_json::json!({"type": kind})).into();
    let name = format!("ferrokube-bare-{}", std::process::id());
    // Those that containerd gives every container.
    let capabilities: Vec<String> =
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW \
                                     SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP"
            .split(' ')
            .map(|short| format!("CAP_{short}"))
            .collect();
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", "true"], "cwd": "/", "env": [],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": namespaces, "cgroupsPath": format!("/{name}")},
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).map_err(|e| e.to_string())?;
    let runc = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"].into_iter().find(|p| Path::new(p).is_file());
    let ran = run(Command::new("timeout")
        .args(["--kill-after=5", BARE_CONTAINER_TIMEOUT_S, runc.unwrap_or("runc"), "run", &name])
        .current_dir(folder.path()));
    if ran.success {
        return Ok(());
    }
    run(Command::new(runc.unwrap_or("runc")).args(["delete", "--force", &name]));
    Err(format!("this machine cannot run a container, with runc alone and none of ours: {}", ran.stderr.trim()))
}

/// Leave the test, saying why, where whole clusters cannot run.
#[macro_export]
macro_rules! needs_containers {
    () => {
        if let Some(why) = $crate::fixture::missing() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

/// A port nobody listens on right now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A command's whole output, shown when it failed.
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub success: bool,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            success: output.status.success(),
        }
    }
}

pub fn run(command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).output().expect("the command runs").into()
}

/// The last lines of a text, none of them endless.
fn end_of(text: &str, lines: usize) -> String {
    let all: Vec<String> = text.lines().map(|line| line.chars().take(400).collect()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// One cluster, not yet started.
pub struct Cluster {
    pub name: String,
    pub port: u16,
    folder: tempfile::TempDir,
    guardian: Option<Child>,
}

impl Cluster {
    /// A data directory, a port and, by this process's ID, a name of its own: what another run left behind, or one
    /// beside this, is not in the way. The guardian watches from now on.
    pub fn new(name: &str) -> Cluster {
        let name = format!("{name}-{}", std::process::id());
        let folder = tempfile::Builder::new().prefix("ferrokube-test-").tempdir().expect("a folder");
        let mut cluster = Cluster { name, port: free_port(), folder, guardian: None };
        let script = "read -r _; \"$0\" delete --data-dir \"$1\" >/dev/null 2>&1; rm -rf \"$2\"";
        let mut guardian = Command::new("sh");
        guardian.args(["-c", script, FERROKUBE]).arg(cluster.data_dir()).arg(cluster.folder.path());
        guardian.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        cluster.guardian = Some(guardian.spawn().expect("the guardian starts"));
        cluster
    }

    /// A cluster that is Ready.
    pub fn started(name: &str) -> Cluster {
        let cluster = Cluster::new(name);
        let ran = cluster.start();
        assert!(ran.success, "start failed:\n{}\n{}\n{}", ran.stdout, ran.stderr, cluster.log_end());
        cluster
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    /// `ferrokube <words> --data-dir …`, with a kubeconfig of the test's own.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(FERROKUBE);
        command.args(words).arg("--data-dir").arg(self.data_dir());
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command
    }

    pub fn start(&self) -> Ran {
        let port = self.port.to_string();
        run(self.command(&["start", "--name", &self.name, "--api-port", &port]).current_dir("/"))
    }

    pub fn ferrokube(&self, words: &[&str]) -> Ran {
        run(&mut self.command(words))
    }

    pub fn log_end(&self) -> String {
        end_of(&std::fs::read_to_string(self.data_dir().join("logs/ferrokube.log")).unwrap_or_default(), 60)
    }

    /// What somebody who cannot look at the machine needs to know.
    fn tell(&self) {
        let ask = |words: &[&str]| run(&mut self.kubectl_command(words));
        for words in [
            &["get", "nodes,pods", "-A", "-o", "wide"][..],
            &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"],
            &["describe", "pods", "-A"],
        ] {
            let Ran { stdout, stderr, .. } = ask(words);
            eprintln!("--- kubectl {}\n{}{stderr}", words.join(" "), end_of(&stdout, 80));
        }
        eprintln!("--- the cluster's log\n{}", self.log_end());
        let containerd = std::fs::read_to_string(self.data_dir().join("logs/containerd.log")).unwrap_or_default();
        eprintln!("--- containerd's log\n{}", end_of(&containerd, 25));
        eprintln!("--- dmesg\n{}", end_of(&run(&mut Command::new("dmesg")).stdout, 10));
    }

    /// Our kubectl, as this cluster's administrator.
    pub fn kubectl_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(FERROKUBE);
        command.arg("kubectl").arg("--kubeconfig").arg(self.kubeconfig()).args(words);
        command
    }

    /// Standard output of a kubectl command that has to succeed.
    pub fn kubectl(&self, words: &[&str]) -> String {
        let ran = run(&mut self.kubectl_command(words));
        assert!(ran.success, "kubectl {}: {}\n{}", words.join(" "), ran.stderr, self.log_end());
        ran.stdout
    }

    /// Wait until a JSONPath of an object has a value.
    pub fn wait_for(&self, object: &[&str], jsonpath: &str, want: &str) {
        let output = format!("jsonpath={jsonpath}");
        let mut words = vec!["get"];
        words.extend(object);
        words.extend(["-o", &output]);
        let mut last = String::new();
        eventually(&format!("{} {jsonpath} = {want}", object.join(" ")), || {
            last = run(&mut self.kubectl_command(&words)).stdout;
            if last == want { Ok(()) } else { Err(format!("it is {last:?}")) }
        });
    }

    /// The process ID of the cluster's process.
    pub fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.data_dir().join("lock")).expect("the lock");
        text.trim().parse().expect("a process ID")
    }

    /// The process IDs of the shims of the cluster's containerd.
    pub fn shims(&self) -> Vec<i32> {
        let socket = format!("/run/ferrokube/{}/containerd.sock", self.name);
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let command = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pids.filter(|pid| command(pid).contains("containerd-shim") && command(pid).contains(&socket)).collect()
    }

    /// The process ID of the cluster's containerd.
    pub fn containerd_pid(&self) -> i32 {
        let file = Path::new("/run/ferrokube").join(&self.name).join("containerd.pid");
        std::fs::read_to_string(file).expect("containerd's process ID").trim().parse().expect("a number")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() && self.kubeconfig().exists() {
            self.tell();
        }
        if let Some(mut guardian) = self.guardian.take() {
            if let Some(mut stdin) = guardian.stdin.take() {
                let _ = writeln!(stdin);
            }
            let _ = guardian.wait();
        }
    }
}

/// SIGKILL, with no wait for what the kernel does then.
pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process ID");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it can be killed");
}

/// Try until it holds.
///
/// # Panics
/// It does not within [`PATIENCE`]; the message holds the last reason.
pub fn eventually(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match holds() {
            Ok(()) => return,
            Err(why) if Instant::now() > deadline => panic!("{what}: {why}"),
            Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}

/// GET over plain HTTP; the body.
pub fn http_get(address: &str, port: u16) -> Result<String, String> {
    use std::io::Read;
    let target = format!("{address}:{port}").parse().map_err(|e| format!("{e}"))?;
    let timeout = Duration::from_secs(2);
    let mut stream = std::net::TcpStream::connect_timeout(&target, timeout).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(timeout)).map_err(|e| e.to_string())?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").map_err(|e| e.to_string())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(|e| e.to_string())?;
    Ok(reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(reply))
}
