//! Builds the two programs that our own container images hold, statically, so that the binary can carry them.
use std::{env, path::Path, process::Command};

fn main() {
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let rustc = env::var("RUSTC").expect("cargo sets RUSTC");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    for program in ["pause", "hello"] {
        let source = format!("images/{program}.rs");
        println!("cargo:rerun-if-changed={source}");
        let status = Command::new(&rustc)
            .args(["--edition=2024", "--crate-type=bin", "--target", &target])
            .args(["-Ctarget-feature=+crt-static", "-Cpanic=abort", "-Copt-level=s", "-Cstrip=symbols", "-Clto=fat"])
            .env("PAUSE_VERSION", env::var("CARGO_PKG_VERSION").expect("cargo sets the version"))
            .arg("-o")
            .arg(Path::new(&out).join(program))
            .arg(&source)
            .status()
            .expect("rustc runs");
        assert!(status.success(), "building {source}");
    }
}
