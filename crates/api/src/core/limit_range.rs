//! LimitRanges.
use crate::{amounts, cells, kind::Kind, resource::Info};
use apimachinery::{
    field::{Error, ErrorList, Path},
    quantity::Quantity,
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use std::collections::BTreeSet;

fn default_item(item: &mut LimitRangeItem) {
    for list in
        [&mut item.default, &mut item.default_request, &mut item.max, &mut item.min, &mut item.max_limit_request_ratio]
    {
        amounts::canonicalize(list);
    }
    if item.type_ != "Container" {
        return;
    }
    // What is not said follows from what is: the maximum is the limit, the limit the request, else the minimum.
    let mut limits = item.default.take().unwrap_or_default();
    for (name, amount) in item.max.iter().flatten() {
        limits.entry(name.clone()).or_insert_with(|| amount.clone());
    }
    let mut requests = item.default_request.take().unwrap_or_default();
    for (name, amount) in &limits {
        requests.entry(name.clone()).or_insert_with(|| amount.clone());
    }
    for (name, amount) in item.min.iter().flatten() {
        requests.entry(name.clone()).or_insert_with(|| amount.clone());
    }
    item.default = Some(limits).filter(|l| !l.is_empty());
    item.default_request = Some(requests).filter(|l| !l.is_empty());
}

/// An amount with its name in messages.
type Named<'a> = (Option<Quantity>, &'a str);

/// Reports `lower > upper` at `field`.
fn ordered(lower: Named<'_>, upper: Named<'_>, path: &Path, errors: &mut ErrorList) {
    if let (Some(low), Some(high)) = (lower.0, upper.0)
        && low > high
    {
        let detail = format!("{} value {low} is greater than {} value {high}", lower.1, upper.1);
        errors.push(Error::invalid(path, low.to_string(), detail));
    }
}

fn validate_item(item: &LimitRangeItem, path: &Path, errors: &mut ErrorList) {
    let lists = [
        (&item.max, "max"),
        (&item.min, "min"),
        (&item.default, "default"),
        (&item.default_request, "defaultRequest"),
        (&item.max_limit_request_ratio, "maxLimitRequestRatio"),
    ];
    let mut names = BTreeSet::new();
    for (list, field) in lists {
        for name in list.iter().flat_map(|l| l.keys()) {
            for violation in validation::is_qualified_name(name) {
                errors.push(Error::invalid(&path.child(field).key(name), name, violation));
            }
            names.insert(name.as_str());
        }
        for (name, amount) in list.iter().flatten() {
            amounts::validate_non_negative(amount, &path.child(field).key(name), errors);
        }
    }
    if item.type_ == "Pod" {
        for (list, field) in [(&item.default, "default"), (&item.default_request, "defaultRequest")] {
            if list.as_ref().is_some_and(|l| !l.is_empty()) {
                errors.push(Error::forbidden(&path.child(field), "may not be specified when `type` is 'Pod'"));
            }
        }
    }
    if item.type_ == "PersistentVolumeClaim" {
        let storage = |list: &Option<amounts::ResourceList>| amounts::get(list.as_ref(), "storage").is_some();
        if !storage(&item.min) && !storage(&item.max) {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(Error::required(path, detail));
        }
    }
    for name in names {
        let max = (amounts::get(item.max.as_ref(), name), "max");
        let min = (amounts::get(item.min.as_ref(), name), "min");
        let default = (amounts::get(item.default.as_ref(), name), "default");
        let request = (amounts::get(item.default_request.as_ref(), name), "default request");
        let at = |field: &str| path.child(field).key(name);
        ordered(min, max, &at("min"), errors);
        ordered(min, request, &at("defaultRequest"), errors);
        ordered(request, max, &at("defaultRequest"), errors);
        ordered(request, (default.0, "default limit"), &at("defaultRequest"), errors);
        ordered(min, default, &at("default"), errors);
        ordered(default, max, &at("default"), errors);
    }
}

impl Kind for LimitRange {
    const COLUMNS: &'static [Column] = &[cells::NAME, cells::CREATED_AT];

    fn info() -> Info {
        Info::new("", "v1", "LimitRange", "limitranges").short(&["limits"]).created_on_update()
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default().limits.iter_mut().for_each(default_item);
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec").child("limits");
        let limits = self.spec.as_ref().map(|s| s.limits.as_slice()).unwrap_or_default();
        for (i, item) in limits.iter().enumerate() {
            let at = path.index(i);
            for violation in validation::is_qualified_name(&item.type_) {
                errors.push(Error::invalid(&at.child("type"), &item.type_, violation));
            }
            if !item.type_.contains('/')
                && !matches!(item.type_.as_str(), "Pod" | "Container" | "PersistentVolumeClaim")
            {
                errors.push(Error::invalid(
                    &at.child("type"),
                    &item.type_,
                    "must be a standard limit type or fully qualified",
                ));
            }
            if limits.iter().take(i).any(|l| l.type_ == item.type_) {
                errors.push(Error::duplicate(&at.child("type"), &item.type_));
            }
            validate_item(item, &at, errors);
        }
    }

    fn row(&self, _now: i64) -> Row {
        cells::default_row(&self.metadata)
    }
}
