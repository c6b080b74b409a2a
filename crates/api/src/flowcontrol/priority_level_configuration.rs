//! PriorityLevelConfigurations.
use crate::{
    cells,
    kind::{Kind, spec_and_status},
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Cell, Column, Row},
};
use k8s_openapi::api::flowcontrol::v1::PriorityLevelConfiguration;

const SHARES: i32 = 30;
const QUEUES: i32 = 64;
const HAND_SIZE: i32 = 8;
const QUEUE_LENGTH: i32 = 50;

impl Kind for PriorityLevelConfiguration {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Type",
            "`type` indicates whether this priority level is subject to limitation on request execution.  A value of `\"Exempt\"` means that requests of this priority level are not subject to a limit (and thus are never queued) and do not detract from the capacity made available to other priority levels.  A value of `\"Limited\"` means that (a) requests of this priority level _are_ subject to limits and (b) some of the server's limited capacity is made available exclusively to this priority level. Required.",
        ),
        cells::integer(
            "NominalConcurrencyShares",
            "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level. This is the number of execution seats available at this priority level. This is used both for requests dispatched from this priority level as well as requests dispatched from other priority levels borrowing seats from this level.",
        ),
        cells::integer(
            "Queues",
            "`queues` is the number of queues for this priority level. The queues exist independently at each apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default value of 64.",
        ),
        cells::integer(
            "HandSize",
            "`handSize` is a small positive number that configures the shuffle sharding of requests into queues.  When enqueuing a request at this priority level the request's flow identifier (a string pair) is hashed and the hash value is used to shuffle the list of queues and deal a hand of the size specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not saturate most of the queues).  See the user-facing documentation for more extensive guidance on setting this field.  This field has a default value of 8.",
        ),
        cells::integer(
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
        match spec.type_.as_str() {
            "Exempt" => {
                if spec.limited.is_some() {
                    let detail = "must be nil if the type is not Limited";
                    errors.push(Error::forbidden(&path.child("limited"), detail));
                }
            }
            "Limited" => match &spec.limited {
                None => errors.push(Error::required(&path.child("limited"), "must not be empty when type is Limited")),
                Some(limited) => {
                    let queuing = limited.limit_response.as_ref().and_then(|r| r.queuing.as_ref());
                    if let Some(queuing) = queuing
                        && queuing.hand_size > queuing.queues
                    {
                        let at = path.child("limited").child("limitResponse").child("queuing").child("handSize");
                        let detail = "should not be greater than queues";
                        errors.push(Error::invalid(&at, queuing.hand_size, detail));
                    }
                }
            },
            other => errors.push(Error::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
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
