//! Each component alone, with upstream's flags.
use crate::component_flags::{self, Common};
use clap::{Args, Command, FromArgMatches, error::ErrorKind};
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
    // An etcd that does not answer is waited for, and nobody should have to wait with us.
    let running = tokio::select! {
        running = apiserver::start(flags, shutdown.clone()) => running?,
        () = shutdown.cancelled() => return Ok(()),
    };
    running.join().await
}

/// What a component is for: the head of its `--help`.
pub fn about(name: &str) -> &'static str {
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
        "kubectl" => "The command line of Kubernetes: speaks to any cluster's API server",
        "dns" => "The cluster's DNS server: answers for services and pods, and forwards the rest",
        _ => "A component of Kubernetes",
    }
}

fn command<F: Args>(name: &'static str) -> Command {
    // After the flags: their own description is for readers of the code.
    component_flags::command::<F>(name).about(about(name)).long_about(None)
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

/// Reads the command line; answers `--help` and `--version`, and says what is wrong.
fn parse<F: Args>(name: &str, words: &[OsString], unsupported: &[&str]) -> Result<(F, Common), ExitCode> {
    let name = NAMES.into_iter().find(|known| *known == name).unwrap_or("ferrokube");
    let command = command::<F>(name).no_binary_name(true);
    let parsed = command.clone().try_get_matches_from(component_flags::normalized(words));
    let parsed = parsed.and_then(|m| Ok((F::from_arg_matches(&m)?, Common::from_arg_matches(&m)?, m)));
    let (flags, common, matches) = parsed.map_err(|error| refuse(name, &error, unsupported))?;
    let failed = |why: String| {
        eprintln!("Error: {why}");
        ExitCode::FAILURE
    };
    if let Some(version) = component_flags::version(&common).map_err(failed)? {
        println!("{version}");
        return Err(ExitCode::SUCCESS);
    }
    if name == "kubelet" {
        let warnings = component_flags::deprecations(&command, &matches, kubelet::deprecated_flag);
        warnings.iter().for_each(|warning| eprintln!("{warning}"));
    }
    let format = component_flags::check(name, &common, &matches).map_err(failed)?;
    let gates = component_flags::gates(&common).map_err(|why| {
        let given = common.feature_gates.join(",");
        failed(format!("invalid argument {given:?} for \"--feature-gates\" flag: {why}"))
    })?;
    telemetry::init_as(common.verbosity, format);
    for gate in gates {
        tracing::warn!(gate, "this feature gate is known; setting it has no effect here");
    }
    Ok((flags, common))
}

fn refuse(name: &str, error: &clap::Error, unsupported: &[&str]) -> ExitCode {
    match (known_upstream(error, unsupported), component_flags::refusal(name, error)) {
        (Some(flag), _) => eprintln!("Error: flag --{flag} is known but not yet supported by ferrokube"),
        (None, Some(text)) => eprintln!("Error: {text}"),
        (None, None) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    }
    ExitCode::FAILURE
}

fn component<F, Run, Done, E>(name: &str, words: &[OsString], unsupported: &[&str], run: Run) -> ExitCode
where
    F: Args,
    Run: FnOnce(F, CancellationToken) -> Done,
    Done: Future<Output = Result<(), E>>,
    E: Display,
{
    let (flags, _) = match parse::<F>(name, words, unsupported) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
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
