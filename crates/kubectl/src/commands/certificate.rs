//! `kubectl certificate approve` and `deny`; and the commands that are known but not there yet.
use super::Command;
use crate::{
    Context, Error, Result,
    select::{Target, flag, words},
    write::{DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::json;

pub struct Certificate;

#[async_trait]
impl Command for Certificate {
    fn words(&self) -> Words {
        let one = |name: &'static str, about: &'static str| {
            Words::new(name)
                .about(about)
                .arg(Arg::new("words").num_args(0..).value_name("NAME"))
                .arg(crate::printers::output_flag())
                .arg(
                    crate::global::boolean(Arg::new("force").long("force"))
                        .default_value("false")
                        .help("Update the CSR even if it is already approved."),
                )
        };
        Words::new("certificate")
            .about("Modify certificate resources")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(one("approve", "Approve a certificate signing request"))
            .subcommand(one("deny", "Deny a certificate signing request"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some((verb, matches)) = matches.subcommand() else { return Err(Error::Exit(1)) };
        let (kind, reason, done) = match verb {
            "approve" => ("Approved", "KubectlApprove", "approved"),
            _ => ("Denied", "KubectlDeny", "denied"),
        };
        let files = crate::manifests::read(context, matches).await?;
        let of_files = files.iter().filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned));
        let names: Vec<String> = words(matches, "words").into_iter().chain(of_files).collect();
        if names.is_empty() {
            return Err(Error::message("one or more CSRs must be specified as <name> or -f <filename>"));
        }
        let writer = Writer::new(context, matches, "kubectl-certificate")?;
        let resource = context.mapper().await?.resource("certificatesigningrequests")?.clone();
        for name in names {
            let name = name.rsplit('/').next().unwrap_or(&name).to_owned();
            let target = Target { resource: resource.clone(), name: Some(name), namespace: None };
            let api = context.api().await?;
            let mut object = api.get(&target.path()).await?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let known = conditions.iter().any(|c| c["type"] == kind);
            if !known || flag(matches, "force") {
                let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let mut conditions: Vec<_> = conditions.into_iter().filter(|c| c["type"] != kind).collect();
                conditions.push(json!({"type": kind, "status": "True", "reason": reason,
                    "message": format!("This CSR was {done} by kubectl certificate {verb}."), "lastUpdateTime": now}));
                object["status"]["conditions"] = json!(conditions);
                if writer.dry_run != DryRun::Client {
                    object = api.put(&writer.path(&format!("{}/approval", target.path())), &object).await?;
                }
            }
            writer.report_typed(&target.resource, object, done)?;
        }
        Ok(())
    }
}

/// A command of the official kubectl that is not here; saying so is better than not knowing it.
pub struct Missing(pub &'static str, pub &'static str);

#[async_trait]
impl Command for Missing {
    fn words(&self) -> Words {
        let any = Arg::new("words").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true).hide(true);
        Words::new(self.0).about(self.1).arg(any)
    }

    async fn run(&self, _: &Context, _: &ArgMatches) -> Result<()> {
        Err(Error::message(format!("kubectl {} is not implemented", self.0)))
    }
}
