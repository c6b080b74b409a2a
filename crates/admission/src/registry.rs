//! The list of plugins, in upstream's recommended order, and which of them are on.
//!
//! A plugin that upstream has and we do not keeps its place and its name here; asking for it is an error that says so.
use crate::{Config, Error, Plugin, plugins::*};
use std::sync::Arc;

/// How a plugin is made.
type Make = fn(&Config) -> Arc<dyn Plugin>;

struct Entry {
    name: &'static str,
    /// On without `--enable-admission-plugins`.
    default: bool,
    /// `None`: not supported yet.
    make: Option<Make>,
}

const fn on(name: &'static str, make: Make) -> Entry {
    Entry { name, default: true, make: Some(make) }
}

const fn off(name: &'static str, make: Make) -> Entry {
    Entry { name, default: false, make: Some(make) }
}

/// Upstream has it; on by default there or not.
const fn missing(name: &'static str, default: bool) -> Entry {
    Entry { name, default, make: None }
}

const ALL: &[Entry] = &[
    off("AlwaysAdmit", |_| Arc::new(always::Admit)),
    missing("NamespaceAutoProvision", false),
    on("NamespaceLifecycle", |c| Arc::new(namespace_lifecycle::NamespaceLifecycle::new(c))),
    off("NamespaceExists", |c| Arc::new(namespace_exists::NamespaceExists::new(c))),
    missing("LimitPodHardAntiAffinityTopology", false),
    on("LimitRanger", |c| Arc::new(limit_ranger::LimitRanger::new(c))),
    on("ServiceAccount", |c| Arc::new(service_account::ServiceAccounts::new(c))),
    off("NodeRestriction", |c| Arc::new(node_restriction::NodeRestriction::new(c))),
    on("TaintNodesByCondition", |_| Arc::new(taint_nodes_by_condition::TaintNodesByCondition)),
    off("AlwaysPullImages", |_| Arc::new(always_pull_images::AlwaysPullImages)),
    missing("ImagePolicyWebhook", false),
    on("PodSecurity", |c| Arc::new(pod_security::PodSecurity::new(c))),
    missing("PodNodeSelector", false),
    on("Priority", |c| Arc::new(priority::Priority::new(c))),
    on("DefaultTolerationSeconds", |_| Arc::new(default_toleration_seconds::DefaultTolerationSeconds)),
    missing("PodTolerationRestriction", false),
    missing("EventRateLimit", false),
    off("ExtendedResourceToleration", |_| Arc::new(extended_resource_toleration::ExtendedResourceToleration)),
    on("DefaultStorageClass", |c| Arc::new(default_storage_class::DefaultStorageClass::new(c))),
    on("StorageObjectInUseProtection", |_| Arc::new(storage_protection::StorageObjectInUseProtection)),
    off("OwnerReferencesPermissionEnforcement", |c| Arc::new(owner_references::OwnerReferences::new(c))),
    on("PersistentVolumeClaimResize", |c| Arc::new(claim_resize::PersistentVolumeClaimResize::new(c))),
    on("RuntimeClass", |c| Arc::new(runtime_class::RuntimeClasses::new(c))),
    on("PodTopologyLabels", |c| Arc::new(pod_topology_labels::PodTopologyLabels::new(c))),
    on("CertificateApproval", |c| Arc::new(certificates::Approval::new(c))),
    on("CertificateSigning", |c| Arc::new(certificates::Signing::new(c))),
    // Guards a resource that is not served.
    missing("ClusterTrustBundleAttest", true),
    on("CertificateSubjectRestriction", |_| Arc::new(certificates::SubjectRestriction)),
    on("DefaultIngressClass", |c| Arc::new(default_ingress_class::DefaultIngressClass::new(c))),
    off("DenyServiceExternalIPs", |_| Arc::new(deny_service_external_ips::DenyServiceExternalIps)),
    // Policies and webhooks come with custom resources and CEL; their place is here, before quota.
    missing("MutatingAdmissionPolicy", true),
    missing("MutatingAdmissionWebhook", true),
    missing("ValidatingAdmissionPolicy", true),
    missing("ValidatingAdmissionWebhook", true),
    on("ResourceQuota", |c| Arc::new(resource_quota::ResourceQuotas::new(c))),
    off("AlwaysDeny", |_| Arc::new(always::Deny)),
];

fn entry(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|e| e.name == name)
}

/// The plugins that the flags leave on.
///
/// # Errors
/// All that is wrong with the flags, in upstream's words.
pub(crate) fn enabled(config: &Config) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let mut errors = Vec::new();
    for (flag, list) in [("enable", &config.enable), ("disable", &config.disable)] {
        for name in list.iter().filter(|name| entry(name).is_none()) {
            errors.push(format!("{flag}-admission-plugins plugin {name:?} is unknown"));
        }
    }
    let both: Vec<&str> = config.enable.iter().filter(|n| config.disable.contains(n)).map(String::as_str).collect();
    if !both.is_empty() {
        errors
            .push(format!("[{}] in enable-admission-plugins and disable-admission-plugins overlapped", both.join(" ")));
    }
    for name in &config.enable {
        if entry(name).is_some_and(|e| e.make.is_none()) {
            errors.push(format!("admission plugin {name:?} is known but not yet supported by ferrokube"));
        }
    }
    match errors.as_slice() {
        [] => {}
        [one] => return Err(Error::Plugins(one.clone())),
        many => return Err(Error::Plugins(format!("[{}]", many.join(", ")))),
    }
    let is_on = |e: &&Entry| {
        let listed = |list: &[String]| list.iter().any(|n| n == e.name);
        listed(&config.enable) || e.default && !listed(&config.disable)
    };
    Ok(ALL.iter().filter(is_on).filter_map(|e| e.make).map(|make| make(config)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chain, testing::Cluster};

    fn chain(enable: &[&str], disable: &[&str]) -> Result<Vec<&'static str>, String> {
        let own = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        let config = Config { enable: own(enable), disable: own(disable), ..Cluster::default().config() };
        Chain::standard(config).map(|c| c.names()).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_in_order() {
        let names = chain(&[], &[]).expect("valid");
        assert_eq!(names.first(), Some(&"NamespaceLifecycle"));
        assert_eq!(names.last(), Some(&"ResourceQuota"));
        assert!(!names.contains(&"NodeRestriction"));
        let names = chain(&["NodeRestriction"], &["ResourceQuota"]).expect("valid");
        assert!(names.contains(&"NodeRestriction") && !names.contains(&"ResourceQuota"));
    }

    #[test]
    fn names_match_their_entries() {
        let config = Cluster::default().config();
        for entry in ALL {
            if let Some(make) = entry.make {
                assert_eq!(make(&config).name(), entry.name);
            }
        }
    }

    #[test]
    fn wrong_names_are_refused() {
        for (enable, disable, want) in [
            (&["X"][..], &[][..], "enable-admission-plugins plugin \"X\" is unknown"),
            (&[], &["Y"], "disable-admission-plugins plugin \"Y\" is unknown"),
            (
                &["Priority"],
                &["Priority"],
                "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
            (
                &["EventRateLimit"],
                &[],
                "admission plugin \"EventRateLimit\" is known but not yet supported by ferrokube",
            ),
        ] {
            assert_eq!(chain(enable, disable), Err(want.to_owned()));
        }
    }
}
