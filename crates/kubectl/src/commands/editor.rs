//! The user's editor on a temporary file: what stands above the objects, and how the program is found.
//!
//! Source: `k8s.io/kubectl/pkg/cmd/util/editor`.
use crate::{Error, Result};
use std::{fs, path::PathBuf, process::ExitStatus};

/// What is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Objects on the server.
    Live,
    /// What client-side apply remembers.
    LastApplied,
    /// Objects that are to be created.
    Create,
}

/// Why the file is opened again: what is wrong, and the details.
#[derive(Debug, Default)]
pub struct Reason {
    pub head: String,
    pub details: Vec<String>,
}

/// The comment above the objects.
pub fn header(mode: Mode, reasons: &[Reason]) -> String {
    let mut text = String::from(match mode {
        Mode::LastApplied => {
            "# Please edit the 'last-applied-configuration' annotations below.\n# Lines beginning with a '#' will be \
             ignored, and an empty file will abort the edit.\n#\n"
        }
        _ => {
            "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort \
             the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n"
        }
    });
    let commented = |text: &str| text.replace('\n', "\n# ");
    for reason in reasons {
        let colon = if reason.details.is_empty() { "" } else { ":" };
        text.push_str(&format!("# {}{colon}\n", commented(&reason.head)));
        reason.details.iter().for_each(|detail| text.push_str(&format!("# * {}\n", commented(detail))));
        text.push_str("#\n");
    }
    text
}

/// Without comments.
pub fn plain(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// Let the user edit a text; the file that it is left in, and what stands there now.
///
/// # Errors
/// There is no such editor, or it fails.
pub async fn edit(text: &str, extension: &str) -> Result<(PathBuf, String)> {
    let suffix = format!(".{extension}");
    let file = tempfile::Builder::new().prefix("kubectl-edit-").suffix(&suffix).tempfile()?;
    fs::write(file.path(), text)?;
    let (_, path) = file.keep().map_err(|e| Error::message(e.to_string()))?;
    let editor = ["KUBE_EDITOR", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|e| !e.is_empty()));
    let words = words(&editor.unwrap_or_else(|| "vi".into()));
    let shown = words.join(" ");
    match launch(&words, &path).await {
        Ok(status) if status.success() => {}
        // A name that is looked for in the path; a path of its own fails as a program does.
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                && !words.first().is_some_and(|word| word.contains('/')) =>
        {
            return Err(Error::message(format!("unable to launch the editor \"{shown}\"")));
        }
        _ => return Err(Error::message(format!("there was a problem with the editor \"{shown}\""))),
    }
    let edited = fs::read_to_string(&path)?;
    Ok((path, edited))
}

/// The editor may carry arguments; when they are quoted, a shell takes it apart.
fn words(editor: &str) -> Vec<String> {
    if !editor.contains(['"', '\'', '\\']) {
        return editor.split(' ').map(str::to_owned).collect();
    }
    let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/bash".into());
    vec![shell, "-c".into(), editor.to_owned()]
}

async fn launch(words: &[String], path: &std::path::Path) -> std::io::Result<ExitStatus> {
    let (program, arguments) = words.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = tokio::process::Command::new(program);
    match arguments {
        [dash, line] if dash == "-c" => command.arg(dash).arg(format!("{line} \"{}\"", path.display())),
        arguments => command.args(arguments).arg(path),
    };
    command.status().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_what_was_wrong() {
        let reasons = [Reason { head: "pods \"x\" was not valid".into(), details: vec!["spec: bad\nreally".into()] }];
        let text = header(Mode::Live, &reasons);
        assert!(text.ends_with("#\n# pods \"x\" was not valid:\n# * spec: bad\n# really\n#\n"), "{text}");
        assert_eq!(plain(&format!("{text}a: 1\n  # b\nc: 2\n")), "a: 1\nc: 2\n");
    }

    #[test]
    fn editors_with_arguments() {
        assert_eq!(words("vi"), ["vi"]);
        assert_eq!(words("sed -i s/a/b/"), ["sed", "-i", "s/a/b/"]);
        assert_eq!(words("code '-w x'").last().map(String::as_str), Some("code '-w x'"));
    }
}
