//! What a reader of a log wants: PodLogOptions (core/v1) as the query of `/containerLogs` carries them.
use jiff::Timestamp;

/// Of which of a container's outputs an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How much of a log to read, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on with what is written until the container has stopped.
    pub follow: bool,
    /// Of the instance before the present one; whoever finds the file sees to it.
    pub previous: bool,
    /// The last so many entries; all without it.
    pub tail: Option<i64>,
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
    /// One output alone; both without it.
    pub stream: Option<Stream>,
}

/// Why a query is refused; displays as upstream's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400
    #[error("{{\"message\": \"Unable to decode query.\"}}")]
    Undecodable,
    /// 422
    #[error("{{\"message\": \"Invalid request.\"}}")]
    Invalid,
}

impl Options {
    /// Reads a decoded query; `now` is what `sinceSeconds` counts back from.
    ///
    /// # Errors
    /// A value cannot be read, or values are out of range or contradict each other.
    pub fn parse(query: &[(String, String)], now: Timestamp) -> Result<Options, Refusal> {
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let integer = |name: &str| match value(name) {
            None => Ok(None),
            Some(text) => text.parse::<i64>().map(Some).map_err(|_| Refusal::Undecodable),
        };
        // As upstream's conversion of parameters: everything but "false" and "0" is true.
        let flag = |name: &str| value(name).is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"));
        // `tail` is the older name, and `all` the same as leaving it out.
        let tail = match value("tail").filter(|text| !text.is_empty()) {
            Some("all") => None,
            Some(text) => Some(text.parse::<i64>().map_err(|_| Refusal::Undecodable)?),
            None => integer("tailLines")?,
        };
        let since_time = match value("sinceTime").filter(|text| !text.is_empty() && *text != "null") {
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| Refusal::Undecodable)?),
            None => None,
        };
        let (since_seconds, limit) = (integer("sinceSeconds")?, integer("limitBytes")?);
        let stream = match value("stream") {
            None | Some("" | "All") => None,
            Some("Stdout") => Some(Stream::Stdout),
            Some("Stderr") => Some(Stream::Stderr),
            Some(_) => return Err(Refusal::Invalid),
        };
        let contradicts = since_seconds.is_some() && since_time.is_some() || stream.is_some() && tail.is_some();
        let positive = |number: Option<i64>| number.is_none_or(|number| number > 0);
        if contradicts || tail.is_some_and(|tail| tail < 0) || !positive(limit) || !positive(since_seconds) {
            return Err(Refusal::Invalid);
        }
        let ago = |seconds| now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN);
        Ok(Options {
            follow: flag("follow"),
            previous: flag("previous"),
            tail,
            since: since_time.or(since_seconds.map(ago)),
            timestamps: flag("timestamps"),
            limit_bytes: limit.and_then(|limit| u64::try_from(limit).ok()),
            stream,
        })
    }
}
