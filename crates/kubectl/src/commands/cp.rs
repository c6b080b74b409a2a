//! `kubectl cp`: files to and from containers, as a tar archive through `exec`.
//!
//! An archive goes through an unnamed temporary file, so its size is bounded by the disk, not by memory.
use super::Command;
use crate::{
    Context, Error, Result, pods,
    select::{flag, text},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::AttachParams};
use std::{
    fs::File,
    io::{Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};

pub struct Cp;

/// More of what a failing tar says is not shown.
const MAX_COMPLAINT_BYTES: u64 = 64 * 1024;

/// A path here, or in a pod.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    pod: Option<(Option<String>, String)>,
    path: String,
}

impl Place {
    /// `path`, `pod:path`, `namespace/pod:path`.
    fn parse(text: &str) -> Result<Place> {
        let here = || Place { pod: None, path: text.to_owned() };
        if text.starts_with(['/', '.']) {
            return Ok(here());
        }
        let Some((pod, path)) = text.split_once(':') else { return Ok(here()) };
        let invalid = || Error::message("filespec must match the canonical format: [[namespace/]pod:]file/path");
        if pod.is_empty() || path.is_empty() {
            return Err(invalid());
        }
        let (namespace, pod) = match pod.split_once('/') {
            Some((namespace, pod)) if !pod.contains('/') => (Some(namespace.to_owned()), pod),
            Some(_) => return Err(invalid()),
            None => (None, pod),
        };
        Ok(Place { pod: Some((namespace, pod.to_owned())), path: path.to_owned() })
    }
}

