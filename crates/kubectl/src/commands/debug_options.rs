//! What `kubectl debug`'s flags ask for, and the pods that come of them. Nothing here talks to a server.
use super::debug_profile::{Keep, Profile, Style, find, push, remove};
use crate::{
    Context, Error, Result, manifests,
    pods::is_image,
    select::{flag, text, words},
};
use apimachinery::{names::random_string, patch, schema};
use clap::{ArgMatches, parser::ValueSource};
use serde_json::{Value, json};

/// Random letters behind `debugger-`.
const SUFFIX_LENGTH: usize = 5;

/// What the flags say.
pub struct Options {
    arguments: Vec<String>,
    arguments_only: bool,
    pub attach: bool,
    pub container: String,
    pub copy_to: String,
    custom: Option<Value>,
    env: Vec<Value>,
    pub image: String,
    keep: Keep,
    profile: Profile,
    pull_policy: String,
    pub quiet: bool,
    pub replace: bool,
    same_node: bool,
    pub set_images: Vec<(String, String)>,
    /// `None` when the flag was not given.
    share_processes: Option<bool>,
    pub stdin: bool,
    target: String,
    pub tty: bool,
}

impl Options {
    /// # Errors
    /// There is no such profile, or the custom one cannot be read.
    pub fn new(matches: &ArgMatches) -> Result<Self> {
        let pairs = |name: &str| -> Vec<(String, String)> {
            let split = |word: &String| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
            words(matches, name).iter().filter_map(split).collect()
        };
        let name = text(matches, "profile");
        let profile = Profile::parse(&name).ok_or_else(|| Error::message(format!("unknown profile: {name}")))?;
        let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let stdin = flag(matches, "stdin");
        Ok(Options {
            arguments: words(matches, "command"),
            arguments_only: flag(matches, "arguments-only"),
            attach: if given("attach") { flag(matches, "attach") } else { stdin },
            container: text(matches, "container"),
            copy_to: text(matches, "copy-to"),
            custom: custom(&text(matches, "custom"))?,
            env: pairs("env").into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect(),
            image: text(matches, "image"),
            keep: Keep {
                labels: flag(matches, "keep-labels"),
                annotations: flag(matches, "keep-annotations"),
                liveness: flag(matches, "keep-liveness"),
                readiness: flag(matches, "keep-readiness"),
                startup: flag(matches, "keep-startup"),
                init_containers: flag(matches, "keep-init-containers"),
            },
            profile,
            pull_policy: text(matches, "image-pull-policy"),
            quiet: flag(matches, "quiet"),
            replace: flag(matches, "replace"),
            same_node: flag(matches, "same-node"),
            set_images: pairs("set-image"),
            share_processes: given("share-processes").then(|| flag(matches, "share-processes")),
            stdin,
            target: text(matches, "target"),
            tty: flag(matches, "tty"),
        })
    }

    /// Flags that do not go together; what is said of those that do.
    pub fn check(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let refuse = |text: &str| Err(Error::message(text));
        let attach_given = matches.value_source("attach") == Some(ValueSource::CommandLine);
        if self.attach && attach_given && self.image.is_empty() && self.container.is_empty() {
            return refuse("you must specify --container or create a new container using --image in order to attach.");
        }
        match self.copy_to.is_empty() {
            false if self.image.is_empty() && self.set_images.is_empty() && self.arguments.is_empty() => {
                return refuse("you must specify --image, --set-image or command arguments.");
            }
            false if !self.arguments.is_empty() && self.container.is_empty() && self.image.is_empty() => {
                return refuse("you must specify an existing container or a new image when specifying args.");
            }
            false => {}
            true if self.replace => return refuse("--replace may only be used with --copy-to."),
            true if self.same_node => return refuse("--same-node may only be used with --copy-to."),
            true if !self.set_images.is_empty() => return refuse("--set-image may only be used with --copy-to."),
            true if self.image.is_empty() => return refuse("you must specify --image when not using --copy-to."),
            true => {}
        }
        if !self.image.is_empty() && !is_image(&self.image) {
            return refuse(&format!("invalid image name {:?}: invalid reference format", self.image));
        }
        if words(matches, "words").is_empty() && !manifests::given(matches) {
            return refuse("NAME or filename is required for debug");
        }
        if !["Always", "IfNotPresent", "Never", ""].contains(&self.pull_policy.as_str()) {
            return refuse(&format!("invalid image pull policy: {}", self.pull_policy));
        }
        if let Some((name, image)) = self.set_images.iter().find(|(_, image)| !is_image(image)) {
            return refuse(&format!("invalid image name {image:?} for container {name:?}: invalid reference format"));
        }
        if !self.target.is_empty() {
            if !self.copy_to.is_empty() {
                return refuse("--target is incompatible with --copy-to. Use --share-processes instead.");
            }
            if !self.quiet {
                context.line(format!(
                    "Targeting container {:?}. If you don't see processes from this container it may be because the \
                     container runtime doesn't support this feature.",
                    self.target
                ))?;
            }
        }
        if self.tty && !self.stdin {
            return refuse("-i/--stdin is required for containers with -t/--tty=true");
        }
        let fixed = ["name", "command", "image", "lifecycle", "volumeDevices"];
        if self.custom.as_ref().is_some_and(|custom| fixed.iter().any(|field| !custom[*field].is_null())) {
            return refuse("name, command, image, lifecycle and volume devices are not modifiable via custom profile");
        }
        if self.profile == Profile::Legacy {
            eprintln!(
                "--profile=legacy is deprecated and planned to be removed in v1.39. It is recommended to specify other \
                 profile, for example \"--profile=general\"."
            );
        }
        Ok(())
    }

