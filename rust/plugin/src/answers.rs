//! Stores the answers to calls where they were asked for, and says which are still expected.

use std::collections::HashMap;

use indexmap::IndexMap;
use nemo_plugin_api::{PluginContext, PluginValue};
use serde_json::Value;

use crate::landing::{Write, with_inner_paths};
use crate::value;

/// The folder of the answers that name no place.
const DEFAULT_FOLDER: &str = "bridge.answers";

/// What an answer has: the response's payload as the bus contract says it, and whether another answer is expected.
const KEYS: [&str; 5] = ["ok", "result", "error", "attempts", "duration_ms"];

/// Keep track of the places where answers are expected.
pub struct Answers {
    places: HashMap<String, Place>,
    /// The last answer at each place under the default folder, the oldest first.
    kept: IndexMap<String, PluginValue>,
    keep: usize,
}

#[derive(Default)]
struct Place {
    /// How many calls wait for their answer.
    expected: usize,
    /// The number of the latest call that has its answer.
    answered: u64,
}

impl Answers {
    /// Store answers.
    ///
    /// # Arguments
    ///
    /// * `keep`: how many answers that name no place are kept at least; at most twice as many are.
    pub fn new(keep: usize) -> Self {
        Self {
            places: HashMap::new(),
            kept: IndexMap::new(),
            keep,
        }
    }

    /// Say at a place that an answer is expected there; what is there stays until it comes.
    ///
    /// # Errors
    ///
    /// Nothing can be stored at the place; the text says why.
    pub fn expect(&mut self, context: &dyn PluginContext, into: &str) -> Result<(), String> {
        let previous = match context.get_data(into) {
            Some(PluginValue::Object(object)) => object,
            _ => IndexMap::new(),
        };
        let mut answer = IndexMap::from([("pending".to_owned(), PluginValue::Bool(true))]);
        for key in KEYS {
            answer.insert(
                key.to_owned(),
                previous.get(key).cloned().unwrap_or_default(),
            );
        }
        self.store(context, into, answer)?;
        self.places.entry(into.to_owned()).or_default().expected += 1;
        Ok(())
    }

    /// Store an answer that was expected.
    ///
    /// Where several calls have the same place, an answer to an earlier call does not replace one to a later call.
    ///
    /// # Arguments
    ///
    /// * `number`: rises with each call.
    /// * `response`: a response's payload, as the bus contract says it.
    ///
    /// # Errors
    ///
    /// Nothing can be stored at the place; the text says why.
    pub fn store_expected(
        &mut self,
        context: &dyn PluginContext,
        into: &str,
        number: u64,
        response: Value,
    ) -> Result<(), String> {
        let place = self.places.entry(into.to_owned()).or_default();
        place.expected = place.expected.saturating_sub(1);
        let pending = place.expected > 0;
        let is_latest = number > place.answered;
        if is_latest {
            place.answered = number;
        }
        if !pending {
            self.places.remove(into);
        }
        if is_latest {
            self.store(context, into, answer(response, pending))
        } else if pending {
            Ok(())
        } else {
            context
                .set_data(&format!("{into}.pending"), PluginValue::Bool(false))
                .map_err(|error| error.to_string())
        }
    }

    /// Store the answer to a call that was not made.
    ///
    /// # Errors
    ///
    /// Nothing can be stored at the place; the text says why.
    pub fn store_refusal(
        &mut self,
        context: &dyn PluginContext,
        into: &str,
        response: Value,
    ) -> Result<(), String> {
        let pending = self.places.contains_key(into);
        self.store(context, into, answer(response, pending))
    }

    fn store(
        &mut self,
        context: &dyn PluginContext,
        into: &str,
        answer: IndexMap<String, PluginValue>,
    ) -> Result<(), String> {
        let answer = value::replace(context.get_data(into).as_ref(), PluginValue::Object(answer));
        if let Some(name) = into
            .strip_prefix(DEFAULT_FOLDER)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            self.keep(context, name, &answer);
        }
        write(context, with_inner_paths(into.to_owned(), answer))
    }

    /// Forget the oldest answers in the default folder. A key cannot be deleted, so the folder is written anew.
    fn keep(&mut self, context: &dyn PluginContext, name: &str, answer: &PluginValue) {
        self.kept.shift_remove(name);
        self.kept.insert(name.to_owned(), answer.clone());
        if self.kept.len() > 2 * self.keep {
            self.kept.drain(..self.kept.len() - self.keep);
            let _ = context.set_data(DEFAULT_FOLDER, PluginValue::Object(self.kept.clone()));
        }
    }
}

fn answer(response: Value, pending: bool) -> IndexMap<String, PluginValue> {
    let mut response = match response {
        Value::Object(object) => object,
        _ => serde_json::Map::new(),
    };
    let mut answer = IndexMap::from([("pending".to_owned(), PluginValue::Bool(pending))]);
    for key in KEYS {
        let value = response.remove(key).unwrap_or_default();
        answer.insert(key.to_owned(), value::from_json(value));
    }
    answer
}