#[async_trait]
impl Command for Cp {
    fn words(&self) -> Words {
        Words::new("cp")
            .about("Copy files and directories to and from containers")
            .arg(Arg::new("from").value_name("FILE-SPEC-SRC"))
            .arg(Arg::new("to").value_name("FILE-SPEC-DEST"))
            .arg(Arg::new("container").short('c').long("container").help("Container name."))
            .arg(
                crate::global::boolean(Arg::new("no-preserve").long("no-preserve")).default_value("false").help(
                    "The copied file/directory's ownership and permissions will not be preserved in the container",
                ),
            )
            .arg(
                Arg::new("retries")
                    .long("retries")
                    .default_value("0")
                    .help("Set number of retries to complete a copy operation from a container."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let (from, to) = (text(matches, "from"), text(matches, "to"));
        if from.is_empty() || to.is_empty() {
            return Err(Error::message("source and destination are required"));
        }
        if text(matches, "retries") != "0" {
            return Err(Error::message("cp --retries is not implemented"));
        }
        let (from, to) = (Place::parse(&from)?, Place::parse(&to)?);
        if from.pod.is_none() && to.pod.is_some() && !Path::new(&from.path).exists() {
            return Err(Error::message(format!("{} doesn't exist in local filesystem", from.path)));
        }
        match (&from.pod, &to.pod) {
            (None, Some(pod)) => {
                upload(&Remote::find(context, matches, pod).await?, &from.path, &to.path, matches).await
            }
            (Some(pod), None) => download(&Remote::find(context, matches, pod).await?, &from.path, &to.path).await,
            (None, None) => Err(Error::message("one of src or dest must be a remote file specification")),
            (Some(_), Some(_)) => Err(Error::message("one of src or dest must be a local file specification")),
        }
    }
}

/// A container that commands run in.
struct Remote {
    pods: Api<Pod>,
    namespace: String,
    name: String,
    container: String,
}

impl Remote {
    async fn find(context: &Context, matches: &ArgMatches, pod: &(Option<String>, String)) -> Result<Remote> {
        let namespace = match &pod.0 {
            Some(namespace) => namespace.clone(),
            None => context.namespace().await?,
        };
        let path =
            format!("/api/v1/namespaces/{}/pods/{}", crate::http::escape(&namespace), crate::http::escape(&pod.1));
        let object = context.api().await?.get(&path).await?;
        let asked = text(matches, "container");
        pods::tell_default(&object, &asked);
        let container = pods::container(&object, &asked);
        let pods = Api::namespaced(context.client().await?, &namespace);
        Ok(Remote { pods, namespace, name: pod.1.clone(), container })
    }

    /// How to get an archive without us.
    fn by_hand(&self, from: &str) -> String {
        format!("kubectl exec -n {:?} {:?} -- tar cf - {from:?} | tar xf -", self.namespace, self.name)
    }

    /// Run a command; its input from and its output to files.
    async fn run(&self, command: &[&str], input: Option<File>, output: Option<File>) -> Result<()> {
        let parameters = AttachParams::default()
            .container(&self.container)
            .stdin(input.is_some())
            .stdout(output.is_some())
            .stderr(true);
        let exec = self.pods.exec(&self.name, command.to_vec(), &parameters).await;
        let mut process = exec.map_err(|e| Error::message(e.to_string()))?;
        let status = process.take_status();
        let (stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
        let send = async {
            if let (Some(mut to), Some(from)) = (stdin, input) {
                // A command that ends early says why on its standard error.
                let _ = copy(&mut tokio::fs::File::from_std(from), &mut to).await;
                let _ = to.shutdown().await;
            }
        };
        let receive = async {
            if let (Some(mut from), Some(to)) = (stdout, output) {
                let mut to = tokio::fs::File::from_std(to);
                copy(&mut from, &mut to).await?;
                to.flush().await?;
            }
            std::io::Result::Ok(())
        };
        let complain = async {
            let mut text = String::new();
            if let Some(from) = stderr {
                let _ = from.take(MAX_COMPLAINT_BYTES).read_to_string(&mut text).await;
            }
            text
        };
        let ((), received, complaint) = tokio::join!(send, receive, complain);
        received?;
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        match status.filter(|s| s.status.as_deref() == Some("Failure")) {
            Some(status) => {
                eprint!("{complaint}");
                Err(Error::message(status.message.unwrap_or_default().trim()))
            }
            None => {
                eprint!("{complaint}");
                Ok(())
            }
        }
    }
}

async fn upload(remote: &Remote, from: &str, to: &str, matches: &ArgMatches) -> Result<()> {
    let from = PathBuf::from(from);
    let own = from.canonicalize()?.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // A folder as the destination receives the file under its own name.
    let into_folder = to.ends_with('/') || remote.run(&["test", "-d", to], None, None).await.is_ok();
    let to = if into_folder { format!("{}/{own}", to.trim_end_matches('/')) } else { to.to_owned() };
    let (folder, name) = to.rsplit_once('/').unwrap_or((".", &to));
    let folder = if folder.is_empty() { "/" } else { folder };
    let archive = pack(from, name.to_owned()).await?;
    let keep: &[&str] = if flag(matches, "no-preserve") {
        &["tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-", "-C"]
    } else {
        &["tar", "-xmf", "-", "-C"]
    };
    let command: Vec<&str> = keep.iter().copied().chain([folder]).collect();
    remote.run(&command, Some(archive), None).await
}

/// An archive of a file or a folder, under a name.
async fn pack(from: PathBuf, name: String) -> Result<File> {
    let packed = tokio::task::spawn_blocking(move || -> std::io::Result<File> {
        let mut builder = tar::Builder::new(tempfile::tempfile()?);
        builder.follow_symlinks(false);
        if from.is_dir() {
            builder.append_dir_all(&name, &from)?;
        } else {
            builder.append_path_with_name(&from, &name)?;
        }
        let mut file = builder.into_inner()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    });
    Ok(packed.await.map_err(|e| Error::message(e.to_string()))??)
}

async fn download(remote: &Remote, from: &str, to: &str) -> Result<()> {
    let archive = tempfile::tempfile()?;
    remote.run(&["tar", "cf", "-", from], None, Some(archive.try_clone()?)).await?;
    let trimmed = from.trim_end_matches('/');
    let base = trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned();
    let prefix = PathBuf::from(trimmed.trim_start_matches('/'));
    let to = PathBuf::from(to);
    let to = if to.is_dir() { to.join(&base) } else { to };
    let again = remote.by_hand(from);
    let unpacked = tokio::task::spawn_blocking(move || unpack(archive, &prefix, &to, &again));
    unpacked.await.map_err(|e| Error::message(e.to_string()))?
}

/// Write what is under `prefix` to `to`. Links are left out: they may lead anywhere.
/// `by_hand`: how to copy them nevertheless.
fn unpack(mut archive: File, prefix: &Path, to: &Path, by_hand: &str) -> Result<()> {
    archive.seek(SeekFrom::Start(0))?;
    let (mut found, mut told) = (false, false);
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let inner = path.strip_prefix("/").unwrap_or(&path);
        let inner = inner.strip_prefix("./").unwrap_or(inner);
        let Ok(inner) = inner.strip_prefix(prefix.strip_prefix("./").unwrap_or(prefix)) else { continue };
        if inner.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            eprintln!("warning: file {:?} is outside target destination, skipping", path.display());
            continue;
        }
        found = true;
        let place = if inner.as_os_str().is_empty() { to.to_owned() } else { to.join(inner) };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&place)?;
        } else if kind.is_file() {
            if let Some(folder) = place.parent() {
                std::fs::create_dir_all(folder)?;
            }
            // Not through a link that stands there already.
            if place.is_symlink() {
                std::fs::remove_file(&place)?;
            }
            let mut file = File::create(&place)?;
            std::io::copy(&mut entry, &mut file)?;
            #[cfg(unix)]
            if let Ok(mode) = entry.header().mode() {
                use std::os::unix::fs::PermissionsExt;
                file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777))?;
            }
        } else {
            let link = entry.link_name()?.unwrap_or_default().into_owned();
            // How else to do it is said once.
            let hint = if std::mem::replace(&mut told, true) { "" } else { by_hand };
            eprintln!("{}", skipped(&place, &link, hint));
        }
    }
    if found { Ok(()) } else { Err(Error::message(format!("{}: the container sent nothing", prefix.display()))) }
}

