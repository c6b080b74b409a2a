//! What is written when something changes: the difference and nothing else.
use super::*;

fn table() -> Table {
    Table::new(Options {
        family: Family::V4,
        name: "kp".into(),
        masquerade_mark: 0x4000,
        node_port_networks: vec!["10.0.0.0/24".into()],
    })
}

fn rules(chain: &str, lines: &[&str], elements: &[(&str, &str)]) -> Rules {
    let mut rules = Rules::default();
    rules.chains.insert(chain.to_owned(), lines.iter().map(|l| (*l).to_owned()).collect());
    for (key, verdict) in elements {
        rules.element(Collection::ServiceIps, (*key).to_owned(), verdict, "");
    }
    rules
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

#[tokio::test(start_paused = true)]
async fn only_what_changed_is_touched() {
    let mut table = table();
    let now = Instant::now();
    let first = || rules("c1", &["r1"], &[("e1", "goto c1")]);
    let all = vec![(key("a"), first()), (key("b"), rules("c2", &["r2"], &[]))];
    assert_eq!(
        table.update(all, now),
        "add chain ip kp c1\nadd chain ip kp c2\nadd rule ip kp c1 r1\nadd rule ip kp c2 r2\n\
         add element ip kp service-ips { e1 : goto c1 }\n"
    );
    assert_eq!(table.update(vec![(key("a"), first())], now), "");
    let changed = rules("c1", &["r1", "r3"], &[("e1", "goto c1")]);
    let text = table.update(vec![(key("a"), changed)], now);
    assert_eq!(text, "flush chain ip kp c1\nadd rule ip kp c1 r1\nadd rule ip kp c1 r3\n");
    assert_eq!(
        table.update(vec![(key("a"), Rules::default())], now),
        "flush chain ip kp c1\ndelete element ip kp service-ips { e1 : goto c1 }\n"
    );
    assert_eq!(table.next_deadline(), Some(now + STALE));
    assert_eq!(table.update(Vec::new(), now + STALE), "delete chain ip kp c1\n");
    assert_eq!(table.next_deadline(), None);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_comes_back_is_not_deleted() {
    let mut table = table();
    let now = Instant::now();
    table.update(vec![(key("a"), rules("c", &["r"], &[]))], now);
    table.update(vec![(key("a"), Rules::default())], now);
    let text = table.update(vec![(key("b"), rules("c", &["r"], &[]))], now);
    assert_eq!(text, "add chain ip kp c\nadd rule ip kp c r\n");
    assert_eq!(table.update(Vec::new(), now + STALE), "");
}

#[tokio::test(start_paused = true)]
async fn an_address_claimed_twice_goes_to_the_first_by_name() {
    let mut table = table();
    let now = Instant::now();
    table.update(vec![(key("b"), rules("cb", &[], &[("e", "goto cb")]))], now);
    let text = table.update(vec![(key("a"), rules("ca", &[], &[("e", "goto ca")]))], now);
    assert_eq!(
        text,
        "add chain ip kp ca\ndelete element ip kp service-ips { e : goto cb }\nadd element ip kp service-ips { e : goto ca }\n"
    );
    let text = table.update(vec![(key("a"), Rules::default())], now);
    assert!(text.ends_with("add element ip kp service-ips { e : goto cb }\n"), "{text}");
}

#[test]
fn the_base_is_upstreams() {
    insta::assert_snapshot!(table().rebuild());
}
