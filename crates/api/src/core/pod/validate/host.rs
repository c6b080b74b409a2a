//! Rules for what a pod sees of names: DNS configuration and host aliases.
use super::check;
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::PodSpec;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_MAX_BYTES: usize = 2048;

pub fn dns(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let none = spec.dns_policy.as_deref() == Some("None");
    let Some(config) = &spec.dns_config else {
        if none {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(Error::required(&path.child("dnsConfig"), detail));
        }
        return;
    };
    let path = path.child("dnsConfig");
    let servers = config.nameservers.as_deref().unwrap_or_default();
    if none && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(Error::required(&path.child("nameservers"), detail));
    }
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(Error::invalid(&path.child("nameservers"), servers, detail));
    }
    for (i, server) in servers.iter().enumerate() {
        check(server, validation::is_valid_ip, || path.child("nameservers").index(i), errors);
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(Error::invalid(&path.child("searches"), searches, detail));
    }
    if searches.iter().map(|s| s.len() + 1).sum::<usize>() > SEARCHES_MAX_BYTES + 1 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(Error::invalid(&path.child("searches"), searches, detail));
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, s)| s.as_str() != ".") {
        let trimmed = search.strip_suffix('.').unwrap_or(search);
        let at = || path.child("searches").index(i);
        check(trimmed, validation::is_dns1123_subdomain_with_underscore, at, errors);
    }
    for (i, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_ref().is_none_or(String::is_empty) {
            errors.push(Error::required(&path.child("options").index(i), "must not be empty"));
        }
    }
}

pub fn aliases(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    for (i, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let at = || path.child("hostAliases").index(i);
        check(&alias.ip, validation::is_valid_ip, || at().child("ip"), errors);
        for (j, name) in alias.hostnames.iter().flatten().enumerate() {
            check(name, validation::is_dns1123_subdomain, || at().child("hostnames").index(j), errors);
        }
    }
}