/// What is said of a link that is left out.
fn skipped(place: &Path, link: &Path, hint: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!(" (consider using \"{hint}\")") };
    format!("warning: skipping symlink: {:?} -> {:?}{hint}", place.display().to_string(), link.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let pod = |namespace: Option<&str>, name: &str| Some((namespace.map(str::to_owned), name.to_owned()));
        let cases = [
            ("a/b", None, "a/b"),
            ("./a:b", None, "./a:b"),
            ("web:/x", pod(None, "web"), "/x"),
            ("ns/web:/x", pod(Some("ns"), "web"), "/x"),
        ];
        for (text, pod, path) in cases {
            assert_eq!(Place::parse(text).expect(text), Place { pod, path: path.into() }, "{text}");
        }
        assert!(Place::parse(":x").is_err());
        assert!(Place::parse("a/b/c:x").is_err());
    }

    #[test]
    fn links_are_told_of() {
        let cases = [
            ("", "warning: skipping symlink: \"out/l\" -> \"/etc/x\""),
            ("do it", "warning: skipping symlink: \"out/l\" -> \"/etc/x\" (consider using \"do it\")"),
        ];
        for (hint, want) in cases {
            assert_eq!(skipped(Path::new("out/l"), Path::new("/etc/x"), hint), want);
        }
    }

    #[tokio::test]
    async fn an_archive_is_unpacked_under_its_new_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("inner")).expect("made");
        std::fs::write(source.join("inner/file"), "content").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", source.join("link")).expect("linked");
        let archive = pack(source, "var/data".into()).await.expect("packed");
        let target = folder.path().join("target");
        unpack(archive, Path::new("var/data"), &target, "").expect("unpacked");
        assert_eq!(std::fs::read_to_string(target.join("inner/file")).expect("there"), "content");
        assert!(!target.join("link").exists());
    }
}
