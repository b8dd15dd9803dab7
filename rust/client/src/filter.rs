//! Filters: which events a subscription receives.

use crate::errors::InvalidError;
use crate::event::check_event_type;

/// Selects events as Nemo's filters do: by exact type, prefix, source, or a glob over the segments of the type.
///
/// A glob's `*` stands for exactly one segment and `**` for any number of segments, also none.
///
/// ```
/// use nemo_bridge_client::Filter;
///
/// let filter = Filter::glob("order.*.**")?;
/// assert!(filter.matches("order.created", None));
/// assert!(filter.matches("order.created.twice", Some("shop")));
/// assert!(!filter.matches("order", None));
/// # Ok::<(), nemo_bridge_client::InvalidError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Exact(String),
    Prefix(String),
    Source(String),
    Glob(Vec<Segment>),
    Any(Vec<Filter>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    One,
    AnyNumber,
    Literal(String),
}

impl Filter {
    /// Selects one event type.
    ///
    /// # Errors
    ///
    /// This is not an event type.
    pub fn exact(event_type: &str) -> Result<Filter, InvalidError> {
        check_event_type(event_type)?;
        Ok(Filter(Kind::Exact(event_type.to_owned())))
    }

    /// Selects all types that begin with the prefix; an empty prefix selects everything.
    pub fn prefix(prefix: &str) -> Filter {
        Filter(Kind::Prefix(prefix.to_owned()))
    }

    /// Selects all events of one source.
    ///
    /// ZeroMQ selects by type only. So the client receives everything, and drops what comes from other sources.
    pub fn source(source: &str) -> Filter {
        Filter(Kind::Source(source.to_owned()))
    }

    /// Selects types by their segments: `*` is exactly one, `**` any number.
    ///
    /// # Errors
    ///
    /// No event type can match the pattern; the message has the reason.
    pub fn glob(pattern: &str) -> Result<Filter, InvalidError> {
        check_event_type(pattern)
            .map_err(|error| InvalidError::new(format!("pattern: {error}")))?;
        let segments = pattern.split('.').map(|segment| match segment {
            "*" => Ok(Segment::One),
            "**" => Ok(Segment::AnyNumber),
            _ if segment.contains('*') => Err(InvalidError::new(format!(
                "pattern {pattern:?}: `*` and `**` stand for whole segments, not for a part as in {segment:?}"
            ))),
            _ => Ok(Segment::Literal(segment.to_owned())),
        });
        Ok(Filter(Kind::Glob(segments.collect::<Result<_, _>>()?)))
    }

    /// Reads a filter as the bridge's configuration does: with `*` a glob, with a dot at the end a prefix, else an
    /// exact type.
    ///
    /// # Errors
    ///
    /// No event type can match the text; the message has the reason.
    pub fn parse(text: &str) -> Result<Filter, InvalidError> {
        if text.contains('*') {
            return Filter::glob(text);
        }
        if let Some(stem) = text.strip_suffix('.') {
            check_event_type(stem)?;
            return Ok(Filter::prefix(text));
        }
        Filter::exact(text)
    }

    /// Selects what at least one of the filters selects; without filters, nothing.
    pub fn any(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter(Kind::Any(filters.into_iter().collect()))
    }

    /// Tells whether the filter selects an event of this type and source.
    pub fn matches(&self, event_type: &str, source: Option<&str>) -> bool {
        match &self.0 {
            Kind::Exact(wanted) => wanted == event_type,
            Kind::Prefix(prefix) => event_type.starts_with(prefix.as_str()),
            Kind::Source(wanted) => source == Some(wanted),
            Kind::Glob(segments) => glob_matches(segments, event_type),
            Kind::Any(filters) => filters
                .iter()
                .any(|filter| filter.matches(event_type, source)),
        }
    }

    /// Returns the prefixes to subscribe to in ZeroMQ: every event that the filter selects has one of them.
    pub(crate) fn prefixes(&self) -> Vec<String> {
        let mut prefixes = match &self.0 {
            Kind::Exact(event_type) => vec![event_type.clone()],
            Kind::Prefix(prefix) => vec![prefix.clone()],
            Kind::Source(_) => vec![String::new()],
            Kind::Glob(segments) => vec![glob_prefix(segments)],
            Kind::Any(filters) => filters.iter().flat_map(Filter::prefixes).collect(),
        };
        prefixes.sort();
        prefixes.dedup();
        prefixes
    }
}

