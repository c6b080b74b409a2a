//! Queries of requests, decoded, and what they say of streams.
use crate::streaming;

/// Names and values in their order.
pub type Query = Vec<(String, String)>;

pub fn parse(query: Option<&str>) -> Query {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

/// Undoes percent-encoding; with `form`, a plus is a space. What is no encoding stays.
pub fn decode(text: &str, form: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match (first, digits.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) if form => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn first<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

pub fn every<'a>(query: &'a Query, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Which streams an exec or attach wants. Both the kubelet's names and those of PodExecOptions are understood.
///
/// # Errors
/// It wants none.
pub fn streams(query: &Query) -> Result<streaming::Options, &'static str> {
    let set = |names: &[&str]| names.iter().any(|name| matches!(first(query, name), Some("1" | "true")));
    let tty = set(&["tty"]);
    let options = streaming::Options {
        stdin: set(&["input", "stdin"]),
        stdout: set(&["output", "stdout"]),
        // A terminal has one output.
        stderr: set(&["error", "stderr"]) && !tty,
        tty,
    };
    match options.stdin || options.stdout || options.stderr {
        true => Ok(options),
        false => Err("you must specify at least 1 of stdin, stdout, stderr"),
    }
}

/// The ports of a port-forward; none when the protocol names them per stream.
///
/// # Errors
/// One is no port.
pub fn ports(query: &Query) -> Result<Vec<u16>, String> {
    let lists = every(query, "port").chain(every(query, "ports"));
    let all = lists.flat_map(|list| list.split(',')).filter(|port| !port.is_empty());
    all.map(|text| match text.parse::<u16>() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("unable to parse {text:?} as a port")),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        for (text, wanted) in [("a+b%20c", "a b c"), ("%2Fx%", "/x%"), ("%zz", "%zz"), ("%C3%A4", "ä"), ("%+1", "% 1")]
        {
            assert_eq!(decode(text, true), wanted);
        }
        assert_eq!(decode("a+b", false), "a+b");
        let query = parse(Some("command=sh&command=-c&command=echo+%26&tty"));
        assert_eq!(every(&query, "command").collect::<Vec<_>>(), ["sh", "-c", "echo &"]);
        assert_eq!(first(&query, "tty"), Some(""));
    }

    #[test]
    fn wanted_streams() {
        let of = |text| streams(&parse(Some(text)));
        let tty = streaming::Options { stdin: true, stdout: true, stderr: false, tty: true };
        assert_eq!(of("input=1&output=1&error=1&tty=1"), Ok(tty));
        assert_eq!(of("stdin=true&stdout=true&tty=true"), Ok(tty));
        assert_eq!(of("error=1"), Ok(streaming::Options { stderr: true, ..Default::default() }));
        assert!(of("input=0").is_err());
        assert!(of("tty=1&error=1").is_err());
    }

    #[test]
    fn forwarded_ports() {
        let of = |text| ports(&parse(Some(text)));
        assert_eq!(of("port=80&port=443"), Ok(vec![80, 443]));
        assert_eq!(of("ports=80%2C443"), Ok(vec![80, 443]));
        assert_eq!(of(""), Ok(vec![]));
        assert_eq!(of("port=0"), Err("port \"0\" must be > 0".into()));
        assert!(of("port=65536").is_err());
    }
}
