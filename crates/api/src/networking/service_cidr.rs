//! ServiceCIDRs: where services' addresses come from.
use crate::{
    cells,
    kind::{Kind, spec_and_status},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::networking::v1::ServiceCIDR;

impl Kind for ServiceCIDR {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "CIDRs",
            "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. The network address of each CIDR, the address that identifies the subnet of a host, is reserved and will not be allocated. The broadcast address for IPv4 CIDRs is also reserved and will not be allocated. This field is immutable.",
        ),
        cells::AGE,
    ];

    spec_and_status!();

    fn info() -> Info {
        Info::new("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs").cluster().status()
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec").child("cidrs");
        let cidrs = self.spec.as_ref().and_then(|s| s.cidrs.as_deref()).unwrap_or_default();
        if cidrs.is_empty() {
            errors.push(Error::required(&path, "at least one CIDR required"));
        } else if cidrs.len() > 2 {
            let detail = "may only hold up to 2 values";
            errors.push(Error::invalid(&path, cidrs, detail));
        }
        for (i, cidr) in cidrs.iter().enumerate() {
            for violation in validation::is_valid_cidr(cidr) {
                errors.push(Error::invalid(&path.index(i), cidr, violation));
            }
        }
        if let [a, b] = cidrs
            && a.contains(':') == b.contains(':')
        {
            let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.push(Error::invalid(&path, cidrs, detail));
        }
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        if target != Target::Main {
            return;
        }
        let path = Path::new("spec").child("cidrs");
        let cidrs = |c: &Self| c.spec.as_ref().and_then(|s| s.cidrs.clone()).unwrap_or_default();
        let (new, old) = (cidrs(self), cidrs(old));
        match (old.as_slice(), new.as_slice()) {
            (old, new) if old.len() == new.len() => {
                for (i, (old, new)) in old.iter().zip(new).enumerate() {
                    meta::immutable(&path.index(i), new, old, errors);
                }
            }
            // A single-stack range may get its other family.
            ([first], [new, _]) => {
                if first != new {
                    errors.push(Error::invalid(&path.index(0), new, "primary CIDR can not be changed"));
                }
                self.validate(errors);
            }
            _ => errors.push(Error::invalid(&path, new, "field is immutable")),
        }
    }

    fn row(&self, now: i64) -> Row {
        let cidrs = self.spec.as_ref().and_then(|s| s.cidrs.as_ref()).map(|c| c.join(",")).unwrap_or_default();
        vec![cells::name(&self.metadata), cidrs.into(), cells::age(&self.metadata, now)]
    }
}
