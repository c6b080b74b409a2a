//! FlowSchemas.
use super::{bootstrap, rules, validate_conditions};
use crate::{
    cells,
    kind::{Kind, spec_and_status},
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::flowcontrol::v1::FlowSchema;

const PRECEDENCE: i32 = 1000;
const PRECEDENCE_MAX: i32 = 10_000;

fn conditions(schema: &FlowSchema) -> impl Iterator<Item = &str> {
    let conditions = schema.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.map(|c| c.type_.as_deref().unwrap_or_default())
}

impl Kind for FlowSchema {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("PriorityLevel", "name is the name of the priority level configuration being referenced Required."),
        cells::text(
            "MatchingPrecedence",
            "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen FlowSchema is among those with the numerically lowest (which we take to be logically highest) MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the precedence is not specified, it will be set to 1000 as default.",
        ),
        cells::text(
            "DistinguisherMethod",
            "`type` is the type of flow distinguisher method The supported types are \"ByUser\" and \"ByNamespace\". Required.",
        ),
        cells::AGE,
        cells::text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas").cluster().status()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        if spec.matching_precedence.unwrap_or_default() == 0 {
            spec.matching_precedence = Some(PRECEDENCE);
        }
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        let precedence = spec.matching_precedence.unwrap_or_default();
        if precedence <= 0 {
            let detail = "must be a positive value";
            errors.push(Error::invalid(&path.child("matchingPrecedence"), precedence, detail));
        }
        if precedence > PRECEDENCE_MAX {
            let detail = format!("must not be greater than {PRECEDENCE_MAX}");
            errors.push(Error::invalid(&path.child("matchingPrecedence"), precedence, detail));
        }
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if precedence == 1 && name != bootstrap::EXEMPT {
            let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.push(Error::invalid(&path.child("matchingPrecedence"), precedence, detail));
        }
        if let Some(method) = &spec.distinguisher_method
            && !matches!(method.type_.as_str(), "ByUser" | "ByNamespace")
        {
            let at = path.child("distinguisherMethod").child("type");
            errors.push(Error::not_supported(&at, method, &["ByNamespace", "ByUser"]));
        }
        let at = path.child("priorityLevelConfiguration").child("name");
        let level = spec.priority_level_configuration.name.as_str();
        if level.is_empty() {
            errors.push(Error::required(&at, "must reference a priority level"));
        } else {
            for violation in validation::is_dns1123_subdomain(level) {
                errors.push(Error::invalid(&at, level, violation));
            }
        }
        for (i, rule) in spec.rules.iter().flatten().enumerate() {
            rules::validate(rule, &path.child("rules").index(i), errors);
        }
        let fixed = bootstrap::flow_schemas()
            .into_iter()
            .find(|s| s.mandatory && s.object.metadata.name.as_deref() == Some(name));
        if let Some(fixed) = fixed
            && fixed.object.spec.as_ref() != Some(spec)
        {
            errors.push(Error::invalid(&path, spec, format!("spec of '{name}' must equal the fixed value")));
        }
        validate_conditions(conditions(self), errors);
    }

    fn validate_update(&self, target: Target, _old: &Self, errors: &mut ErrorList) {
        if target == Target::Status {
            validate_conditions(conditions(self), errors);
        }
    }

    fn row_rank(&self) -> Option<i64> {
        Some(i64::from(self.spec.as_ref().and_then(|s| s.matching_precedence).unwrap_or_default()))
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let method = spec.and_then(|s| s.distinguisher_method.as_ref()).map(|m| m.type_.as_str());
        let mut conditions = self.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let dangling = conditions.find(|c| c.type_.as_deref() == Some("Dangling")).and_then(|c| c.status.clone());
        vec![
            cells::name(&self.metadata),
            spec.map_or("", |s| &s.priority_level_configuration.name).into(),
            i64::from(spec.and_then(|s| s.matching_precedence).unwrap_or_default()).into(),
            method.unwrap_or(cells::NONE).into(),
            cells::age(&self.metadata, now),
            dangling.unwrap_or_else(|| "?".into()).into(),
        ]
    }
}
