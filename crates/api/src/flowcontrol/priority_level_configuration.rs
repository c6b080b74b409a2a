//! PriorityLevelConfigurations.
use super::{bootstrap, validate_conditions};
use crate::{
    cells,
    kind::{Kind, spec_and_status},
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Cell, Column, Row},
};
use k8s_openapi::api::flowcontrol::v1::{
    LimitedPriorityLevelConfiguration, PriorityLevelConfiguration, PriorityLevelConfigurationSpec, QueuingConfiguration,
};

const SHARES: i32 = 30;
const QUEUES: i32 = 64;
const HAND_SIZE: i32 = 8;
const QUEUE_LENGTH: i32 = 50;
const QUEUES_MAX: i32 = 10_000_000;
/// Of the hash that hands are dealt from.
const HASH_BITS: u32 = 60;

fn conditions(level: &PriorityLevelConfiguration) -> impl Iterator<Item = &str> {
    let conditions = level.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.map(|c| c.type_.as_deref().unwrap_or_default())
}

impl Kind for PriorityLevelConfiguration {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Type",
            "`type` indicates whether this priority level is subject to limitation on request execution.  A value of `\"Exempt\"` means that requests of this priority level are not subject to a limit (and thus are never queued) and do not detract from the capacity made available to other priority levels.  A value of `\"Limited\"` means that (a) requests of this priority level _are_ subject to limits and (b) some of the server's limited capacity is made available exclusively to this priority level. Required.",
        ),
        cells::text(
            "NominalConcurrencyShares",
            "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level. This is the number of execution seats available at this priority level. This is used both for requests dispatched from this priority level as well as requests dispatched from other priority levels borrowing seats from this level.",
        ),
        cells::text(
            "Queues",
            "`queues` is the number of queues for this priority level. The queues exist independently at each apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default value of 64.",
        ),
        cells::text(
            "HandSize",
            "`handSize` is a small positive number that configures the shuffle sharding of requests into queues.  When enqueuing a request at this priority level the request's flow identifier (a string pair) is hashed and the hash value is used to shuffle the list of queues and deal a hand of the size specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not saturate most of the queues).  See the user-facing documentation for more extensive guidance on setting this field.  This field has a default value of 8.",
        ),
        cells::text(
            "QueueLengthLimit",
            "`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this priority level at a time; excess requests are rejected.  This value must be positive.  If not specified, it will be defaulted to 50.",
        ),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        let (group, kind, plural) =
            ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "prioritylevelconfigurations");
        Info::new(group, "v1", kind, plural).cluster().status()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        if spec.type_ == "Exempt" {
            let exempt = spec.exempt.get_or_insert_default();
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        if let Some(limited) = &mut spec.limited {
            limited.nominal_concurrency_shares.get_or_insert(SHARES);
            limited.lendable_percent.get_or_insert(0);
            if let Some(queuing) = limited.limit_response.as_mut().and_then(|r| r.queuing.as_mut()) {
                queuing.queues.get_or_insert(QUEUES);
                queuing.hand_size.get_or_insert(HAND_SIZE);
                queuing.queue_length_limit.get_or_insert(QUEUE_LENGTH);
            }
        }
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if (name == bootstrap::EXEMPT) != (spec.type_ == "Exempt") {
            let detail = "type must be 'Exempt' if and only if name is 'exempt'";
            errors.push(Error::invalid(&path.child("type"), &spec.type_, detail));
        }
        match spec.type_.as_str() {
            "Exempt" => {
                if spec.limited.is_some() {
                    let detail = "must be nil if the type is not Limited";
                    errors.push(Error::forbidden(&path.child("limited"), detail));
                }
                if let Some(exempt) = &spec.exempt {
                    let (shares, lendable) = (exempt.nominal_concurrency_shares, exempt.lendable_percent);
                    validate_shares(shares, lendable, &path.child("exempt"), errors);
                }
            }
            "Limited" => {
                if spec.exempt.is_some() {
                    errors.push(Error::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
                }
                match &spec.limited {
                    Some(limited) => validate_limited(limited, &path.child("limited"), errors),
                    None => {
                        let detail = "must not be empty when type is Limited";
                        errors.push(Error::required(&path.child("limited"), detail));
                    }
                }
            }
            other => errors.push(Error::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
        }
        validate_mandatory(name, spec, errors);
        validate_conditions(conditions(self), errors);
    }

    fn validate_update(&self, target: Target, _old: &Self, errors: &mut ErrorList) {
        if target == Target::Status {
            validate_conditions(conditions(self), errors);
        }
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let limited = spec.and_then(|s| s.limited.as_ref());
        let queuing = limited.and_then(|l| l.limit_response.as_ref()).and_then(|r| r.queuing.as_ref());
        let none = || Cell::Text(cells::NONE.into());
        let number = |n: Option<i32>| n.map_or_else(none, |n| Cell::Integer(i64::from(n)));
        vec![
            cells::name(&self.metadata),
            spec.map_or("", |s| &s.type_).into(),
            number(limited.and_then(|l| l.nominal_concurrency_shares)),
            number(queuing.and_then(|q| q.queues)),
            number(queuing.and_then(|q| q.hand_size)),
            number(queuing.and_then(|q| q.queue_length_limit)),
            cells::age(&self.metadata, now),
        ]
    }
}

/// Of either type: shares and how many of them may be lent.
fn validate_shares(shares: Option<i32>, lendable: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(shares) = shares.filter(|s| *s < 0) {
        let at = path.child("nominalConcurrencyShares");
        errors.push(Error::invalid(&at, shares, "must be a non-negative integer"));
    }
    if let Some(percent) = lendable.filter(|p| !(0..=100).contains(p)) {
        let at = path.child("lendablePercent");
        errors.push(Error::invalid(&at, percent, "must be between 0 and 100, inclusive"));
    }
}

fn validate_limited(limited: &LimitedPriorityLevelConfiguration, path: &Path, errors: &mut ErrorList) {
    validate_shares(limited.nominal_concurrency_shares, limited.lendable_percent, path, errors);
    if let Some(percent) = limited.borrowing_limit_percent.filter(|p| *p < 0) {
        let at = path.child("borrowingLimitPercent");
        errors.push(Error::invalid(&at, percent, "if specified, must be a non-negative integer"));
    }
    let path = path.child("limitResponse");
    let response = limited.limit_response.as_ref();
    let queuing = response.and_then(|r| r.queuing.as_ref());
    match (response.map_or("", |r| &r.type_), queuing) {
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(Error::forbidden(&path.child("queuing"), detail));
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(Error::required(&path.child("queuing"), detail));
        }
        ("Queue", Some(queuing)) => validate_queuing(queuing, &path.child("queuing"), errors),
        ("Reject", None) => {}
        (other, _) => errors.push(Error::not_supported(&path.child("type"), other, &["Queue", "Reject"])),
    }
}

