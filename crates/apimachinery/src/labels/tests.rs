//! Selectors as upstream parses, prints, refuses and matches them.
#![allow(clippy::unwrap_used)]
use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use proptest::prelude::*;

#[test]
fn printed_form() {
    let cases = [
        ("", ""),
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("x!=a,y=b", "x!=a,y=b"),
        ("x=", "x="),
        ("x= ,z= ", "x=,z="),
        ("x in (b,a),y", "x in (a,b),y"),
        ("z notin (),a", "a,z notin ()"),
        ("!x", "!x"),
        ("x in (foo,,baz)", "x in (,baz,foo)"),
        ("x>1,y<5", "x>1,y<5"),
        ("notin in (in)", "notin in (in)"),
        ("a == b", "a==b"),
    ];
    for (text, want) in cases {
        assert_eq!(Selector::parse(text).unwrap().to_string(), want, "{text}");
    }
}

#[test]
fn refusals_are_upstreams() {
    let cases = [
        ("x=a||y=b", "unable to parse requirement: values[0][x]: Invalid value: \"a||y\": a valid label must be"),
        ("x==a==b", "found '==', expected: ',' or 'end of string'"),
        ("!x=a", "found '=', expected: ',' or 'end of string'"),
        (
            "x<a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be",
        ),
        ("x in", "unable to parse requirement: found '' expected: '('"),
        ("x,", "found '', expected: identifier after ','"),
        ("(", "found '(', expected: !, identifier, or 'end of string'"),
        ("x foo", "unable to parse requirement: found 'foo', expected: in, notin, =, ==, !=, gt, lt"),
        ("a b/c d", "unable to parse requirement: found 'b/c', expected: in"),
        ("-a=b", "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of"),
    ];
    for (text, want) in cases {
        let got = Selector::parse(text).map(|s| s.to_string()).unwrap_or_else(|e| e.to_string());
        assert!(got.starts_with(want), "{text}: {got}");
    }
}

#[test]
fn matching() {
    let labels: BTreeMap<String, String> =
        [("app", "web"), ("n", "5")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let cases = [
        ("", true),
        ("app=web", true),
        ("app!=web", false),
        ("missing!=web", true),
        ("app in (web,api)", true),
        ("app notin (web)", false),
        ("app,!missing", true),
        ("missing", false),
        ("n>4,n<6", true),
        ("n>5", false),
        ("app>5", false),
    ];
    for (text, want) in cases {
        assert_eq!(Selector::parse(text).unwrap().matches(&labels), want, "{text}");
    }
    assert!(!Selector::nothing().matches(&labels));
}

#[test]
fn api_selectors() {
    let expression = |operator: &str| LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "a".into(),
            operator: operator.into(),
            values: Some(vec!["b".into()]),
        }]),
        ..LabelSelector::default()
    };
    assert_eq!(from_label_selector(&expression("In")).unwrap().to_string(), "a in (b)");
    assert_eq!(
        from_label_selector(&expression("Foo")).unwrap_err().to_string(),
        "\"Foo\" is not a valid label selector operator"
    );
    assert!(from_label_selector(&LabelSelector::default()).unwrap().is_everything());
    assert!(from_optional(None).unwrap().is_nothing());
}

proptest! {
    #[test]
    fn printing_then_parsing_changes_nothing(text in "[a-c]{1,2}( in \\([a-c]?(,[a-c])?\\)|=[a-c]?|!=[a-c]|>1| notin \\(a\\)|)(,!?[d-f]){0,2}") {
        let selector = Selector::parse(&text).unwrap();
        prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
        let _ = Selector::parse(&text);
    }
}
