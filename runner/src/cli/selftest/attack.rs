//! An attack: a plugin whose head says what comes of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What is tried, and what comes of it.
#[derive(Debug)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// The plugin.
    pub(super) code: &'static str,
    /// In one sentence.
    pub(super) what: &'static str,
    head: BTreeMap<&'static str, &'static str>,
}

/// What there is to attack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terrain {
    /// Whether workers have namespaces of their own.
    pub(super) has_namespaces: bool,
    /// Whether workers see a `/proc`.
    pub(super) has_proc: bool,
}

impl Attack {
    /// The attack of a file. Its text begins with what it does, and then has a line for each thing to know.
    pub(super) fn new(name: &'static str, code: &'static str) -> Self {
        let text = code.split("\"\"\"").nth(1).unwrap_or_default();
        let mut lines = text.lines();
        let what = lines.next().unwrap_or_default();
        Self { name, code, what, head: lines.filter_map(|line| line.split_once(": ")).collect() }
    }

    fn value(&self, key: &str) -> Option<&'static str> {
        self.head.get(key).copied()
    }

    /// Words that a line of the plugin's log has to have: what its author reads.
    pub(super) fn hint(&self) -> Option<&'static str> {
        self.value("hint")
    }

    /// Why it cannot be tried, if it cannot.
    pub(super) fn obstacle(&self, terrain: Terrain) -> Option<String> {
        if !terrain.has_namespaces && self.value("only with") == Some("namespaces") {
            return Some("needs namespaces".to_owned());
        }
        let variable = self.value("needs variable")?;
        std::env::var_os(variable).is_none().then(|| format!("needs the variable {variable}"))
    }

    /// The settings of its trigger: what it is granted, and its timeout.
    pub(super) fn settings(&self) -> Result<Map<String, Value>, String> {
        let granted = self.value("grant").map_or(Ok(Map::new()), serde_json::from_str);
        let mut settings = granted.map_err(|error| format!("its grant: {error}"))?;
        settings.insert("run_async".to_owned(), false.into());
        settings.insert("error_behavior".to_owned(), "log".into());
        settings.extend(self.value("timeout").map(|timeout| ("timeout".to_owned(), timeout.into())));
        Ok(settings)
    }

    /// What should have come of it, when something else did.
    pub(super) fn complaint(&self, terrain: Terrain, status: u16, text: &str) -> Option<&'static str> {
        let special = |key, without: &str| {
            let without = if terrain.has_namespaces { None } else { self.value(without) };
            without.or_else(|| self.value(key))
        };
        if let Some(words) = special("fails with", "fails without namespaces with") {
            return (!matches!(status, 500 | 504) || !text.contains(words)).then_some(words);
        }
        let said_otherwise = !terrain.has_namespaces && self.value("without namespaces").is_some();
        if let Some(choices) = special("expect one of", "without namespaces one of").filter(|_| !said_otherwise) {
            let is_choice = |word| choices.split('|').any(|choice| choice == word);
            return (status != 200 || !text.split(' ').all(is_choice)).then_some(choices);
        }
        let without_proc = if terrain.has_proc { None } else { self.value("without proc") };
        match without_proc.or_else(|| special("expect", "without namespaces")) {
            Some(expected) => (status != 200 || text != expected).then_some(expected),
            None => Some("its head says nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: Terrain = Terrain { has_namespaces: true, has_proc: true };
    const WITHOUT: Terrain = Terrain { has_namespaces: false, has_proc: true };
    const MASKED: Terrain = Terrain { has_namespaces: true, has_proc: false };

    #[test]
    fn expectations_are_for_a_terrain() {
        let attack = Attack::new("a", "\"\"\"Reads.\n\nexpect: No done\nwithout namespaces one of: A|B\n\"\"\"");
        assert_eq!(attack.what, "Reads.");
        assert_eq!(attack.complaint(WITH, 200, "No done"), None);
        assert_eq!(attack.complaint(WITH, 200, "A B"), Some("No done"));
        assert_eq!(attack.complaint(WITHOUT, 200, "A B A"), None);
        assert_eq!(attack.complaint(WITHOUT, 200, "A C"), Some("A|B"));
        assert_eq!(attack.complaint(WITH, 500, "No done"), Some("No done"));
        let attack = Attack::new("a", "\"\"\"Reads.\n\nexpect: Denied\nwithout proc: Absent\n\"\"\"");
        assert_eq!(attack.complaint(MASKED, 200, "Absent"), None);
        assert_eq!(attack.complaint(WITH, 200, "Absent"), Some("Denied"));
    }

    #[test]
    fn failures_have_their_words() {
        let attack = Attack::new("a", "\"\"\"Dies.\n\nfails with: signal 9\nonly with: namespaces\n\"\"\"");
        assert_eq!(attack.complaint(WITH, 500, "killed by signal 9 (SIGKILL)"), None);
        assert_eq!(attack.complaint(WITH, 200, "signal 9"), Some("signal 9"));
        assert_eq!(attack.obstacle(WITHOUT).as_deref(), Some("needs namespaces"));
        assert_eq!(attack.obstacle(WITH), None);
    }

    #[test]
    fn an_attack_that_expects_nothing_fails() {
        assert!(Attack::new("a", "\"\"\"Does something.\n\"\"\"").complaint(WITH, 200, "done").is_some());
    }

    #[test]
    fn settings_are_grants_and_timeout() {
        let attack = Attack::new("a", "\"\"\"Runs.\n\ngrant: {\"allow_run\": true}\ntimeout: 1s\n\"\"\"");
        let settings = Value::Object(attack.settings().unwrap());
        let expected = serde_json::json!({
            "allow_run": true, "run_async": false, "error_behavior": "log", "timeout": "1s",
        });
        assert_eq!(settings, expected);
    }
}
