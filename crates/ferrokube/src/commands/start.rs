//! `ferrokube start`, and the process that it starts.
use super::{check_name, inspect, user_kubeconfig};
use crate::{
    cli::Start,
    cluster::{
        credentials, daemon,
        layout::{Cluster, FORMAT, Layout, RUN},
        lifecycle, preflight, process,
        steps::Reporter,
    },
    memory,
    output::told,
};
use anyhow::{Context, Result, bail};
use network::cidr::Cidr;
use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

const DEFAULT_SERVICE_CIDR: &str = "10.96.0.0/12";
/// As upstream's `--service-cluster-ip-range`.
const SERVICE_PREFIX_MIN: u8 = 12;
const DEFAULT_POD_CIDR: &str = "10.244.0.0/16";
const KUBELET_PORT: u16 = 10250;
const DNS_PORT: u16 = 10053;
/// How long a process that holds the lock may take to be Ready, or to be gone.
const RUNNING_PATIENCE: Duration = Duration::from_secs(60);
const RUNNING_POLL: Duration = Duration::from_millis(50);

/// Start the cluster; return once it is Ready.
pub fn start(flags: &Start, verbosity: u8) -> Result<()> {
    if flags.nodes > 1 {
        bail!("--nodes {}: several nodes on one machine are not implemented yet, only --nodes 1", flags.nodes);
    }
    preflight::root("starting")?;
    let layout = Layout::new(&flags.which.data_dir)?;
    if let Some(cluster) = layout.load()?
        && runs_already(&layout, &cluster, flags)?
    {
        return remind(&layout, &cluster);
    }
    if let Some(path) = user_kubeconfig() {
        pki::kubeconfig::check(&path).context("the cluster's context has to go into it: mend it, or set KUBECONFIG")?;
    }
    let runtime = crate::runtime()?;
    runtime.block_on(preflight::machine(flags.container_runtime_endpoint.is_empty()))?;
    if !flags.container_runtime_endpoint.is_empty() {
        runtime.block_on(preflight::runtime_answers(&flags.container_runtime_endpoint))?;
    }
    preflight::apart(&layout)?;
    let existed = layout.root().exists();
    let result = start_here(&layout, flags, &runtime, verbosity);
    if result.is_err() && !existed {
        // Fails where something is in it that its user may want to read.
        let _ = fs::remove_dir(layout.root());
    }
    result
}

/// The rest of [`start`], once the machine is known to be fit for it.
fn start_here(layout: &Layout, flags: &Start, runtime: &tokio::runtime::Runtime, verbosity: u8) -> Result<()> {
    preflight::data_dir(layout)?;
    let _turn = daemon::turn(layout)?;
    // Somebody else may have started, stopped or deleted it meanwhile.
    let known = layout.load()?;
    if let Some(cluster) = &known
        && runs_already(layout, cluster, flags)?
    {
        return remind(layout, cluster);
    }
    preflight::data_dir(layout)?;
    let fresh = known.is_none();
    let cluster = {
        let _alone = alone()?;
        preflight::name_is_ours(layout, known.as_ref().map_or(&flags.which.name, |c| &c.name))?;
        let cluster = match known {
            Some(known) => again(known, flags)?,
            None => decide(flags)?,
        };
        preflight::port_free(cluster.api_port, "--api-port")?;
        if fresh {
            preflight::name_is_free(layout, &cluster)?;
        }
        layout.save(&cluster)?;
        layout.claim(&cluster)?;
        cluster
    };
    crate::say!("Starting cluster {} in {}", cluster.name, layout.root().display());
    let started = if flags.foreground {
        foreground(layout, &cluster, runtime, verbosity)
    } else {
        runtime.block_on(background(layout, verbosity))
    };
    if let Err(error) = started {
        clean_up(layout, &cluster, fresh, runtime);
        return Err(error);
    }
    if !flags.foreground {
        merge_kubeconfig(layout, &cluster)?;
        crate::say!(
            "Cluster {} is Ready. Try:\n  ferrokube kubectl get nodes\n  ferrokube kubectl run web --image=ferrokube.local/hello:latest",
            cluster.name
        );
    }
    Ok(())
}

