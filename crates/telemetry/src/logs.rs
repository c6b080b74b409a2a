//! Structured logs on standard error, with klog's verbosity scale (`-v`).
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

mod json;

/// What `-v` means: 0–3 is for operators, 4–5 shows decisions, 6 and up shows every request.
fn directive(verbosity: u8) -> &'static str {
    match verbosity {
        0..=3 => "info,h2=warn,hyper=warn,tower=warn,kube=warn,kube_runtime=error,hickory_server=warn,fjall=warn",
        4..=5 => "debug,h2=info,hyper=info,tower=info,rustls=info,hyper_util=info,fjall=info",
        _ => "trace,h2=debug,rustls=debug",
    }
}

/// How lines look: upstream's `--logging-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Start logging for this process. `RUST_LOG` overrides `-v`. A second call changes nothing.
pub fn init(verbosity: u8) {
    init_as(verbosity, Format::Text);
}

/// [`init`] with a choice of format.
pub fn init_as(verbosity: u8, format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directive(verbosity)));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(true);
    let registry = tracing_subscriber::registry().with(filter);
    // Fails only when a subscriber is there already: the first one stays.
    let _ = match format {
        Format::Text => registry.with(lines).try_init(),
        Format::Json => registry.with(lines.event_format(json::Json)).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_parses() {
        for verbosity in [0, 2, 4, 6, 10] {
            assert!(EnvFilter::try_new(directive(verbosity)).is_ok(), "-v={verbosity}");
        }
    }
}
