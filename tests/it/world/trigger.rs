//! A trigger to create.

use serde_json::{Map, Value, json};

use super::DB;

/// The body of a request that creates a trigger.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    database: String,
    name: String,
    plugin: String,
    spec: String,
    arguments: Value,
    settings: Map<String, Value>,
    disabled: bool,
    unchecked: bool,
}

impl Trigger {
    /// A synchronous, enabled trigger in [`DB`] with the error behavior `log`.
    pub(crate) fn new(name: &str, plugin: &str, spec: &str) -> Self {
        let mut settings = Map::new();
        settings.insert("run_async".to_owned(), json!(false));
        settings.insert("error_behavior".to_owned(), json!("log"));
        Self {
            database: DB.to_owned(),
            name: name.to_owned(),
            plugin: plugin.to_owned(),
            spec: spec.to_owned(),
            arguments: Value::Null,
            settings,
            disabled: false,
            unchecked: false,
        }
    }

    /// In another database.
    pub(crate) fn in_database(mut self, database: &str) -> Self {
        self.database = database.to_owned();
        self
    }

    /// With these arguments.
    pub(crate) fn arguments(mut self, arguments: Value) -> Self {
        self.arguments = arguments;
        self
    }

    /// With this error behavior.
    pub(crate) fn on_error(self, behavior: &str) -> Self {
        self.setting("error_behavior", json!(behavior))
    }

    /// With invocations that may overlap.
    pub(crate) fn run_async(self) -> Self {
        self.setting("run_async", json!(true))
    }

    /// With one of the `trigger_settings`.
    pub(crate) fn setting(mut self, name: &str, value: Value) -> Self {
        self.settings.insert(name.to_owned(), value);
        self
    }

    /// Registered without being run.
    pub(crate) fn disabled(mut self) -> Self {
        self.disabled = true;
        self
    }

    /// Without a look at the plugin's code.
    pub(crate) fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// The body.
    pub(crate) fn json(&self) -> Value {
        let mut body = json!({
            "db": self.database,
            "plugin_filename": self.plugin,
            "trigger_name": self.name,
            "trigger_settings": self.settings,
            "trigger_specification": self.spec,
            "trigger_arguments": self.arguments,
            "disabled": self.disabled,
        });
        if self.unchecked {
            body["no_check"] = json!(true);
        }
        body
    }
}