/// Returns the longest prefix of all matches: of `data.*` it is `data.`; of `data.**` it is `data`, which matches, too.
fn glob_prefix(segments: &[Segment]) -> String {
    let mut prefix = String::new();
    for segment in segments {
        match segment {
            Segment::Literal(text) => prefix.push_str(text),
            Segment::One => return prefix,
            Segment::AnyNumber => {
                prefix.pop();
                return prefix;
            }
        }
        prefix.push('.');
    }
    prefix.pop();
    prefix
}

/// Matches from the left. Where a later part does not fit, the last `**` takes one segment more: for globs, no earlier
/// `**` has to be tried again. So the time is at most the product of both lengths.
fn glob_matches(pattern: &[Segment], event_type: &str) -> bool {
    let segments: Vec<&str> = event_type.split('.').collect();
    let (mut at, mut next) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while next < segments.len() {
        let fits = match pattern.get(at) {
            Some(Segment::AnyNumber) => {
                last = Some((at, next));
                at += 1;
                continue;
            }
            Some(Segment::One) => true,
            Some(Segment::Literal(text)) => text == segments[next],
            None => false,
        };
        if fits {
            at += 1;
            next += 1;
        } else if let Some((wild, taken)) = last {
            last = Some((wild, taken + 1));
            at = wild + 1;
            next = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..]
        .iter()
        .all(|segment| *segment == Segment::AnyNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Globs match by segments, with `**` at any position and also for no segment.
    #[test]
    fn globs() {
        for (pattern, event_type, expected) in [
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.**", "a", true),
            ("a.**", "a.b.c", true),
            ("a.**", "ab", false),
            ("**", "x.y", true),
            ("**.c", "a.b.c", true),
            ("**.c", "c", true),
            ("**.c", "a.b", false),
            ("a.**.b.*", "a.b.x.b.y", true),
            ("a.**.b.*", "a.b", false),
            ("**.a.**.a.**", "a.x.a", true),
            ("**.a.**.a.**", "a.x", false),
        ] {
            let filter = Filter::glob(pattern).unwrap();
            assert_eq!(
                filter.matches(event_type, None),
                expected,
                "{pattern} {event_type}"
            );
        }
    }

    // A glob with many `**` that does not match takes no exponential time.
    #[test]
    fn hostile_glob() {
        let pattern = vec!["**.a"; 40].join(".") + ".b";
        let event_type = vec!["a"; 100].join(".");
        assert!(!Filter::glob(&pattern).unwrap().matches(&event_type, None));
    }

    // Every match of a filter begins with one of the prefixes that are subscribed to.
    #[test]
    fn prefixes() {
        for (text, expected) in [
            ("data.*", "data."),
            ("data.**", "data"),
            ("**", ""),
            ("*", ""),
            ("a.b", "a.b"),
            ("a.b.", "a.b."),
            ("a.*.c", "a."),
        ] {
            assert_eq!(
                Filter::parse(text).unwrap().prefixes(),
                [expected],
                "{text}"
            );
        }
        assert_eq!(Filter::source("x").prefixes(), [""]);
        let both = Filter::any([
            Filter::prefix("b"),
            Filter::prefix("a"),
            Filter::prefix("b"),
        ]);
        assert_eq!(both.prefixes(), ["a", "b"]);
    }

    // What cannot match any event is refused with the reason.
    #[test]
    fn refused() {
        for text in ["", "a..b", "a.b*", "a b", ".a", "."] {
            assert!(Filter::parse(text).is_err(), "{text:?}");
        }
        assert!(
            Filter::glob("a.b*")
                .unwrap_err()
                .to_string()
                .contains("whole segments")
        );
    }

    // Sources are compared whole, and an event without one has none.
    #[test]
    fn sources() {
        let filter = Filter::source("shop");
        assert!(filter.matches("x", Some("shop")));
        assert!(!filter.matches("x", Some("shop2")));
        assert!(!filter.matches("x", None));
    }
}
