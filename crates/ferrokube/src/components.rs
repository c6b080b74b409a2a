//! Each component alone, with upstream's flags.
use clap::{ArgMatches, Args, Command, error::ErrorKind};
use std::{ffi::OsString, fmt::Display, future::Future, process::ExitCode};
use tokio_util::sync::CancellationToken;

/// What the binary answers to, as first word or as its own name.
pub const NAMES: [&str; 7] =
    ["kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubelet", "kube-proxy", "dns", "kubectl"];

/// Run the component called `name` with the words that follow it.
pub fn run(name: &str, words: &[OsString]) -> ExitCode {
    match name {
        "kube-apiserver" => component(name, words, apiserver::UNSUPPORTED_FLAGS, serve_api),
        "kube-scheduler" => component(name, words, scheduler::UNSUPPORTED_FLAGS, |f, s| scheduler::run(f, None, s)),
        "kube-controller-manager" => {
            component(name, words, controllers::UNSUPPORTED_FLAGS, |f, s| controllers::run(f, None, s))
        }
        "kubelet" => component(name, words, kubelet::UNSUPPORTED_FLAGS, |f, s| kubelet::run(f, None, s)),
        "kube-proxy" => component(name, words, proxy::UNSUPPORTED_FLAGS, |f, s| proxy::run(f, None, s)),
        "dns" => component(name, words, dns::UNSUPPORTED_FLAGS, |f, s| dns::run(f, None, s)),
        _ => kubectl(words),
    }
}

fn kubectl(words: &[OsString]) -> ExitCode {
    match crate::runtime() {
        Ok(runtime) => {
            let code = runtime.block_on(kubectl::main(words.to_vec()));
            // A blocked read of standard input must not hold the process.
            runtime.shutdown_background();
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_api(flags: apiserver::Flags, shutdown: CancellationToken) -> Result<(), apiserver::Error> {
    let running = apiserver::start(flags, shutdown).await?;
    running.join().await
}

/// What a component is for: the head of its `--help`.
fn about(name: &str) -> &'static str {
    match name {
        "kube-apiserver" => {
            "The Kubernetes API server: validates and stores the objects of a cluster, and serves them to everybody else"
        }
        "kube-scheduler" => "The Kubernetes scheduler: finds a node for every pod that has none",
        "kube-controller-manager" => {
            "The controllers of Kubernetes: each brings the cluster closer to what its objects ask for"
        }
        "kubelet" => "The node agent of Kubernetes: runs the pods bound to its node on a container runtime (CRI)",
        "kube-proxy" => {
            "The service proxy of Kubernetes: makes the node's kernel send a service's traffic to its endpoints"
        }
        "dns" => "The cluster's DNS server: answers for services and pods, and forwards the rest",
        _ => "A component of Kubernetes",
    }
}

fn command<F: Args>(name: &'static str) -> Command {
    let verbosity = clap::Arg::new("v")
        .short('v')
        .long("v")
        .value_name("LEVEL")
        .value_parser(clap::value_parser!(u8))
        .default_value("0")
        .help_heading("Logs flags")
        .help("Number for the log level verbosity");
    let command = F::augment_args(Command::new(name).version(env!("CARGO_PKG_VERSION")).arg(verbosity));
    // After the flags: their own description is for readers of the code.
    command.about(about(name)).long_about(None)
}

/// The name of a flag that clap does not know, if upstream does.
fn known_upstream(error: &clap::Error, unsupported: &[&str]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let word = error.get(clap::error::ContextKind::InvalidArg)?.to_string();
    let flag = word.trim_start_matches('-').split('=').next()?.to_owned();
    unsupported.contains(&flag.as_str()).then_some(flag)
}

fn parse<F: Args>(name: &str, words: &[OsString], unsupported: &[&str]) -> Result<(F, ArgMatches), ExitCode> {
    let name = NAMES.into_iter().find(|known| *known == name).unwrap_or("ferrokube");
    let parsed = command::<F>(name).no_binary_name(true).try_get_matches_from(words);
    let parsed = parsed.and_then(|matches| Ok((F::from_arg_matches(&matches)?, matches)));
    parsed.map_err(|error| match known_upstream(&error, unsupported) {
        Some(flag) => {
            eprintln!("{name}: flag --{flag} is known but not yet supported by ferrokube");
            ExitCode::FAILURE
        }
        None => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    })
}

fn component<F, Run, Done, E>(name: &str, words: &[OsString], unsupported: &[&str], run: Run) -> ExitCode
where
    F: Args,
    Run: FnOnce(F, CancellationToken) -> Done,
    Done: Future<Output = Result<(), E>>,
    E: Display,
{
    let (flags, matches) = match parse::<F>(name, words, unsupported) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    telemetry::init(matches.get_one::<u8>("v").copied().unwrap_or(0));
    crate::memory::small_pages();
    let runtime = match crate::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(cancel_on_signal(shutdown.clone()));
        run(flags, shutdown).await
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The first SIGTERM or SIGINT ends the component in order, the second one at once.
async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught");
        return;
    };
    for _ in 0..2 {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        if shutdown.is_cancelled() {
            std::process::exit(1);
        }
        shutdown.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Args, Debug)]
    struct Flags {
        #[arg(long)]
        port: Option<u16>,
    }

    #[test]
    fn upstream_flags_are_told_from_typing_errors() {
        let refused = |word: &str| {
            let parsed = command::<Flags>("kubelet").no_binary_name(true).try_get_matches_from([word]);
            known_upstream(&parsed.expect_err("unknown"), &["audit-log-path"])
        };
        assert_eq!(refused("--audit-log-path=x").as_deref(), Some("audit-log-path"));
        assert_eq!(refused("--no-such-flag"), None);
        assert_eq!(refused("--port=none"), None);
    }
}