fn validate_queuing(queuing: &QueuingConfiguration, path: &Path, errors: &mut ErrorList) {
    const POSITIVE: &str = "must be positive";
    let (queues, hand) = (queuing.queues.unwrap_or_default(), queuing.hand_size.unwrap_or_default());
    let length = queuing.queue_length_limit.unwrap_or_default();
    if length <= 0 {
        errors.push(Error::invalid(&path.child("queueLengthLimit"), length, POSITIVE));
    }
    if queues <= 0 {
        errors.push(Error::invalid(&path.child("queues"), queues, POSITIVE));
    } else if queues > QUEUES_MAX {
        let detail = format!("must not be greater than {QUEUES_MAX}");
        errors.push(Error::invalid(&path.child("queues"), queues, detail));
    }
    let at = path.child("handSize");
    if hand <= 0 {
        errors.push(Error::invalid(&at, hand, POSITIVE));
    } else if hand > queues {
        errors.push(Error::invalid(&at, hand, format!("should not be greater than queues ({queues})")));
    } else if entropy_bits(queues, hand) > HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        errors.push(Error::invalid(&at, hand, detail));
    }
}

/// Bits of a hash that dealing a hand of that size from that many queues takes.
fn entropy_bits(queues: i32, hand: i32) -> u32 {
    let bits: f64 = (0..hand).map(|dealt| f64::from(queues - dealt).log2()).sum();
    bits.ceil() as u32
}

/// The mandatory levels are what they are, but for the shares of the exempt one.
fn validate_mandatory(name: &str, spec: &PriorityLevelConfigurationSpec, errors: &mut ErrorList) {
    let Some(mut fixed) = bootstrap::priority_levels()
        .into_iter()
        .find(|l| l.mandatory && l.object.metadata.name.as_deref() == Some(name))
        .and_then(|l| l.object.spec)
    else {
        return;
    };
    let mut except = "";
    if name == bootstrap::EXEMPT {
        fixed.exempt.clone_from(&spec.exempt);
        except = " except the 'spec.exempt' field";
    }
    if fixed != *spec {
        let detail = format!("spec of '{name}'{except} must equal the fixed value");
        errors.push(Error::invalid(&Path::new("spec"), spec, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstream's own figures.
    #[test]
    fn entropy() {
        for (queues, hand, fits) in [(128, 10, false), (128, 8, true), (i32::MAX, 3, false), (10_000_000, 2, true)] {
            assert_eq!(entropy_bits(queues, hand) <= HASH_BITS, fits, "{queues} {hand}");
        }
    }

    #[test]
    fn the_exempt_level_stays_exempt() {
        let mut exempt: PriorityLevelConfiguration = bootstrap::priority_levels().remove(1).object;
        let check = |level: &PriorityLevelConfiguration| {
            let mut errors = ErrorList::default();
            level.validate(&mut errors);
            errors.iter().map(|e| e.detail.clone()).collect::<Vec<_>>()
        };
        let spec = exempt.spec.get_or_insert_default();
        spec.exempt.get_or_insert_default().nominal_concurrency_shares = Some(5);
        assert_eq!(check(&exempt), [""; 0]);
        exempt.spec.get_or_insert_default().type_ = "Limited".to_owned();
        assert_eq!(
            check(&exempt),
            [
                "type must be 'Exempt' if and only if name is 'exempt'",
                "must be nil if the type is Limited",
                "must not be empty when type is Limited",
                "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value",
            ]
        );
    }
}