/// Whether it runs and is Ready. A process that is still starting, or that was killed and is not gone yet, holds the
/// lock too: it is waited for.
///
/// # Errors
/// It holds the lock and does not become Ready.
fn runs_already(layout: &Layout, cluster: &Cluster, flags: &Start) -> Result<bool> {
    check_name(layout, cluster, &flags.which)?;
    if daemon::running(layout).is_none() {
        return Ok(false);
    }
    let runtime = crate::runtime()?;
    let deadline = Instant::now() + RUNNING_PATIENCE;
    while let Some(pid) = daemon::running(layout) {
        let why = match runtime.block_on(inspect::list(layout)) {
            Ok(nodes) if nodes.is_empty() => "its node has not registered yet".to_owned(),
            Ok(nodes) => match nodes.into_iter().find(|node| !node.ready) {
                None => {
                    crate::say!("Cluster {} is running already: {}", cluster.name, cluster.api_url());
                    return Ok(true);
                }
                Some(node) => format!("node {} is not Ready: {}", node.name, node.message),
            },
            Err(error) => told(&error),
        };
        if Instant::now() > deadline {
            bail!(
                "the cluster's process {} runs, but: {why}\nSee `ferrokube logs ferrokube`; `ferrokube stop` ends it",
                pid.as_raw_nonzero()
            );
        }
        std::thread::sleep(RUNNING_POLL);
    }
    Ok(false)
}

/// Nothing half-started stays: a cluster that never became ready is taken away, an existing one is only stopped.
fn clean_up(layout: &Layout, cluster: &Cluster, fresh: bool, runtime: &tokio::runtime::Runtime) {
    let cleaned = if fresh {
        let log = fs::read(layout.log("ferrokube")).unwrap_or_default();
        let cleaned = runtime.block_on(lifecycle::delete(layout, cluster));
        // The log stays: without it nobody could tell what went wrong.
        if fs::create_dir_all(layout.path("logs")).is_ok() {
            let _ = fs::write(layout.log("ferrokube"), log);
        }
        cleaned
    } else {
        runtime.block_on(lifecycle::stop(layout, cluster)).map(drop)
    };
    if let Err(error) = cleaned {
        eprintln!("ferrokube: cleaning up: {}", told(&error));
    }
}

/// An existing cluster, started again: what is in its objects and certificates cannot change.
fn again(known: Cluster, flags: &Start) -> Result<Cluster> {
    let fixed = [
        ("--service-cidr", &flags.service_cidr, &known.service_cidr),
        ("--pod-cidr", &flags.pod_cidr, &known.pod_cidr),
    ];
    for (flag, wanted, is) in fixed {
        if let Some(wanted) = wanted
            && wanted != is
        {
            bail!(
                "{flag} {wanted}: this cluster was made with {is}; `ferrokube delete` it first, or leave the flag out"
            );
        }
    }
    let others = other_clusters(&known.name);
    let taken = ports(&others);
    let api_port = if flags.api_port == 6443 { known.api_port } else { flags.api_port };
    Ok(Cluster {
        api_port,
        kubelet_port: preflight::free_port(known.kubelet_port, &taken),
        dns_port: preflight::free_port(known.dns_port, &taken),
        container_runtime_endpoint: if flags.container_runtime_endpoint.is_empty() {
            known.container_runtime_endpoint
        } else {
            flags.container_runtime_endpoint.clone()
        },
        node_ip: node_ip()?,
        ..known
    })
}

