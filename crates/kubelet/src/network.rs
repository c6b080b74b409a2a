//! What a pod sees of names: its host name, `/etc/hosts` and the resolver's configuration. Pure but for reads.
use std::path::Path;

use cri::v1;
use k8s_openapi::api::core::v1::Pod;

use crate::config::Config;
use crate::spec;

const LONGEST_HOSTNAME: usize = 63;
/// The resolver's limits (KEP-2595).
const MAX_SEARCHES: usize = 32;
const MAX_SERVERS: usize = 3;

/// (host name, domain): the domain only with a subdomain.
pub fn host_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = spec::spec(pod);
    let mut host = spec.hostname.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| spec::name(pod).to_owned());
    if let Some(given) = spec.hostname_override.clone().filter(|h| !h.is_empty()) {
        return (given, String::new());
    }
    if host.len() > LONGEST_HOSTNAME {
        host.truncate(LONGEST_HOSTNAME);
        host.truncate(host.trim_end_matches(['-', '.']).len());
    }
    let domain = match spec.subdomain.as_deref().filter(|s| !s.is_empty()) {
        Some(sub) => format!("{sub}.{}.svc.{cluster_domain}", spec::namespace(pod)),
        None => String::new(),
    };
    (host, domain)
}

/// The pod's kernel host name.
pub fn hostname(pod: &Pod, config: &Config) -> String {
    if spec::host_network(pod) {
        // The runtime leaves the host's own name in place.
        return String::new();
    }
    let (host, domain) = host_and_domain(pod, &config.cluster_domain);
    match spec::spec(pod).set_hostname_as_fqdn == Some(true) && !domain.is_empty() {
        true => format!("{host}.{domain}"),
        false => host,
    }
}

/// The text of `/etc/hosts`.
pub fn hosts_file(pod: &Pod, pod_ips: &[String], cluster_domain: &str) -> String {
    let mut text = if spec::host_network(pod) {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        format!("# Kubernetes-managed hosts file (host network).\n{hosts}")
    } else {
        let mut text = String::from(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let (host, domain) = host_and_domain(pod, cluster_domain);
        for ip in pod_ips {
            match domain.is_empty() {
                true => text.push_str(&format!("{ip}\t{host}\n")),
                false => text.push_str(&format!("{ip}\t{host}.{domain}\t{host}\n")),
            }
        }
        text
    };
    let aliases = spec::spec(pod).host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            text.push_str(&format!("{}\t{names}\n", alias.ip));
        }
    }
    text
}

/// The resolver's configuration by the pod's dnsPolicy and dnsConfig.
pub fn dns(pod: &Pod, config: &Config) -> v1::DnsConfig {
    let spec = spec::spec(pod);
    let host = || config.resolv_conf.as_deref().map(read_resolv_conf).unwrap_or_default();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "None" => None,
        "Default" => Some(false),
        "ClusterFirst" if spec::host_network(pod) => Some(false),
        _ => Some(!config.cluster_dns.is_empty()),
    };
    let mut dns = match cluster {
        None => v1::DnsConfig::default(),
        Some(false) => host(),
        Some(true) => {
            let inherited = host();
            let mut searches = Vec::new();
            let domain = &config.cluster_domain;
            if !domain.is_empty() {
                let namespace = spec::namespace(pod);
                searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            }
            searches.extend(inherited.searches);
            v1::DnsConfig { servers: config.cluster_dns.clone(), searches, options: vec!["ndots:5".into()] }
        }
    };
    if let Some(own) = &spec.dns_config {
        merge(&mut dns.servers, own.nameservers.iter().flatten());
        merge(&mut dns.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|o| o.split(':').next() != Some(name.as_str()));
            dns.options.push(match option.value.as_deref().filter(|v| !v.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    dns.servers.truncate(MAX_SERVERS);
    let mut seen = std::collections::HashSet::new();
    dns.searches.retain(|search| seen.insert(search.clone()));
    dns.searches.truncate(MAX_SEARCHES);
    dns
}

fn merge<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn read_resolv_conf(path: &Path) -> v1::DnsConfig {
    parse_resolv_conf(&std::fs::read_to_string(path).unwrap_or_default())
}

fn parse_resolv_conf(text: &str) -> v1::DnsConfig {
    let mut dns = v1::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            // The last one counts.
            Some("search") => {
                dns.searches = words.map(|w| w.trim_end_matches('.').to_owned()).filter(|w| !w.is_empty()).collect()
            }
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        let value = apimachinery::codec::yaml::parse(&format!("metadata: {{name: p, namespace: ns}}\nspec: {spec}"));
        serde_json::from_value(value.expect("yaml")).expect("a pod")
    }

    #[test]
    fn resolver_files() {
        let dns = parse_resolv_conf("# x\nnameserver 1.1.1.1\nsearch a. b\noptions ndots:2 edns0\n");
        assert_eq!(
            (dns.servers, dns.searches, dns.options),
            (vec!["1.1.1.1".into()], vec!["a".into(), "b".into()], vec!["ndots:2".into(), "edns0".into()])
        );
    }

    #[test]
    fn own_configuration_is_merged() {
        let mut config = crate::config::load(&crate::Flags::default()).expect("defaults");
        config.cluster_dns = vec!["10.96.0.10".into()];
        config.cluster_domain = "cluster.local".into();
        config.resolv_conf = None;
        let pod = pod(
            "{containers: [], dnsConfig: {nameservers: [9.9.9.9], searches: [x], options: [{name: ndots, value: '2'}]}}",
        );
        let dns = dns(&pod, &config);
        assert_eq!(dns.servers, ["10.96.0.10", "9.9.9.9"]);
        assert_eq!(dns.searches, ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "x"]);
        assert_eq!(dns.options, ["ndots:2"]);
    }

    #[test]
    fn hosts() {
        let pod = pod("{containers: [], subdomain: s, hostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}]}");
        let text = hosts_file(&pod, &["10.0.0.1".into()], "cluster.local");
        assert!(
            text.ends_with("10.0.0.1\tp.s.ns.svc.cluster.local\tp\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"),
            "{text}"
        );
    }
}
