//! The controllers alone, for trying them against a server: takes kube-controller-manager's flags.
use clap::Parser;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: controllers::Flags,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init(5);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    controllers::run(Arguments::parse().flags, None, shutdown).await?;
    Ok(())
}