/// Write values to the data repository; stop at the first that is refused.
///
/// # Errors
///
/// One was refused; the text is that of the repository.
pub fn write(context: &dyn PluginContext, writes: Vec<Write>) -> Result<(), String> {
    writes.into_iter().try_for_each(|(path, value)| {
        context
            .set_data(&path, value)
            .map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use nemo_bridge_host::{Application, Bindings};
    use serde_json::json;

    use super::*;
    use crate::value::from_json;

    fn at(application: &Application, path: &str) -> Value {
        value::to_json(&application.get_data(path).unwrap_or_default()).expect("finite")
    }

    fn ok(result: &Value) -> Value {
        json!({"ok": true, "result": result, "attempts": 1, "duration_ms": 2})
    }

    // A place says that an answer is expected, keeps the last one until then, and clears what the next one lacks.
    #[test]
    fn an_answer_is_expected_and_comes() {
        let (application, mut answers) = (Application::new(&[]), Answers::new(2));

        answers.expect(&*application, "a.b").expect("a place");
        assert_eq!(
            at(&application, "a.b"),
            json!({"pending": true, "ok": null, "result": null, "error": null, "attempts": null, "duration_ms": null})
        );
        answers
            .store_expected(&*application, "a.b", 1, ok(&json!({"number": 7})))
            .expect("a place");
        answers.expect(&*application, "a.b").expect("a place");
        assert_eq!(at(&application, "a.b.result.number"), json!(7));
        assert_eq!(at(&application, "a.b.pending"), json!(true));
        let error =
            json!({"ok": false, "error": {"kind": "timeout"}, "attempts": 3, "duration_ms": 9});
        answers
            .store_expected(&*application, "a.b", 2, error)
            .expect("a place");

        assert_eq!(
            at(&application, "a.b"),
            json!({
                "pending": false, "ok": false, "result": {"number": null}, "error": {"kind": "timeout"},
                "attempts": 3, "duration_ms": 9
            })
        );
    }

    // What a user interface binds inside of an answer changes with it, although Nemo tells only of exact paths.
    #[test]
    fn bindings_inside_of_an_answer_change() {
        let (application, mut answers) = (Application::new(&[]), Answers::new(2));
        let mut shown = Bindings::to(["data.a.result.number", "data.a.pending"]);

        answers.expect(&*application, "a").expect("a place");
        shown.update(&application);
        assert_eq!(
            shown.shown("data.a.pending"),
            Some(&PluginValue::Bool(true))
        );
        answers
            .store_expected(&*application, "a", 1, ok(&json!({"number": 7})))
            .expect("a place");
        shown.update(&application);

        assert_eq!(
            shown.shown("data.a.result.number"),
            Some(&PluginValue::Integer(7))
        );
        assert_eq!(
            shown.shown("data.a.pending"),
            Some(&PluginValue::Bool(false))
        );
    }

    // Where two calls have the same place, the later one's answer stays, whichever comes first.
    #[test]
    fn the_answer_to_the_later_call_stays() {
        let (application, mut answers) = (Application::new(&[]), Answers::new(2));
        for _ in 0..2 {
            answers.expect(&*application, "a").expect("a place");
        }

        answers
            .store_expected(&*application, "a", 2, ok(&json!("new")))
            .expect("a place");
        assert_eq!(
            (at(&application, "a.result"), at(&application, "a.pending")),
            (json!("new"), json!(true))
        );
        answers
            .store_expected(&*application, "a", 1, ok(&json!("old")))
            .expect("a place");

        assert_eq!(
            (at(&application, "a.result"), at(&application, "a.pending")),
            (json!("new"), json!(false))
        );
        assert!(answers.places.is_empty());
    }

    // Answers that name no place are kept to a bounded number, the latest ones.
    #[test]
    fn default_answers_are_bounded() {
        let (application, mut answers) = (Application::new(&[]), Answers::new(10));
        for number in 1..=1000 {
            let into = format!("bridge.answers._{number}");
            answers.expect(&*application, &into).expect("a place");
            answers
                .store_expected(&*application, &into, number, ok(&json!(number)))
                .expect("a place");
        }

        let Some(PluginValue::Object(kept)) = application.get_data("bridge.answers") else {
            panic!("there are answers")
        };
        assert!((10..=20).contains(&kept.len()), "{}", kept.len());
        assert_eq!(at(&application, "bridge.answers._1000.result"), json!(1000));
        assert_eq!(at(&application, "bridge.answers._991.result"), json!(991));
    }

    // A place below something that is no object is refused, with the repository's reason.
    #[test]
    fn a_place_that_cannot_be() {
        let (application, mut answers) = (Application::new(&[]), Answers::new(2));
        application
            .set_data("a", from_json(json!(1)))
            .expect("a place");

        assert!(answers.expect(&*application, "a.b").is_err());
        assert!(answers.places.is_empty());
    }
}