/// The options of a new cluster.
fn decide(flags: &Start) -> Result<Cluster> {
    let others = other_clusters(&flags.which.name);
    let taken = ports(&others);
    let ranges = |of: fn(&Cluster) -> &str| others.iter().filter_map(move |other| of(other).parse::<Cidr>().ok());
    // No route shows service ranges, nor what another cluster is just being started with.
    let reserved = ranges(|other| &other.service_cidr).chain(ranges(|other| &other.pod_cidr));
    let reserved: Vec<Cidr> = reserved.chain(special()).collect();
    let service_cidr = range("--service-cidr", flags.service_cidr.as_deref(), DEFAULT_SERVICE_CIDR, &reserved)?;
    if service_cidr.prefix < SERVICE_PREFIX_MIN {
        bail!("--service-cidr {service_cidr}: too large, at most a /{SERVICE_PREFIX_MIN} can be handed out");
    }
    let routed: Vec<Cidr> = routes().into_iter().chain(reserved).chain([service_cidr]).collect();
    Ok(Cluster {
        format: FORMAT,
        name: flags.which.name.clone(),
        node_name: flags.which.name.clone(),
        node_ip: node_ip()?,
        api_port: flags.api_port,
        kubelet_port: preflight::free_port(KUBELET_PORT, &taken),
        dns_port: preflight::free_port(DNS_PORT, &taken),
        service_cidr: service_cidr.to_string(),
        pod_cidr: range("--pod-cidr", flags.pod_cidr.as_deref(), DEFAULT_POD_CIDR, &routed)?.to_string(),
        container_runtime_endpoint: flags.container_runtime_endpoint.clone(),
    })
}

/// The range asked for, or the first from the default on that nobody else uses.
fn range(flag: &str, wanted: Option<&str>, default: &str, taken: &[Cidr]) -> Result<Cidr> {
    if let Some(wanted) = wanted {
        let range: Cidr = wanted.parse().with_context(|| flag.to_owned())?;
        if range.prefix > 24 {
            bail!("{flag} {wanted}: too small, at least a /24 is needed");
        }
        if let Some(other) = taken.iter().find(|other| other.overlaps(&range)) {
            bail!("{flag} {wanted}: overlaps {other}, which is in use on this machine or set aside");
        }
        return Ok(range);
    }
    let mut range: Cidr = default.parse()?;
    while taken.iter().any(|other| other.overlaps(&range)) {
        range = range.next().with_context(|| format!("no free range: choose one with {flag}"))?;
    }
    Ok(range)
}

/// Ranges with a meaning of their own: this host, loopback, link-local, multicast, reserved.
fn special() -> impl Iterator<Item = Cidr> {
    let range = |first: u8, second: u8, prefix| Cidr { network: Ipv4Addr::new(first, second, 0, 0), prefix };
    [range(0, 0, 8), range(127, 0, 8), range(169, 254, 16), range(224, 0, 4), range(240, 0, 4)].into_iter()
}

/// Destinations of this machine's routes, but for the default route.
fn routes() -> Vec<Cidr> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let field = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (network, mask) = (field(columns.get(1)?)?, field(columns.get(7)?)?);
            let prefix = u8::try_from(mask.leading_ones()).ok()?;
            (prefix > 0).then(|| Cidr { network: network.into(), prefix })
        })
        .collect()
}

/// The clusters of this machine but for the one of this name.
fn other_clusters(name: &str) -> Vec<Cluster> {
    let folders = fs::read_dir(RUN).into_iter().flatten().flatten();
    folders
        .filter(|folder| folder.file_name() != name)
        .filter_map(|folder| {
            let owner = fs::read_to_string(folder.path().join("owner")).ok()?;
            Layout::new(Path::new(&owner)).ok()?.load().ok()?
        })
        .collect()
}

fn ports(clusters: &[Cluster]) -> Vec<u16> {
    clusters.iter().flat_map(|cluster| [cluster.api_port, cluster.kubelet_port, cluster.dns_port]).collect()
}

/// Held while a cluster's name, ports and ranges are chosen, so that two never choose the same, and while a
/// kubeconfig that they may share is changed.
pub(super) fn alone() -> Result<fs::File> {
    fs::create_dir_all(RUN).with_context(|| format!("creating {RUN}"))?;
    let folder = fs::File::open(RUN).with_context(|| format!("opening {RUN}"))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).with_context(|| format!("locking {RUN}"))?;
    Ok(folder)
}

/// The address that the machine speaks to others with; nothing is sent.
fn node_ip() -> Result<Ipv4Addr> {
    let probe = || -> std::io::Result<std::net::IpAddr> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        Ok(socket.local_addr()?.ip())
    };
    match probe() {
        Ok(std::net::IpAddr::V4(ip)) if !ip.is_loopback() && !ip.is_unspecified() => Ok(ip),
        _ => bail!("this machine has no IPv4 address besides loopback: pods could not reach the API server"),
    }
}

