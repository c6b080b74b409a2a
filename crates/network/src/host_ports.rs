//! What the `portmap` CNI plugin leaves behind after the last pod with a `hostPort`: its own chains, the rules that lead
//! into them, and the table of `iptables` that it made for them.
//!
//! They serve all clusters of a machine, and the plugin itself never takes them away. A chain is deleted, not emptied:
//! where somebody has just added a port to it, the kernel refuses the whole transaction.
use crate::Error;
use nft::Nft;
use serde_json::Value;
use std::fmt::Write;

const TABLE: &str = "nat";
const PREFIX: &str = "CNI-HOSTPORT-";
/// Holds a rule for each pod with host ports.
const PORTS: &str = "CNI-HOSTPORT-DNAT";

/// Takes the leftovers away where no pod uses them; what is not there is no error.
///
/// # Errors
/// `nft` cannot be run, or the kernel refuses.
pub(crate) async fn tear_down() -> Result<(), Error> {
    let (nft, mut found) = (Nft::default(), false);
    for family in ["ip", "ip6"] {
        let Some(listing) = nft.table(family, TABLE).await? else { continue };
        let mut script = leftovers(family, &listing);
        if script.is_empty() && found && is_bare(&listing) {
            // The plugin makes it with the other, and may have put nothing in it.
            script = format!("delete table {family} {TABLE}\n");
        }
        if !script.is_empty() {
            found = true;
            nft.apply(&script).await?;
        }
    }
    Ok(())
}

/// A table with nothing at all in it.
fn is_bare(listing: &Value) -> bool {
    let items = listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().all(|item| item.get("table").is_some() || item.get("metainfo").is_some())
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The transaction that deletes them, empty when there is nothing to delete.
fn leftovers(family: &str, listing: &Value) -> String {
    let items = listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let chains: Vec<&Value> = items.iter().filter_map(|item| item.get("chain")).collect();
    let rules: Vec<&Value> = items.iter().filter_map(|item| item.get("rule")).collect();
    let of_plugin = |name: &str| name.starts_with(PREFIX);
    if !chains.iter().any(|chain| of_plugin(text(chain, "name"))) || rules.iter().any(|r| text(r, "chain") == PORTS) {
        return String::new();
    }
    let leads_there = |rule: &Value| {
        let verdicts = rule.get("expr").and_then(Value::as_array).into_iter().flatten();
        verdicts.filter_map(|verdict| verdict.get("jump")).any(|jump| of_plugin(text(jump, "target")))
    };
    let (gone, stays): (Vec<&Value>, Vec<&Value>) =
        rules.into_iter().partition(|rule| of_plugin(text(rule, "chain")) || leads_there(rule));
    let mut script = String::new();
    for rule in gone {
        let handle = rule.get("handle").and_then(Value::as_u64).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(script, "delete rule {family} {TABLE} {} handle {handle}", text(rule, "chain"));
    }
    for chain in chains.iter().filter(|chain| of_plugin(text(chain, "name"))) {
        let _ = writeln!(script, "delete chain {family} {TABLE} {}", text(chain, "name"));
    }
    let others = chains.iter().filter(|chain| !of_plugin(text(chain, "name")));
    let nothing_else = stays.is_empty() && others.clone().all(|chain| text(chain, "policy") == "accept");
    if nothing_else {
        // Chains one by one: where a rule has been added meanwhile, this fails as well.
        for chain in others {
            let _ = writeln!(script, "delete chain {family} {TABLE} {}", text(chain, "name"));
        }
        let _ = writeln!(script, "delete table {family} {TABLE}");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(name: &str, base: bool) -> Value {
        let mut chain = json!({"family": "ip", "table": "nat", "name": name, "handle": 1});
        if base {
            chain["policy"] = json!("accept");
        }
        json!({"chain": chain})
    }

    fn rule(chain: &str, handle: u64, target: Option<&str>) -> Value {
        let verdict = target.map_or(json!({"masquerade": null}), |target| json!({"jump": {"target": target}}));
        let expr = json!([{"xt": {"type": "match", "name": "comment"}}, {"counter": {"packets": 4}}, verdict]);
        json!({"rule": {"family": "ip", "table": "nat", "chain": chain, "handle": handle, "expr": expr}})
    }

    fn table(more: &[Value]) -> Value {
        let mut all = vec![
            json!({"metainfo": {"json_schema_version": 1}}),
            json!({"table": {"family": "ip", "name": "nat", "handle": 31}}),
            chain("CNI-HOSTPORT-MASQ", false),
            chain("POSTROUTING", true),
            chain("CNI-HOSTPORT-DNAT", false),
            rule("CNI-HOSTPORT-MASQ", 4, None),
            rule("POSTROUTING", 6, Some("CNI-HOSTPORT-MASQ")),
        ];
        all.extend_from_slice(more);
        json!({ "nftables": all })
    }

    const OURS: &str = "\
delete rule ip nat CNI-HOSTPORT-MASQ handle 4
delete rule ip nat POSTROUTING handle 6
delete chain ip nat CNI-HOSTPORT-MASQ
delete chain ip nat CNI-HOSTPORT-DNAT
";

    #[test]
    fn unused_chains_go_and_the_table_if_nothing_else_is_in_it() {
        let table_too = format!("{OURS}delete chain ip nat POSTROUTING\ndelete table ip nat\n");
        assert_eq!(leftovers("ip", &table(&[])), table_too);
    }

    #[test]
    fn what_others_have_in_the_table_stays() {
        assert_eq!(leftovers("ip", &table(&[rule("POSTROUTING", 9, Some("DOCKER"))])), OURS);
        let other = [chain("DOCKER", false)];
        assert_eq!(leftovers("ip", &table(&other)), OURS);
        assert_eq!(leftovers("ip", &json!({"nftables": [other]})), "");
    }

    #[test]
    fn a_table_is_bare_with_nothing_in_it() {
        let mut items = vec![json!({"metainfo": {}}), json!({"table": {"family": "ip6", "name": "nat"}})];
        assert!(is_bare(&json!({ "nftables": items })));
        items.push(json!({"set": {"name": "mine"}}));
        assert!(!is_bare(&json!({ "nftables": items })));
    }

    #[test]
    fn a_pod_with_a_port_keeps_them() {
        assert_eq!(leftovers("ip", &table(&[rule("CNI-HOSTPORT-DNAT", 12, Some("CNI-DN-0123"))])), "");
    }
}
