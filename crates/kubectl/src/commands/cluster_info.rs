//! `kubectl cluster-info`, `kubectl top`, and `kubectl options`: what is told about the whole.
use super::Command;
use crate::{Context, Result, http::with_query};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};

pub struct ClusterInfo;
pub struct Options;

#[async_trait]
impl Command for ClusterInfo {
    fn words(&self) -> Words {
        Words::new("cluster-info")
            .about("Display cluster information")
            .arg(Arg::new("words").num_args(0..).hide(true))
            .subcommand(super::cluster_dump::subcommand())
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        if let Some((_, dump)) = matches.subcommand() {
            return super::cluster_dump::run(context, dump).await;
        }
        let server = context.server().await?;
        let path = with_query(
            "/api/v1/namespaces/kube-system/services",
            &[("labelSelector", "kubernetes.io/cluster-service=true")],
        );
        let services = context.api().await?.get(&path).await?;
        context.line(format!("Kubernetes control plane is running at {server}"))?;
        for service in services["items"].as_array().into_iter().flatten() {
            let metadata = &service["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            let title = metadata["labels"]["kubernetes.io/name"].as_str().unwrap_or(name);
            let port = &service["spec"]["ports"][0];
            let number = port["port"].as_i64().unwrap_or(0);
            let port_name = port["name"].as_str().map_or_else(String::new, |n| format!(":{n}"));
            let scheme = if port_name == ":https" || number == 443 { "https:" } else { "" };
            let link = format!("{server}/api/v1/namespaces/kube-system/services/{scheme}{name}{port_name}/proxy");
            context.line(format!("{title} is running at {link}"))?;
        }
        context.line("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.")
    }
}

#[async_trait]
impl Command for Options {
    fn words(&self) -> Words {
        Words::new("options")
            .about("Print the list of flags inherited by all commands")
            .arg(Arg::new("words").num_args(0..).hide(true))
    }

    async fn run(&self, context: &Context, _: &ArgMatches) -> Result<()> {
        context.print(crate::help::options())
    }
}
