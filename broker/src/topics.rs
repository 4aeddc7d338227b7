//! Which topics, filters and client ids the broker accepts, and which topics a filter matches.
//! The rules are stricter than MQTT's where the router inside would stumble.

use crate::config::Limits;

/// Longest client id in bytes.
const CLIENT_ID_BYTES: usize = 128;

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    /// Not allowed by MQTT itself.
    #[error("{0}")]
    Malformed(&'static str),
    /// Allowed by MQTT, not by this broker.
    #[error("{0}")]
    Unsupported(&'static str),
}

use NameError::{Malformed, Unsupported};

/// Checks a topic to publish to.
pub(crate) fn check_topic<'a>(topic: &'a [u8], limits: &Limits) -> Result<&'a str, NameError> {
    let topic = std::str::from_utf8(topic).map_err(|_| Malformed("topic is not UTF-8"))?;
    if topic.contains(['+', '#']) {
        return Err(Malformed("topic has a wildcard"));
    }
    check_name(topic, limits)?;
    // The router slices off the first byte to look for `$`, which panics inside of a multi-byte character.
    if !topic.is_char_boundary(1) {
        return Err(Unsupported("topic must begin with an ASCII character"));
    }
    if topic.starts_with('$') {
        return Err(Unsupported("topics beginning with $ are reserved"));
    }
    Ok(topic)
}

/// Checks a filter to subscribe to.
pub(crate) fn check_filter(filter: &str, limits: &Limits) -> Result<(), NameError> {
    check_name(filter, limits)?;
    if filter.starts_with("$share/") {
        return Err(Unsupported("shared subscriptions are not supported"));
    }
    if filter.starts_with('$') {
        return Err(Unsupported("filters beginning with $ are reserved"));
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let well_placed = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            level => !level.contains(['+', '#']),
        };
        if !well_placed {
            return Err(Malformed("filter has a misplaced wildcard"));
        }
    }
    Ok(())
}

fn check_name(name: &str, limits: &Limits) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(Malformed("topic is empty"));
    }
    if name.chars().any(char::is_control) {
        return Err(Malformed("topic has a control character"));
    }
    if name.len() > limits.topic_bytes {
        return Err(Unsupported("topic is longer than the limit"));
    }
    if name.split('/').count() > limits.topic_levels {
        return Err(Unsupported("topic has more levels than the limit"));
    }
    Ok(())
}

/// Checks a client id that is not empty.
pub(crate) fn check_client_id(id: &str) -> Result<(), &'static str> {
    if id.len() > CLIENT_ID_BYTES {
        return Err("client id is longer than 128 bytes");
    }
    if id.contains(['/', '+', '#', '$']) {
        return Err("client id has one of / + # $");
    }
    if id.chars().any(char::is_control) {
        return Err("client id has a control character");
    }
    Ok(())
}

/// Whether `filter` has a wildcard.
pub(crate) fn has_wildcard(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// Whether `filter` matches `topic`, both checked before.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    let mut filter = filter.split('/');
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_follows_the_standard() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("+/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} on {topic}");
        }
    }

    #[test]
    fn names_that_would_hurt_the_router_are_refused() {
        let limits = Limits::default();
        assert!(check_topic("é/x".as_bytes(), &limits).is_err());
        assert!(check_topic(b"$SYS/x", &limits).is_err());
        assert!(check_topic(b"a/+", &limits).is_err());
        assert!(check_topic(b"a\0b", &limits).is_err());
        assert!(check_topic(b"\xff", &limits).is_err());
        assert!(check_topic(b"", &limits).is_err());
        assert!(check_topic("a/é".as_bytes(), &limits).is_ok());
        assert!(check_filter("$share/g/a", &limits).is_err());
        assert!(check_filter("a/#/b", &limits).is_err());
        assert!(check_filter("a/b+", &limits).is_err());
        assert!(check_filter("a/+/#", &limits).is_ok());
        assert!(check_filter(&"a/".repeat(40), &limits).is_err());
        assert!(check_filter(&"a".repeat(600), &limits).is_err());
    }
}
