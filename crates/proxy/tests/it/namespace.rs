//! A node and a pod as network namespaces with a cable between them; gone when the value is dropped.
use nft::Nft;
use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Why these tests cannot run here.
pub fn reason_to_skip() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".into());
    }
    for program in [["ip", "-V"], ["nft", "-v"]] {
        if Command::new(program[0]).arg(program[1]).output().is_err() {
            return Some(format!("{} is not installed", program[0]));
        }
    }
    let probe = format!("fkp{}", std::process::id());
    let added = Command::new("ip").args(["netns", "add", &probe]).output().is_ok_and(|o| o.status.success());
    if !added {
        return Some("network namespaces cannot be made".into());
    }
    let nft = Command::new("ip").args(["netns", "exec", &probe, "nft", "add", "table", "ip", "x"]).output();
    let _ = Command::new("ip").args(["netns", "del", &probe]).output();
    (!nft.is_ok_and(|o| o.status.success())).then(|| "nftables does not work in a network namespace".into())
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

pub struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Self {
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        Namespace(name)
    }

    /// Runs something on a thread inside.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("the namespace is there");
        thread::scope(|scope| {
            let run = || {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(file.as_fd(), kind).expect("the namespace can be entered");
                work()
            };
            scope.spawn(run).join().expect("the thread ends well")
        })
    }

    pub fn connect(&self, target: &str) -> io::Result<()> {
        let address: SocketAddr = target.parse().expect("the test's target is an address");
        self.inside(|| TcpStream::connect_timeout(&address, TIMEOUT).map(drop))
    }

    pub fn listen(&self, ip: &str, port: u16) -> Server {
        let ip: IpAddr = ip.parse().expect("the test's address is one");
        let listener = self.inside(|| TcpListener::bind((ip, port))).expect("the address is free");
        listener.set_nonblocking(true).expect("sockets can be non-blocking");
        Server(listener)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

pub struct Server(TcpListener);

impl Server {
    fn take(&self) -> Option<SocketAddr> {
        self.0.accept().ok().map(|(_, peer)| peer)
    }

    /// The next client.
    pub fn accept(&self) -> SocketAddr {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(peer) = self.take() {
                return peer;
            }
            assert!(Instant::now() < deadline, "nobody connected");
            thread::yield_now();
        }
    }

    /// How many clients are waiting.
    pub fn drain(&self) -> usize {
        std::iter::from_fn(|| self.take()).count()
    }
}

pub struct Network {
    pub node: Namespace,
    pub pod: Namespace,
    pub node_ip: String,
    pub pod_ip: String,
    /// The pod's addresses, `pod_ip` first.
    pub pod_ips: [String; 2],
}

impl Network {
    /// `name` tells the networks of one process apart.
    pub fn new(name: &str) -> Self {
        let id = std::process::id();
        let (node, pod) = (Namespace::new(format!("fkn{id}{name}")), Namespace::new(format!("fkp{id}{name}")));
        let (n, p) = (&node.0, &pod.0);
        ip(&format!("-n {n} link add eth0 type veth peer name eth0 netns {p}"));
        ip(&format!("-n {n} addr add 10.244.0.1/24 dev eth0"));
        // The node's way out, with its address: also where traffic to cluster IPs would go.
        ip(&format!("-n {n} link add out0 type veth peer name out1"));
        ip(&format!("-n {n} addr add 192.168.77.2/24 dev out0"));
        ip(&format!("-n {p} addr add 10.244.0.2/24 dev eth0"));
        ip(&format!("-n {p} addr add 10.244.0.3/24 dev eth0"));
        for (namespace, device) in [(n, "eth0"), (n, "out0"), (n, "out1"), (p, "eth0")] {
            ip(&format!("-n {namespace} link set {device} up"));
        }
        ip(&format!("-n {n} route add default dev out0"));
        ip(&format!("-n {p} route add default via 10.244.0.1"));
        node.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).expect("forwarding can be switched on");
        let pod_ips = ["10.244.0.2".to_owned(), "10.244.0.3".to_owned()];
        Network { node, pod, node_ip: "192.168.77.2".into(), pod_ip: pod_ips[0].clone(), pod_ips }
    }

    pub fn nft(&self) -> Nft {
        Nft::through(&["ip", "netns", "exec", &self.node.0, "nft"])
    }

    /// Everything nftables has at the node.
    pub fn ruleset(&self) -> String {
        let output = Command::new("ip").args(["netns", "exec", &self.node.0, "nft", "list", "ruleset"]).output();
        String::from_utf8_lossy(&output.expect("nft runs").stdout).into_owned()
    }
}
