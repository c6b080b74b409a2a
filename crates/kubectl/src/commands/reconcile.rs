//! `kubectl auth reconcile`: roles and bindings get what a file says, and keep what they have beyond it.
//!
//! What is to be done is planned in `reconcile_plan.rs`; here it is carried out and told of.
use super::reconcile_plan::{AUTO_UPDATE, Operation, Plan, binding, create, role, strings};
use crate::{
    Context, Error, Result, manifests,
    select::{self, Target, flag},
    write::{self, DryRun, Writer},
};
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
/// An object that comes and goes while it is reconciled is tried that often again.
const ATTEMPTS: usize = 3;

/// The words of the command.
pub fn words() -> Words {
    write::flags(
        Words::new("reconcile")
            .about("Reconciles rules for RBAC role, role binding, cluster role, and cluster role binding objects"),
    )
    .arg(Arg::new("words").num_args(0..).hide(true))
    .arg(manifests::file_flag())
}

/// # Errors
/// A file cannot be read, or the server refuses.
pub async fn run(context: &Context, matches: &ArgMatches) -> Result<()> {
    if !manifests::given(matches) {
        return Err(Error::message("must specify one of -f and -k"));
    }
    if !select::words(matches, "words").is_empty() {
        return Err(Error::message("no arguments are allowed"));
    }
    let writer = Writer::new(context, matches, "kubectl-auth")?;
    if writer.dry_run == DryRun::Server {
        return Err(Error::message("--dry-run=server for command reconcile is not supported yet"));
    }
    let (manifests, unread) = manifests::read_sourced(context, matches).await?;
    let mut errors = Vec::new();
    for manifest in manifests {
        errors.extend(one(&writer, matches, manifest.object).await.err());
    }
    errors.extend(unread);
    Error::collect(errors)
}

async fn one(writer: &Writer<'_>, matches: &ArgMatches, mut object: Value) -> Result<()> {
    let (api_version, kind) = manifests::type_of(&object)?;
    if api_version.split('/').next() != Some(GROUP) {
        return Ok(());
    }
    let is_role = match kind.as_str() {
        "Role" | "ClusterRole" => true,
        "RoleBinding" | "ClusterRoleBinding" => false,
        _ => return Ok(()),
    };
    if api_version != format!("{GROUP}/v1") {
        let version = api_version.split('/').nth(1).unwrap_or_default();
        return Err(Error::message(format!("only {GROUP}/v1 is supported: not *{version}.{kind}")));
    }
    let target = select::of_object(writer.context, &object).await?;
    if let Some(namespace) = &target.namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let remove = flag(matches, if is_role { "remove-extra-permissions" } else { "remove-extra-subjects" });
    let plan = carry_out(writer, &target, &object, is_role, remove).await?;
    report(writer, &target, plan, is_role, remove)
}

/// Plan, and write unless this is a dry run.
async fn carry_out(
    writer: &Writer<'_>,
    target: &Target,
    expected: &Value,
    is_role: bool,
    remove: bool,
) -> Result<Plan> {
    let api = writer.context.api().await?;
    for _ in 0..ATTEMPTS {
        let existing = match api.get(&target.path()).await {
            Ok(existing) => Some(existing),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let mut plan = match &existing {
            None => create(expected, is_role),
            Some(existing) if is_role => role(existing, expected, remove),
            Some(existing) => binding(existing, expected, remove),
        };
        if plan.protected || writer.dry_run == DryRun::Client {
            return Ok(plan);
        }
        if plan.operation == Operation::Recreate {
            let uid = existing.as_ref().map(|existing| existing["metadata"]["uid"].clone()).unwrap_or_default();
            match api.delete(&target.path(), &json!({"preconditions": {"uid": uid}})).await {
                Err(error) if error.is_conflict() => continue,
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        let written = match plan.operation {
            Operation::None => return Ok(plan),
            Operation::Update => api.put(&writer.path(&target.path()), &plan.object).await,
            Operation::Create | Operation::Recreate => {
                ensure_namespace(writer.context, target.namespace.as_deref()).await?;
                let collection = target.resource.collection(target.namespace.as_deref());
                api.post(&writer.path(&collection), &plan.object).await
            }
        };
        match written {
            // Another one was quicker.
            Err(error) if error.is_already_exists() && plan.operation != Operation::Update => {}
            Err(error) if error.is_not_found() && plan.operation == Operation::Update => {}
            written => {
                plan.object = written?;
                return Ok(plan);
            }
        }
    }
    Err(Error::message("exceeded maximum attempts"))
}

/// Roles may come before their namespace.
async fn ensure_namespace(context: &Context, namespace: Option<&str>) -> Result<()> {
    let Some(name) = namespace else { return Ok(()) };
    let api = context.api().await?;
    match api.get(&format!("/api/v1/namespaces/{}", crate::http::escape(name))).await {
        Err(error) if error.is_not_found() => {}
        Err(Error::Server(status)) if status.code == 403 => return Ok(()),
        found => return found.map(drop),
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    match api.post("/api/v1/namespaces", &namespace).await {
        Err(Error::Server(status)) if status.code == 403 || status.reason == "AlreadyExists" => Ok(()),
        made => made.map(drop),
    }
}

/// What happened, and on standard error why.
fn report(writer: &Writer<'_>, target: &Target, plan: Plan, is_role: bool, remove: bool) -> Result<()> {
    writer.report_typed(&target.resource, plan.object, "reconciled")?;
    let operation = match plan.operation {
        Operation::None => return Ok(()),
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Recreate => "recreate",
    };
    let caveat = if plan.protected { format!(", but object opted out ({AUTO_UPDATE}: false)") } else { String::new() };
    eprintln!("\treconciliation required {operation}{caveat}");
    let what = if is_role { "rules" } else { "subjects" };
    let tell = |title: String, all: &[Value]| {
        if !all.is_empty() {
            eprintln!("\t{title}:");
            all.iter().for_each(|one| eprintln!("\t\t{}", if is_role { rule_text(one) } else { subject_text(one) }));
        }
    };
    tell(format!("missing {what} added"), &plan.missing);
    if remove {
        tell(format!("extra {what} removed"), &plan.extra);
    }
    Ok(())
}

/// A rule as Go prints the structure.
fn rule_text(rule: &Value) -> String {
    let list = |field: &str| strings(rule, field).join(" ");
    format!(
        "{{Verbs:[{}] APIGroups:[{}] Resources:[{}] ResourceNames:[{}] NonResourceURLs:[{}]}}",
        list("verbs"),
        list("apiGroups"),
        list("resources"),
        list("resourceNames"),
        list("nonResourceURLs")
    )
}

/// A subject as Go prints the structure.
fn subject_text(subject: &Value) -> String {
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    format!("{{Kind:{kind} APIGroup:{} Name:{name} Namespace:{}}}", text("apiGroup"), text("namespace"))
}