/// It runs already; its context is put where kubectl looks, in case it is not there.
fn remind(layout: &Layout, cluster: &Cluster) -> Result<()> {
    if let Err(error) = merge_kubeconfig(layout, cluster) {
        let kubeconfig = layout.admin_kubeconfig();
        eprintln!("ferrokube: {}; kubectl finds it with KUBECONFIG={}", told(&error), kubeconfig.display());
    }
    Ok(())
}

fn merge_kubeconfig(layout: &Layout, cluster: &Cluster) -> Result<()> {
    let Some(path) = user_kubeconfig() else { return Ok(()) };
    let _alone = alone()?;
    credentials::with_entry(layout, cluster, "admin", |entry| Ok(pki::kubeconfig::merge(&path, entry)?))?;
    crate::say!("kubectl context {:?} is in {}", cluster.name, path.display());
    Ok(())
}

/// Start the cluster's process and follow its steps. Interrupted, it is ended, as it would be in the foreground.
async fn background(layout: &Layout, verbosity: u8) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let executable = std::env::current_exe()?;
    let (own, other) = (layout.clone(), layout.clone());
    let mut launching = tokio::task::spawn_blocking(move || daemon::launch(&own, &executable, verbosity));
    tokio::select! {
        launched = &mut launching => return launched?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::task::spawn_blocking(move || daemon::end(&other, lifecycle::DAEMON_PATIENCE)).await??;
    match launching.await? {
        // It had just become Ready.
        Ok(()) => bail!("interrupted"),
        Err(error) => Err(error.context("interrupted")),
    }
}

fn foreground(layout: &Layout, cluster: &Cluster, runtime: &tokio::runtime::Runtime, verbosity: u8) -> Result<()> {
    telemetry::init(verbosity);
    memory::small_pages();
    let Some(_lock) = daemon::lock(layout)? else {
        bail!("another process is starting this cluster");
    };
    let reporter = Reporter::new(None);
    runtime.block_on(process::run(layout, cluster, reporter, || merge_kubeconfig(layout, cluster)))?;
    crate::say!("Its containers go on running: `ferrokube start` adopts them, `ferrokube stop` ends them");
    Ok(())
}

/// The cluster's process: what `start` runs in the background.
pub fn serve(data_dir: &Path, report_fd: i32) -> Result<()> {
    let reporter = Reporter::new(Some(daemon::detach(report_fd)?));
    memory::small_pages();
    let prepared = || -> Result<_> {
        let layout = Layout::new(data_dir)?;
        let cluster = layout.load()?.context("there is no cluster in the data directory")?;
        let lock = daemon::lock(&layout)?.context("another process is starting this cluster")?;
        Ok((layout, cluster, lock, crate::runtime()?))
    };
    match prepared() {
        Ok((layout, cluster, _lock, runtime)) => runtime.block_on(process::run(&layout, &cluster, reporter, || Ok(()))),
        Err(error) => {
            reporter.failed(told(&error));
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_give_way_to_what_is_there() {
        let taken = ["10.96.0.0/12".parse().expect("a CIDR"), "10.244.0.0/24".parse().expect("a CIDR")];
        let chosen = |wanted, default| range("--x", wanted, default, &taken).map(|r| r.to_string());
        assert_eq!(chosen(None, "10.96.0.0/12").expect("free"), "10.112.0.0/12");
        assert_eq!(chosen(None, "10.244.0.0/16").expect("free"), "10.245.0.0/16");
        assert_eq!(chosen(Some("10.50.0.0/16"), "10.244.0.0/16").expect("free"), "10.50.0.0/16");
        assert!(chosen(Some("10.244.0.0/16"), "").expect_err("taken").to_string().contains("overlaps"));
        assert!(chosen(Some("10.50.0.0/28"), "").expect_err("small").to_string().contains("too small"));
        assert!(chosen(Some("ten"), "").is_err());
        let special: Vec<Cidr> = special().collect();
        for wanted in ["0.0.0.0/0", "127.0.0.0/16", "169.254.0.0/16", "239.1.0.0/16", "255.0.0.0/8"] {
            assert!(range("--x", Some(wanted), "", &special).is_err(), "{wanted}");
        }
    }
}