    /// The words behind `--`, as the container's command or as its arguments.
    fn command(&self, container: &mut Value) {
        if self.arguments.is_empty() {
            return;
        }
        let field = if self.arguments_only { "args" } else { "command" };
        container[field] = json!(self.arguments);
    }

    /// A container that is nothing but the debugger.
    fn container(&self, name: &str) -> Value {
        let mut container = json!({"name": name, "image": self.image, "terminationMessagePolicy": "File"});
        self.command(&mut container);
        self.dress(&mut container);
        container
    }

    fn dress(&self, container: &mut Value) {
        if !self.env.is_empty() {
            container["env"] = json!(self.env);
        }
        if !self.pull_policy.is_empty() {
            container["imagePullPolicy"] = json!(self.pull_policy);
        }
        container["stdin"] = json!(self.stdin);
        container["tty"] = json!(self.tty);
    }

    /// The part of a container that the user's own profile gives.
    ///
    /// # Errors
    /// It cannot be merged into a container.
    fn customize(&self, pod: &mut Value, name: &str) -> Result<()> {
        let Some(custom) = &self.custom else { return Ok(()) };
        let schema = schema::named("io.k8s.api.core.v1.Container");
        let (Some(container), Some(schema)) = (find(pod, name), schema) else { return Ok(()) };
        let merged = patch::strategic_merge_patch(container.take(), custom.clone(), schema);
        *container = merged
            .map_err(|e| Error::message(format!("error creating three way patch to add debug container: {e}")))?;
        Ok(())
    }

    /// The name asked for, or one that no container of the pod has; `random` gives uniform numbers.
    pub fn container_name(
        &self,
        context: &Context,
        pod: &mut Value,
        random: &mut (dyn FnMut() -> u32 + Send),
    ) -> Result<String> {
        if !self.container.is_empty() {
            return Ok(self.container.clone());
        }
        let name = loop {
            let name = format!("debugger-{}", random_string(SUFFIX_LENGTH, &mut *random));
            if find(pod, &name).is_none() {
                break name;
            }
        };
        if !self.quiet {
            context.line(format!("Defaulting debug container name to {name}."))?;
        }
        Ok(name)
    }

    /// A pod in the namespaces of a node.
    ///
    /// # Errors
    /// The custom profile does not fit.
    pub fn node_pod(&self, node: &str, pod_name: &str, container: &str) -> Result<Value> {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod_name, "labels": {"app.kubernetes.io/managed-by": "kubectl-debug"}},
            "spec": {
                "containers": [self.container(container)],
                "nodeName": node,
                "restartPolicy": "Never",
                "tolerations": [{"operator": "Exists"}],
            },
        });
        self.profile.apply(&mut pod, container, Style::Node, self.keep);
        self.customize(&mut pod, container)?;
        Ok(pod)
    }

    /// The pod without what belongs to the original alone, and with other images.
    pub fn bare_copy(&self, pod: &Value) -> Value {
        let mut copy = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.copy_to, "namespace": pod["metadata"]["namespace"]},
            "spec": pod["spec"],
        });
        for field in ["labels", "annotations"] {
            if !pod["metadata"][field].is_null() {
                copy["metadata"][field] = pod["metadata"][field].clone();
            }
        }
        remove(&mut copy["spec"], "ephemeralContainers");
        if let Some(share) = self.share_processes {
            copy["spec"]["shareProcessNamespace"] = json!(share);
        }
        if !self.same_node {
            remove(&mut copy["spec"], "nodeName");
        }
        for container in copy["spec"]["containers"].as_array_mut().into_iter().flatten() {
            let image_for = |name: &str| self.set_images.iter().rev().find(|(n, _)| n == name).map(|(_, image)| image);
            let named = container["name"].as_str().and_then(image_for);
            if let Some(image) = named.or_else(|| image_for("*")).filter(|image| !image.is_empty()) {
                container["image"] = json!(image);
            }
        }
        copy
    }

    /// Make the named container of a copy the debugger, or add one.
    ///
    /// # Errors
    /// The custom profile does not fit.
    pub fn change_copy(&self, copy: &mut Value, name: &str) -> Result<()> {
        if find(copy, name).is_none() {
            push(&mut copy["spec"]["containers"], json!({"name": name, "terminationMessagePolicy": "File"}));
        }
        if let Some(container) = find(copy, name) {
            if !self.arguments.is_empty() && !self.arguments_only {
                remove(container, "args");
            }
            self.command(container);
            if !self.image.is_empty() {
                container["image"] = json!(self.image);
            }
            self.dress(container);
        }
        self.profile.apply(copy, name, Style::Copy, self.keep);
        self.customize(copy, name)
    }

    /// The pod with one more ephemeral container.
    ///
    /// # Errors
    /// The custom profile does not fit.
    pub fn with_ephemeral(&self, pod: &Value, name: &str) -> Result<Value> {
        let mut changed = pod.clone();
        let mut container = self.container(name);
        if !self.target.is_empty() {
            container["targetContainerName"] = json!(self.target);
        }
        push(&mut changed["spec"]["ephemeralContainers"], container);
        self.profile.apply(&mut changed, name, Style::Ephemeral, self.keep);
        self.customize(&mut changed, name)?;
        Ok(changed)
    }
}

