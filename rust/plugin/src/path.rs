//! Paths of Nemo's data repository, which are segments with dots between them.
//!
//! Nemo reads a segment of digits as the index of a list, and gives `*`, `[` and `]` a meaning of their own. A segment
//! of an event type that would be read in that way is written differently here.

/// The segments under `data.bridge` that the plugin itself uses. An event type that begins with one gets a `_` before it.
pub const RESERVED: [&str; 6] = ["call", "emit", "queue", "taken", "answers", "rejected"];

/// Return whether Nemo reads a path segment as the name of a key.
pub fn is_name(segment: &str) -> bool {
    // Nemo parses a segment as `usize`, which takes "7" and "+7".
    !segment.is_empty()
        && segment.parse::<usize>().is_err()
        && !segment.contains(['.', '*', '[', ']'])
}

/// Return a segment that Nemo reads as the name of a key: `7` becomes `_7`, and each of `. * [ ]` becomes `_`.
pub fn name(segment: &str) -> String {
    if is_name(segment) {
        return segment.to_owned();
    }
    let cleaned = segment.replace(['.', '*', '[', ']'], "_");
    if is_name(&cleaned) {
        cleaned
    } else {
        format!("_{cleaned}")
    }
}

/// Return the segments under `data.bridge` where events of a type are stored.
pub fn of_event_type(event_type: &str) -> Vec<String> {
    let mut segments: Vec<String> = event_type.split('.').map(name).collect();
    if RESERVED.contains(&segments[0].as_str()) {
        segments[0].insert(0, '_');
    }
    segments
}

/// Return the path to hand to Nemo's `set_data` for a path as an application writes it, with or without `data.`.
///
/// # Errors
///
/// No value can be stored there; the text says why.
pub fn of_application(path: &str) -> Result<String, String> {
    let path = path.strip_prefix("data.").unwrap_or(path);
    let segments: Vec<&str> = path.split('.').collect();
    if let Some(segment) = segments.iter().find(|segment| !is_name(segment)) {
        return Err(format!(
            "'{segment}' in the path '{path}' names no place; each segment is a name, not empty and not a number"
        ));
    }
    if segments[0] == "bridge" {
        return Err(format!(
            "'{path}' is under 'bridge', where the plugin stores what the bridge says; take another place"
        ));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Segments that Nemo would take for indices or wildcards are written differently.
    #[test]
    fn special_segments_become_names() {
        for (segment, expected) in [
            ("order", "order"),
            ("7", "_7"),
            ("+7", "_+7"),
            ("007", "_007"),
            ("7a", "7a"),
            ("", "_"),
            ("*", "_"),
            ("a[0]", "a_0_"),
            ("[7]", "_7_"),
            ("99999999999999999999", "99999999999999999999"),
        ] {
            assert_eq!(name(segment), expected, "{segment}");
            assert!(is_name(&name(segment)), "{segment}");
        }
    }

    // An event type cannot take a place that the plugin itself uses.
    #[test]
    fn reserved_names_are_set_apart() {
        assert_eq!(of_event_type("call.made"), ["_call", "made"]);
        assert_eq!(of_event_type("order.call.7"), ["order", "call", "_7"]);
        assert_eq!(of_event_type(".."), ["_", "_", "_"]);
    }

    // An application may write a path as its user interface does, and learns what is wrong with it.
    #[test]
    fn paths_of_an_application() {
        assert_eq!(
            of_application("data.orders.result"),
            Ok("orders.result".to_owned())
        );
        assert_eq!(of_application("orders"), Ok("orders".to_owned()));
        for (path, expected) in [
            ("", "'' in the path ''"),
            ("orders.7", "'7' in the path 'orders.7'"),
            ("a..b", "'' in the path 'a..b'"),
            ("bridge.health.shop", "is under 'bridge'"),
            ("data.bridge", "is under 'bridge'"),
        ] {
            assert!(
                of_application(path).unwrap_err().contains(expected),
                "{path}"
            );
        }
    }
}
