//! The commands as a program of their own, for trying them without building everything else.

#[tokio::main]
async fn main() {
    let code = kubectl::main(std::env::args_os().skip(1).collect()).await;
    std::process::exit(code);
}
