//! The words of the `ferrokube` command. What they do is in `commands/`.
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf};

/// A Kubernetes in one binary: start a cluster on this machine, or run any single component.
#[derive(Debug, Parser)]
#[command(
    name = "ferrokube",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Components, each with upstream's flags (`ferrokube <component> --help`):\n  \
    kube-apiserver  kube-scheduler  kube-controller-manager  kubelet  kube-proxy  dns  kubectl\n\
    The binary linked under one of these names behaves as it.\n    `ferrokube kubectl` takes --data-dir and --name in front of kubectl's own words.")]
pub struct Cli {
    /// Log verbosity: 0-3 for operators, 4-5 decisions, 6 and up every request
    #[arg(short = 'v', long = "v", global = true, default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
    #[command(subcommand)]
    pub command: Command,
}

const DATA_DIR: &str = "/var/lib/ferrokube";
const NAME: &str = "ferrokube";

/// Which cluster a command is about.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// Where the cluster's certificates, objects and containers are
    #[arg(long, default_value = DATA_DIR, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The cluster's name: its kubeconfig context, its node, its bridge
    #[arg(long, default_value = NAME)]
    pub name: String,
}

impl Default for Which {
    fn default() -> Self {
        Which { data_dir: DATA_DIR.into(), name: NAME.into() }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Start {
    #[command(flatten)]
    pub which: Which,
    /// Nodes of the cluster, all on this machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: u32,
    /// Port of the API server
    #[arg(long, default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1..))]
    pub api_port: u16,
    /// A CRI socket to use instead of a containerd of our own, as unix:///run/containerd/containerd.sock
    #[arg(long, default_value = "", value_name = "ENDPOINT")]
    pub container_runtime_endpoint: String,
    /// Addresses of services [default: 10.96.0.0/12, or the next range that no other cluster here uses]
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Option<String>,
    /// Addresses of pods [default: 10.244.0.0/16, or the next range that is not routed elsewhere]
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,
    /// Stay in the foreground, with the log on standard error, until interrupted
    #[arg(long)]
    pub foreground: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the cluster, and wait until its node is Ready and DNS answers
    Start(Start),
    /// Stop the cluster and its containers, which get 5 seconds to end; its objects stay
    Stop(Which),
    /// Stop the cluster and take away everything it made on this machine
    Delete(Which),
    /// Show whether the cluster runs, and its nodes
    Status {
        #[command(flatten)]
        which: Which,
        /// json, for programs
        #[arg(short, long, value_parser = ["json"])]
        output: Option<String>,
    },
    /// The nodes of the cluster
    Node {
        #[command(subcommand)]
        command: Node,
    },
    /// A shell, or one command, on a node
    Ssh {
        #[command(flatten)]
        which: Which,
        /// The node's name
        node: String,
        /// The command and its arguments
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Images on the nodes
    Image {
        #[command(subcommand)]
        command: Image,
    },
    /// The log of a component (kube-apiserver, kubelet, …) or of containerd
    Logs {
        #[command(flatten)]
        which: Which,
        /// One of kube-apiserver, kube-scheduler, kube-controller-manager, kubelet, kube-proxy, dns, network, storage,
        /// containerd, or ferrokube for everything but containerd
        component: String,
        /// The last lines only
        #[arg(long, value_name = "LINES")]
        tail: Option<usize>,
    },
    /// The version of this binary and of the API that it serves
    Version(Which),
    /// A completion script for a shell
    Completion {
        #[command(flatten)]
        which: Which,
        /// The shell it is for
        shell: clap_complete::Shell,
    },
}

/// The words of the cluster's own process, which `start` runs.
#[derive(Debug, Parser)]
pub struct ServeCluster {
    #[arg(long = "v", default_value_t = 0)]
    pub verbosity: u8,
    #[arg(long)]
    pub data_dir: PathBuf,
    #[arg(long)]
    pub report_fd: i32,
}

#[derive(Debug, Subcommand)]
pub enum Node {
    /// List the nodes with their addresses and whether they are Ready
    List(Which),
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Load an image archive (docker or OCI) into every node
    Load {
        #[command(flatten)]
        which: Which,
        /// A tar file, as `docker save` writes it
        archive: PathBuf,
    },
    /// List the images on the nodes
    Ls(Which),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
