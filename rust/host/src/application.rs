//! The part of a Nemo application that a plugin sees: its context, and the user interface's bindings behind it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use nemo_plugin_api::{
    ActionSchema, ComponentSchema, DataSourceSchema, LogLevel, PluginContext, PluginError,
    PluginRegistrar, PluginValue, TransformSchema,
};

use crate::repository::Repository;

/// Be an application without a screen.
#[derive(Default)]
pub struct Application {
    /// The data repository.
    pub repository: Repository,
    config: PluginValue,
    changes: Mutex<Changes>,
    changed: Condvar,
    log: Mutex<Vec<(LogLevel, String)>>,
    events: Mutex<Vec<(String, PluginValue)>>,
}

#[derive(Default)]
struct Changes {
    /// How many values were set.
    count: u64,
    /// Full paths that were set since the user interface looked last.
    paths: BTreeSet<String>,
}

impl Application {
    /// Make an application.
    ///
    /// # Arguments
    ///
    /// * `plugin`: the attributes of `<plugin name="nemo-bridge" … />` in its `app.nemo`, with `_` for `-`.
    pub fn new(plugin: &[(&str, PluginValue)]) -> Arc<Self> {
        let mut attributes = IndexMap::from([(
            "name".to_owned(),
            PluginValue::String("nemo-bridge".to_owned()),
        )]);
        attributes.extend(
            plugin
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone())),
        );
        let plugins = PluginValue::Array(vec![PluginValue::Object(attributes)]);
        let app = PluginValue::Object(IndexMap::from([("plugins".to_owned(), plugins)]));
        Arc::new(Self {
            config: PluginValue::Object(IndexMap::from([("app".to_owned(), app)])),
            ..Self::default()
        })
    }

    /// Return what was logged, oldest first.
    pub fn log_lines(&self) -> Vec<(LogLevel, String)> {
        lock(&self.log).clone()
    }

    /// Return the events that were emitted into the application's own bus, oldest first.
    pub fn emitted(&self) -> Vec<(String, PluginValue)> {
        lock(&self.events).clone()
    }

    /// Wait until a condition holds; it is looked at again after each change of the repository.
    ///
    /// # Errors
    ///
    /// It does not hold in time. The text has what was logged.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            let before = lock(&self.changes).count;
            if holds() {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "not in {limit:?}: {what}; the log: {:#?}",
                    self.log_lines()
                ));
            }
            // Not only the repository changes: the log and emitted events do, too.
            let pause = left.min(Duration::from_millis(20));
            let changes = lock(&self.changes);
            let _ = self
                .changed
                .wait_timeout_while(changes, pause, |changes| changes.count == before);
        }
    }

    /// Return the paths that were set since the last call, as Nemo's user interface reads them.
    pub fn take_changes(&self) -> BTreeSet<String> {
        std::mem::take(&mut lock(&self.changes).paths)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PluginContext for Application {
    fn get_data(&self, path: &str) -> Option<PluginValue> {
        self.repository.get(&format!("data.{path}"))
    }

    fn set_data(&self, path: &str, value: PluginValue) -> Result<(), PluginError> {
        let path = format!("data.{path}");
        self.repository
            .set(&path, value)
            .map_err(PluginError::InvalidConfig)?;
        let mut changes = lock(&self.changes);
        changes.count += 1;
        changes.paths.insert(path);
        self.changed.notify_all();
        Ok(())
    }

    fn emit_event(&self, event_type: &str, payload: PluginValue) {
        lock(&self.events).push((event_type.to_owned(), payload));
    }

    fn get_config(&self, path: &str) -> Option<PluginValue> {
        path.split('.')
            .try_fold(&self.config, |value, key| match value {
                PluginValue::Object(object) => object.get(key),
                _ => None,
            })
            .cloned()
    }

    fn log(&self, level: LogLevel, message: &str) {
        lock(&self.log).push((level, message.to_owned()));
    }

    fn get_component_property(&self, _component_id: &str, _property: &str) -> Option<PluginValue> {
        None
    }

    fn set_component_property(
        &self,
        component_id: &str,
        _property: &str,
        _value: PluginValue,
    ) -> Result<(), PluginError> {
        Err(PluginError::ComponentFailed(format!(
            "there is no component '{component_id}'"
        )))
    }
}

/// Hold what a user interface shows: the values that its bindings got.
///
/// As in Nemo, a binding gets a new value only when exactly its own path was set, and what is there can be read then.
#[derive(Debug, Default)]
pub struct Bindings {
    shown: HashMap<String, Option<PluginValue>>,
}

impl Bindings {
    /// Bind to full paths, such as `data.bridge.health.shop.status`.
    pub fn to<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            shown: paths
                .into_iter()
                .map(|path| (path.to_owned(), None))
                .collect(),
        }
    }

    /// Take over what has changed since the last call.
    pub fn update(&mut self, application: &Application) {
        for path in application.take_changes() {
            if let Some(shown) = self.shown.get_mut(&path) {
                if let Some(value) = application.repository.get(&path) {
                    *shown = Some(value);
                }
            }
        }
    }

    /// Return the value that is shown for a path, if there was any.
    pub fn shown(&self, path: &str) -> Option<&PluginValue> {
        self.shown.get(path)?.as_ref()
    }
}

/// Collect what a plugin registers.
pub(crate) struct Registrar {
    pub(crate) context: Arc<dyn PluginContext>,
    pub(crate) registered: Vec<String>,
}

impl PluginRegistrar for Registrar {
    fn register_component(&mut self, name: &str, _schema: ComponentSchema) {
        self.registered.push(name.to_owned());
    }

    fn register_data_source(&mut self, name: &str, _schema: DataSourceSchema) {
        self.registered.push(name.to_owned());
    }

    fn register_transform(&mut self, name: &str, _schema: TransformSchema) {
        self.registered.push(name.to_owned());
    }

    fn register_action(&mut self, name: &str, _schema: ActionSchema) {
        self.registered.push(name.to_owned());
    }

    fn register_settings_page(&mut self, name: &str, _page: PluginValue) {
        self.registered.push(name.to_owned());
    }

    fn register_template(&mut self, name: &str, _template: PluginValue) {
        self.registered.push(name.to_owned());
    }

    fn context(&self) -> &dyn PluginContext {
        &*self.context
    }

    fn context_arc(&self) -> Arc<dyn PluginContext> {
        Arc::clone(&self.context)
    }
}
