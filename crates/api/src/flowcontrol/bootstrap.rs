//! The flow schemas and priority levels that every cluster begins with.
//!
//! Mandatory ones always have exactly these specs, and the server refuses any other; suggested ones are made when
//! they are missing and kept at these specs for as long as their annotation says so. All are written as defaulting
//! leaves them. Source: `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap` (names and figures).
use k8s_openapi::{
    api::flowcontrol::v1::{
        ExemptPriorityLevelConfiguration, FlowDistinguisherMethod, FlowSchema, FlowSchemaSpec, FlowSchemaStatus,
        GroupSubject, LimitResponse, LimitedPriorityLevelConfiguration, NonResourcePolicyRule, PolicyRulesWithSubjects,
        PriorityLevelConfiguration, PriorityLevelConfigurationReference, PriorityLevelConfigurationSpec,
        PriorityLevelConfigurationStatus, QueuingConfiguration, ResourcePolicyRule, ServiceAccountSubject, Subject,
        UserSubject,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// `"true"`: the server keeps the object's spec as it is here.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
pub const EXEMPT: &str = "exempt";
pub const CATCH_ALL: &str = "catch-all";
const QUEUE_LENGTH: i32 = 50;

/// An object that is there from the beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Initial<T> {
    pub mandatory: bool,
    pub object: T,
}

fn metadata(name: &str) -> ObjectMeta {
    let annotations = [(AUTO_UPDATE.to_owned(), "true".to_owned())].into();
    ObjectMeta { name: Some(name.to_owned()), annotations: Some(annotations), ..ObjectMeta::default() }
}

fn level(name: &str, mandatory: bool, spec: PriorityLevelConfigurationSpec) -> Initial<PriorityLevelConfiguration> {
    let status = Some(PriorityLevelConfigurationStatus::default());
    let object = PriorityLevelConfiguration { metadata: metadata(name), spec: Some(spec), status };
    Initial { mandatory, object }
}

/// `queuing` is how many queues there are and how many of them one flow uses.
fn limited(shares: i32, lendable_percent: i32, queuing: Option<(i32, i32)>) -> PriorityLevelConfigurationSpec {
    let type_ = if queuing.is_some() { "Queue" } else { "Reject" }.to_owned();
    let queuing = queuing.map(|(queues, hand)| QueuingConfiguration {
        queues: Some(queues),
        hand_size: Some(hand),
        queue_length_limit: Some(QUEUE_LENGTH),
    });
    PriorityLevelConfigurationSpec {
        type_: "Limited".to_owned(),
        exempt: None,
        limited: Some(LimitedPriorityLevelConfiguration {
            nominal_concurrency_shares: Some(shares),
            lendable_percent: Some(lendable_percent),
            borrowing_limit_percent: None,
            limit_response: Some(LimitResponse { type_, queuing }),
        }),
    }
}

pub fn priority_levels() -> Vec<Initial<PriorityLevelConfiguration>> {
    let exempt = PriorityLevelConfigurationSpec {
        type_: "Exempt".to_owned(),
        exempt: Some(ExemptPriorityLevelConfiguration {
            nominal_concurrency_shares: Some(0),
            lendable_percent: Some(0),
        }),
        limited: None,
    };
    vec![
        level(CATCH_ALL, true, limited(5, 0, None)),
        level(EXEMPT, true, exempt),
        level("system", false, limited(30, 33, Some((64, 6)))),
        level("node-high", false, limited(40, 25, Some((64, 6)))),
        level("leader-election", false, limited(10, 0, Some((16, 4)))),
        level("workload-high", false, limited(40, 50, Some((128, 6)))),
        level("workload-low", false, limited(100, 90, Some((128, 6)))),
        level("global-default", false, limited(20, 50, Some((128, 6)))),
    ]
}

fn users(names: &[&str]) -> Vec<Subject> {
    let subject = |name: &&str| Subject {
        kind: "User".to_owned(),
        user: Some(UserSubject { name: (*name).to_owned() }),
        ..Subject::default()
    };
    names.iter().map(subject).collect()
}

fn groups(names: &[&str]) -> Vec<Subject> {
    let subject = |name: &&str| Subject {
        kind: "Group".to_owned(),
        group: Some(GroupSubject { name: (*name).to_owned() }),
        ..Subject::default()
    };
    names.iter().map(subject).collect()
}

/// Service accounts of kube-system.
fn accounts(names: &[&str]) -> Vec<Subject> {
    let subject = |name: &&str| Subject {
        kind: "ServiceAccount".to_owned(),
        service_account: Some(ServiceAccountSubject { name: (*name).to_owned(), namespace: "kube-system".to_owned() }),
        ..Subject::default()
    };
    names.iter().map(subject).collect()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

/// Of one API group, in all namespaces.
fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> ResourcePolicyRule {
    ResourcePolicyRule {
        verbs: owned(verbs),
        api_groups: owned(&[group]),
        resources: owned(resources),
        namespaces: Some(owned(&["*"])),
        cluster_scope: cluster_scope.then_some(true),
    }
}

fn paths(verbs: &[&str], paths: &[&str]) -> NonResourcePolicyRule {
    NonResourcePolicyRule { verbs: owned(verbs), non_resource_urls: owned(paths) }
}

fn only(subjects: Vec<Subject>, rules: Vec<ResourcePolicyRule>) -> PolicyRulesWithSubjects {
    PolicyRulesWithSubjects { subjects, resource_rules: Some(rules), non_resource_rules: None }
}

fn everything_of(subjects: Vec<Subject>) -> PolicyRulesWithSubjects {
    let non_resource_rules = Some(vec![paths(&["*"], &["*"])]);
    PolicyRulesWithSubjects { non_resource_rules, ..only(subjects, vec![resources(&["*"], "*", &["*"], true)]) }
}

/// `by` distinguishes flows: `ByUser`, `ByNamespace`, or empty for one flow alone.
fn schema(name: &str, level: &str, precedence: i32, by: &str, rule: PolicyRulesWithSubjects) -> Initial<FlowSchema> {
    let distinguisher_method = (!by.is_empty()).then(|| FlowDistinguisherMethod { type_: by.to_owned() });
    let spec = FlowSchemaSpec {
        distinguisher_method,
        matching_precedence: Some(precedence),
        priority_level_configuration: PriorityLevelConfigurationReference { name: level.to_owned() },
        rules: Some(vec![rule]),
    };
    let object = FlowSchema { metadata: metadata(name), spec: Some(spec), status: Some(FlowSchemaStatus::default()) };
    Initial { mandatory: matches!(name, EXEMPT | CATCH_ALL), object }
}

pub fn flow_schemas() -> Vec<Initial<FlowSchema>> {
    const COORDINATION: &str = "coordination.k8s.io";
    const EVERYBODY: &[&str] = &["system:unauthenticated", "system:authenticated"];
    const MANAGER: &str = "system:kube-controller-manager";
    const SCHEDULER: &str = "system:kube-scheduler";
    let elect: &[&str] = &["get", "create", "update"];
    let leases = || resources(elect, COORDINATION, &["leases"], false);
    let probes = PolicyRulesWithSubjects {
        subjects: groups(EVERYBODY),
        resource_rules: None,
        non_resource_rules: Some(vec![paths(&["get"], &["/healthz", "/readyz", "/livez"])]),
    };
    let leaders = [users(&[MANAGER, SCHEDULER]), accounts(&["*"])].concat();
    let endpoints = [users(&[MANAGER]), accounts(&["endpoint-controller", "endpointslicemirroring-controller"])];
    let endpoints = only(endpoints.concat(), vec![resources(elect, "", &["endpoints"], false)]);
    let others = vec![resources(elect, "", &["endpoints", "configmaps"], false), leases()];
    let nodes = vec![
        resources(&["*"], "", &["nodes", "nodes/status"], true),
        resources(&["*"], COORDINATION, &["leases"], false),
    ];
    let system_nodes = || groups(&["system:nodes"]);
    vec![
        schema(EXEMPT, EXEMPT, 1, "", everything_of(groups(&["system:masters"]))),
        schema("probes", EXEMPT, 2, "", probes),
        schema("system-leader-election", "leader-election", 100, "ByUser", only(leaders, vec![leases()])),
        schema("endpoint-controller", "workload-high", 150, "ByUser", endpoints),
        schema("workload-leader-election", "leader-election", 200, "ByUser", only(accounts(&["*"]), others)),
        schema("system-node-high", "node-high", 400, "ByUser", only(system_nodes(), nodes)),
        schema("system-nodes", "system", 500, "ByUser", everything_of(system_nodes())),
        schema("kube-controller-manager", "workload-high", 800, "ByNamespace", everything_of(users(&[MANAGER]))),
        schema("kube-scheduler", "workload-high", 800, "ByNamespace", everything_of(users(&[SCHEDULER]))),
        schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", everything_of(accounts(&["*"]))),
        schema("service-accounts", "workload-low", 9000, "ByUser", everything_of(groups(&["system:serviceaccounts"]))),
        schema("global-default", "global-default", 9900, "ByUser", everything_of(groups(EVERYBODY))),
        schema(CATCH_ALL, CATCH_ALL, 10_000, "ByUser", everything_of(groups(EVERYBODY))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use apimachinery::field::ErrorList;

    /// What is compared with what is stored must be as it is stored.
    #[test]
    fn are_defaulted_and_valid() {
        for Initial { object, .. } in flow_schemas() {
            let (mut defaulted, mut errors) = (object.clone(), ErrorList::default());
            defaulted.set_defaults();
            assert_eq!(defaulted, object);
            object.validate(&mut errors);
            assert!(errors.is_empty(), "{:?}: {errors:?}", object.metadata.name);
        }
        for Initial { object, .. } in priority_levels() {
            let (mut defaulted, mut errors) = (object.clone(), ErrorList::default());
            defaulted.set_defaults();
            assert_eq!(defaulted, object);
            object.validate(&mut errors);
            assert!(errors.is_empty(), "{:?}: {errors:?}", object.metadata.name);
        }
    }

    #[test]
    fn every_schema_has_its_level() {
        let levels: Vec<_> = priority_levels().into_iter().filter_map(|l| l.object.metadata.name).collect();
        for schema in flow_schemas() {
            let name = schema.object.spec.map(|s| s.priority_level_configuration.name).unwrap_or_default();
            assert!(levels.contains(&name), "{name}");
        }
    }
}
