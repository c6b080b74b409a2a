//! An API server alone, for trying a client against it and for measuring: takes kube-apiserver's flags.
use clap::Parser;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: apiserver::Flags,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init(2);
    let shutdown = CancellationToken::new();
    let running = apiserver::start(Arguments::parse().flags, shutdown.clone()).await?;
    println!("https://{}", running.address);
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.join().await?;
    Ok(())
}