/// The partial container in a file of JSON or YAML.
fn custom(path: &str) -> Result<Option<Value>> {
    if path.is_empty() {
        return Ok(None);
    }
    let read = std::fs::read_to_string(path).map_err(|e| {
        let why = crate::printers::go_text(&e);
        Error::message(format!("must pass a container spec json file for custom profile: open {path}: {why}"))
    })?;
    let (value, _) = apimachinery::codec::yaml::parse_tolerant(&read)
        .map_err(|e| Error::message(format!("{path} does not contain a valid container spec: {e}")))?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let matches = crate::commands::command().no_binary_name(true);
        let matches = matches.try_get_matches_from(["debug"].into_iter().chain(words)).expect(line);
        Options::new(matches.subcommand().expect("debug").1).expect(line)
    }

    fn pod() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"nodeName": "node", "containers": [{"name": "web", "image": "web:1", "args": ["x"]}],
                "ephemeralContainers": [{"name": "old"}]},
        })
    }

    #[test]
    fn ephemeral_containers_are_added() {
        let options = options("web --image=busybox --target=web -it --env=A=b,C=d -- sh -c ls");
        let changed = options.with_ephemeral(&pod(), "debugger").expect("a pod");
        assert_eq!(changed["spec"]["containers"], pod()["spec"]["containers"]);
        assert_eq!(
            changed["spec"]["ephemeralContainers"][1],
            json!({"name": "debugger", "image": "busybox", "terminationMessagePolicy": "File", "stdin": true, "tty": true,
                "command": ["sh", "-c", "ls"], "targetContainerName": "web",
                "env": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}],
                "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}})
        );
    }

    #[test]
    fn copies_change_images_and_commands() {
        let with_command = options("web --copy-to=again --container=web --share-processes=false -- sh");
        let mut copy = with_command.bare_copy(&pod());
        with_command.change_copy(&mut copy, "web").expect("a pod");
        assert_eq!(copy["metadata"], json!({"name": "again", "namespace": "n"}));
        assert_eq!(copy["spec"]["shareProcessNamespace"], false);
        assert!(copy["spec"]["nodeName"].is_null() && copy["spec"]["ephemeralContainers"].is_null());
        let container = &copy["spec"]["containers"][0];
        assert_eq!((&container["command"], &container["args"]), (&json!(["sh"]), &Value::Null));
        let with_images = options("web --copy-to=again --same-node --set-image=*=other,web=web:2");
        let copy = with_images.bare_copy(&pod());
        assert_eq!(copy["spec"]["containers"][0]["image"], "web:2");
        assert_eq!(copy["spec"]["nodeName"], "node");
    }

    #[test]
    fn custom_profiles_go_over_the_built_in_one() {
        let mut options = options("node/a --image=busybox --profile=sysadmin");
        options.custom = Some(json!({"env": [{"name": "A", "value": "b"}], "securityContext": {"runAsUser": 0}}));
        let pod = options.node_pod("a", "p", "debugger").expect("a pod");
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["securityContext"], json!({"privileged": true, "runAsUser": 0}));
        assert_eq!(container["env"], json!([{"name": "A", "value": "b"}]));
        assert_eq!(pod["spec"]["hostIPC"], true);
    }
}
