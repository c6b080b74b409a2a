//! Generated objects, compared with what the official kubectl 1.37 printed for the same words.
//!
//! A golden file is one command line and its output. No server is needed, and no official program either.
#![allow(clippy::unwrap_used)]
mod served;

use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn generators_print_what_the_official_ones_print() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder.join("generators")).unwrap() {
        let path = entry.unwrap().path();
        let golden = fs::read_to_string(&path).unwrap();
        let (command, want) = golden.split_once('\n').unwrap();
        let words = command.trim_start_matches("$ ").split(' ');
        // Files of the command line lie beside the goldens.
        let words = words.map(|word| match word.strip_suffix(".txt") {
            Some(_) => word.replacen("--from-file=", &format!("--from-file={}/", folder.display()), 1),
            None => word.to_owned(),
        });
        let words = words.map(|word| match word.split_once("/k=") {
            Some((start, file)) if word.starts_with("--from-file=") => format!("--from-file=k={}/{file}", &start[12..]),
            _ => word,
        });
        let words =
            words.map(|word| word.replacen("--from-env-file=", &format!("--from-env-file={}/", folder.display()), 1));
        let sink = Sink::default();
        let code = kubectl::run(words.map(OsString::from).collect(), Box::new(sink.clone())).await;
        let got = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        count += 1;
        if code != 0 || got != want {
            failures.push(format!("{}: exit code {code}\n--- want\n{want}--- got\n{got}", path.display()));
        }
    }
    assert!(count > 30, "the goldens are there");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
