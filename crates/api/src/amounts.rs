//! Resource lists: canonical form, sums, rules.
//!
//! Upstream's decoder turns every quantity into its canonical text (`0.5` is stored as `500m`); defaulting does it here.
use apimachinery::{
    field::{Error, ErrorList, Path},
    quantity::Quantity,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::collections::BTreeMap;

pub type ResourceList = BTreeMap<String, ApiQuantity>;

/// Short plain integers and milli amounts that are no whole number are canonical as they stand.
fn is_plainly_canonical(text: &str) -> bool {
    let digits = text.strip_suffix('m').unwrap_or(text);
    let round = digits.len() >= 3 && digits.ends_with("000");
    !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (!digits.starts_with('0') || text == "0")
        && !round
}

pub fn canonicalize_one(quantity: &mut ApiQuantity) {
    if is_plainly_canonical(&quantity.0) {
        return;
    }
    if let Ok(parsed) = Quantity::parse(quantity.0.trim()) {
        let text = parsed.to_string();
        if text != quantity.0 {
            quantity.0 = text;
        }
    }
}

pub fn canonicalize(list: &mut Option<ResourceList>) {
    for quantity in list.iter_mut().flat_map(BTreeMap::values_mut) {
        canonicalize_one(quantity);
    }
}

/// The amount of `name`, if there and valid.
pub fn get(list: Option<&ResourceList>, name: &str) -> Option<Quantity> {
    Quantity::parse(&list?.get(name)?.0).ok()
}

/// Adds every amount of `list` to `sum`.
pub fn add(sum: &mut BTreeMap<String, Quantity>, list: Option<&ResourceList>) {
    for (name, amount) in parsed(list) {
        match sum.get_mut(name) {
            Some(total) => *total += amount,
            None => {
                sum.insert(name.to_owned(), amount);
            }
        }
    }
}

/// Raises `peak` to every larger amount of `list`.
pub fn raise(peak: &mut BTreeMap<String, Quantity>, list: &BTreeMap<String, Quantity>) {
    for (name, amount) in list {
        match peak.get_mut(name) {
            Some(top) => *top = (*top).max(*amount),
            None => {
                peak.insert(name.clone(), *amount);
            }
        }
    }
}

pub fn parsed(list: Option<&ResourceList>) -> impl Iterator<Item = (&str, Quantity)> {
    list.into_iter().flatten().filter_map(|(name, q)| Some((name.as_str(), Quantity::parse(&q.0).ok()?)))
}

/// Zero or more; says so in upstream's words. `None` when it is no amount, which is reported too.
pub fn validate_non_negative(quantity: &ApiQuantity, path: &Path, errors: &mut ErrorList) -> Option<Quantity> {
    let amount = parsed_or_reported(quantity, path, errors);
    if amount.is_some_and(|a| a.is_negative()) {
        errors.push(Error::invalid(path, &quantity.0, "must be greater than or equal to 0"));
    }
    amount
}

/// `None` when it is no amount, which is reported.
pub fn parsed_or_reported(quantity: &ApiQuantity, path: &Path, errors: &mut ErrorList) -> Option<Quantity> {
    match Quantity::parse(&quantity.0) {
        Ok(amount) => Some(amount),
        Err(e) => {
            errors.push(Error::invalid(path, &quantity.0, e.to_string()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_stored_canonically() {
        for (given, want) in
            [("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("100m", "100m"), ("1000", "1k"), ("0", "0")]
        {
            let mut quantity = ApiQuantity(given.into());
            canonicalize_one(&mut quantity);
            assert_eq!(quantity.0, want, "{given}");
        }
    }
}
