//! Rules for names, labels, ports and addresses, in upstream's exact words.
//!
//! Each rule returns its violations; none means the value is valid. The patterns are checked by hand, the regular
//! expressions stand in the messages only. Source: `k8s.io/apimachinery/pkg/util/validation`.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const DNS1123_LABEL_MAX: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;
pub const DNS1035_LABEL_MAX: usize = 63;
pub const QUALIFIED_NAME_MAX: usize = 63;
pub const LABEL_VALUE_MAX: usize = 63;
pub const PORT_NAME_MAX: usize = 15;
/// Keys and values of all annotations of one object, in bytes.
pub const TOTAL_ANNOTATION_SIZE_MAX: usize = 256 * 1024;

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1123_SUBDOMAIN_UNDERSCORE: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const DNS1035_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// `must be no more than 63 bytes`
pub fn max_len_error(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `must be between 1 and 65535, inclusive`
pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `must be non-empty`
pub fn empty_error() -> String {
    "must be non-empty".to_owned()
}

/// `<message> (e.g. 'a',  or 'b', regex used for validation is '<pattern>')`
pub fn regex_error(message: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// Non-empty, first and last byte pass `edge`, all others pass `edge` or `inner`.
fn framed(value: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    edge(*first) && edge(*last) && bytes.iter().all(|b| edge(*b) || inner(*b))
}

fn dns_label_shape(value: &str) -> bool {
    framed(value, lower_or_digit, |b| b == b'-')
}

fn dns_subdomain_shape(value: &str) -> bool {
    value.split('.').all(dns_label_shape)
}

fn qualified_name_shape(value: &str) -> bool {
    framed(value, |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_' | b'.'))
}

/// `my-name`: a name of namespaces, services' ports, …
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_LABEL_MAX {
        errors.push(max_len_error(DNS1123_LABEL_MAX));
    }
    if !dns_label_shape(value) {
        if dns_subdomain_shape(value) {
            errors.push("must not contain dots".to_owned());
        } else {
            errors.push(regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                DNS1123_LABEL,
                &["my-name", "123-abc"],
            ));
        }
    }
    errors
}

/// `example.com`: the name of most objects.
pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    if !dns_subdomain_shape(value) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            DNS1123_SUBDOMAIN,
            &["example.com"],
        ));
    }
    errors
}

/// As [`is_dns1123_subdomain`], with underscores: DNS search paths.
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    let label =
        |label: &str| framed(label.strip_prefix('_').unwrap_or(label), lower_or_digit, |b| matches!(b, b'-' | b'_'));
    if !value.split('.').all(label) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
             and must start and end with an alphanumeric character",
            DNS1123_SUBDOMAIN_UNDERSCORE,
            &["example.com"],
        ));
    }
    errors
}

/// `abc-123`: the name of services.
pub fn is_dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1035_LABEL_MAX {
        errors.push(max_len_error(DNS1035_LABEL_MAX));
    }
    if !(dns_label_shape(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        errors.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            DNS1035_LABEL,
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// `*.example.com`
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(dns_subdomain_shape) {
        errors.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{DNS1123_SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// A label or annotation key, a taint or resource name: `name` or `example.com/name`.
pub fn is_qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            let messages = if prefix.is_empty() { vec![empty_error()] } else { is_dns1123_subdomain(prefix) };
            errors.extend(messages.into_iter().map(|m| format!("prefix part {m}")));
            name
        }
        _ => {
            let pattern = qualified_name_error();
            return vec![format!(
                "a qualified name {pattern} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {}", empty_error()));
    } else if name.len() > QUALIFIED_NAME_MAX {
        errors.push(format!("name part {}", max_len_error(QUALIFIED_NAME_MAX)));
    }
    if !qualified_name_shape(name) {
        errors.push(format!("name part {}", qualified_name_error()));
    }
    errors
}

fn qualified_name_error() -> String {
    regex_error(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
         character",
        QUALIFIED_NAME,
        &["MyName", "my.name", "123-abc"],
    )
}

pub fn is_valid_label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_VALUE_MAX {
        errors.push(max_len_error(LABEL_VALUE_MAX));
    }
    if !value.is_empty() && !qualified_name_shape(value) {
        errors.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// `name`, not `example.com/name/x`: `example.com/path` with both parts required.
pub fn is_domain_prefixed_path(value: &str) -> Vec<String> {
    let Some((host, path)) = value.split_once('/').filter(|(h, p)| !h.is_empty() && !p.is_empty()) else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()];
    };
    let mut errors = is_dns1123_subdomain(host);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/:-._~%!$&'()*+,;=@".contains(&b);
    if !path.bytes().all(allowed) {
        errors.push(regex_error("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]));
    }
    errors
}

pub fn is_c_identifier(value: &str) -> Vec<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !value.is_empty() && value.bytes().all(word) && !value.starts_with(|c: char| c.is_ascii_digit()) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

pub fn is_valid_port_num(port: i64) -> Vec<String> {
    is_in_range(port, 1, 65535)
}

pub fn is_in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![inclusive_range_error(low, high)] }
}

pub fn is_valid_user_id(uid: i64) -> Vec<String> {
    is_in_range(uid, 0, i64::from(i32::MAX))
}

pub fn is_valid_group_id(gid: i64) -> Vec<String> {
    is_in_range(gid, 0, i64::from(i32::MAX))
}

/// An IANA service name: the name of a container port.
pub fn is_valid_port_name(port: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if port.len() > PORT_NAME_MAX {
        errors.push(max_len_error(PORT_NAME_MAX));
    }
    if port.is_empty() || !port.bytes().all(|b| lower_or_digit(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !port.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if port.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if port.starts_with('-') || port.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

pub fn is_valid_ip(value: &str) -> Vec<String> {
    valid_if(value.parse::<IpAddr>().is_ok(), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
}

pub fn is_valid_ipv4_address(value: &str) -> Vec<String> {
    valid_if(value.parse::<Ipv4Addr>().is_ok(), "must be a valid IPv4 address")
}

pub fn is_valid_ipv6_address(value: &str) -> Vec<String> {
    valid_if(value.parse::<Ipv6Addr>().is_ok(), "must be a valid IPv6 address")
}

pub fn is_valid_cidr(value: &str) -> Vec<String> {
    valid_if(parse_cidr(value).is_some(), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
}

/// Address and prefix length of `10.9.8.0/24`.
pub fn parse_cidr(value: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let plain = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u8 = length.parse().ok().filter(|_| plain)?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    (length <= max).then_some((address, length))
}

fn valid_if(ok: bool, message: &str) -> Vec<String> {
    if ok { Vec::new() } else { vec![message.to_owned()] }
}

/// `93%`
pub fn is_valid_percent(percent: &str) -> Vec<String> {
    let digits = percent.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

pub fn is_http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The strict rule: `MY_ENV.NAME`.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if value.is_empty() || !value.bytes().all(allowed) || value.starts_with(|c: char| c.is_ascii_digit()) {
        errors.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', \
             and must not start with a digit",
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    errors.extend(has_ch_dir_prefix(value));
    errors
}

/// The rule in force since v1.34: any printable ASCII but `=`.
pub fn is_relaxed_env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec![format!("environment variable name {}", empty_error())];
    }
    valid_if(
        value.bytes().all(|b| (b == b' ' || b.is_ascii_graphic()) && b != b'='),
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
    )
}

/// A key of a ConfigMap or Secret.
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if value.is_empty() || !value.bytes().all(allowed) {
        errors.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(has_ch_dir_prefix(value));
    errors
}

fn has_ch_dir_prefix(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// What may stand between two slashes of a URL: the rule for names of roles, bindings, CRD-less kinds.
pub fn is_valid_path_segment_name(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    let illegal = ["/", "%"].into_iter().filter(|c| name.contains(c));
    illegal.map(|c| format!("may not contain '{c}'")).collect()
}

/// As [`is_valid_path_segment_name`], for `generateName`.
pub fn is_valid_path_segment_prefix(name: &str) -> Vec<String> {
    let illegal = ["/", "%"].into_iter().filter(|c| name.contains(c));
    illegal.map(|c| format!("may not contain '{c}'")).collect()
}

/// A `generateName` as the name rules are to see it: one trailing dash is made up for by the random suffix.
pub fn mask_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if prefix.len() > 1 => {
            let mut masked: String = rest.chars().take(rest.chars().count().saturating_sub(1)).collect();
            masked.push('a');
            masked
        }
        _ => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&str) -> Vec<String>;

    #[test]
    fn shapes() {
        let long = "a".repeat(64);
        let cases: &[(Rule, &[&str], &[&str])] = &[
            (is_dns1123_label, &["a", "0", "a-b", "1-2"], &["", "-a", "a-", "A", "a_b", "é", &long]),
            (is_dns1123_subdomain, &["a", "a.b", "1.2", &long], &["", ".", "a.", ".a", "a..b", "a.-b", "A.b"]),
            (is_dns1035_label, &["a", "a1", "a-1"], &["", "1a", "-a", "a-", "a.b"]),
            (is_wildcard_dns1123_subdomain, &["*.a", "*.a.b"], &["*", "a", "*a.b", "*.*.a", ""]),
            (
                is_qualified_name,
                &["a", "A_b.c", "a.b/c", "1"],
                &["", "/a", "a/", "a/b/c", "-a", "a-", "A.b/c", "a/b ", &long],
            ),
            (is_valid_label_value, &["", "a", "A_b-c.d"], &["-", "a-", " ", "a b", &long]),
            (is_c_identifier, &["_a", "A1"], &["", "1a", "a-b"]),
            (is_valid_port_name, &["http", "a-1", "1a"], &["", "1", "a--b", "-a", "a-", "HTTP", "abcdefghijklmnop"]),
            (is_valid_ip, &["1.2.3.4", "::1"], &["", "1.2.3", "01.2.3.4", "::g", "1.2.3.4/8"]),
            (is_valid_cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "::/129", "1.2.3.4/+8"]),
            (is_valid_percent, &["1%", "100%"], &["", "%", "1", "-1%"]),
            (is_http_header_name, &["X-A"], &["", "X_A", "X A"]),
            (is_env_var_name, &["A", "a.b-c_d", ".a"], &["", "1A", "a b", "..", "..a", "a=b"]),
            (is_relaxed_env_var_name, &["1A", "a b", "..", "!"], &["", "a=b", "é", "a\tb"]),
            (is_config_map_key, &["a", ".a", "A_b-c.d"], &["", ".", "..", "..a", "a/b"]),
            (is_valid_path_segment_name, &["system:x", "a b"], &[".", "..", "a/b", "a%b"]),
        ];
        for (rule, good, bad) in cases {
            for value in *good {
                assert_eq!(rule(value), Vec::<String>::new(), "{value}");
            }
            for value in *bad {
                assert_ne!(rule(value), Vec::<String>::new(), "{value}");
            }
        }
    }

    #[test]
    fn wording_is_upstreams() {
        let cases: &[(Rule, &str, &[&str])] = &[
            (
                is_dns1123_subdomain,
                "A",
                &["a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                   and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                   validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"],
            ),
            (
                is_qualified_name,
                "-a",
                &["name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                   an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                   validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"],
            ),
            (is_dns1123_label, "a.b", &["must not contain dots"]),
        ];
        for (rule, value, want) in cases {
            assert_eq!(rule(value), *want, "{value}");
        }
        assert_eq!(is_valid_port_num(0), ["must be between 1 and 65535, inclusive"]);
    }

    #[test]
    fn generate_names_may_end_in_a_dash() {
        for (prefix, want) in [("web-", "wea"), ("-", "-"), ("web", "web"), ("a-", "a")] {
            assert_eq!(mask_trailing_dash(prefix), want);
        }
    }
}
