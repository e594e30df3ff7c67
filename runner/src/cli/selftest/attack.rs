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
    /// Whether the kernel has Landlock.
    pub(super) has_landlock: bool,
    /// Whether its Landlock keeps signals from others, as it does since Linux 6.12.
    pub(super) has_signal_scopes: bool,
}

impl Terrain {
    /// What there is not, in the words of heads; what decides more comes first.
    fn lacking(self) -> impl Iterator<Item = &'static str> {
        let layers = [
            (self.has_proc, "proc"),
            (self.has_namespaces, "namespaces"),
            (self.has_landlock, "landlock"),
            (self.has_signal_scopes, "signal scopes"),
        ];
        layers.into_iter().filter(|(is_there, _)| !is_there).map(|(_, name)| name)
    }
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
        let lacking = terrain.lacking().map(|lack| self.expectations(Some(lack)));
        let expected = lacking.chain([self.expectations(None)]).find(|expected| !expected.is_empty());
        let Some(expected) = expected else { return Some("its head says nothing") };
        if expected.iter().any(|it| it.is_met(status, text)) { None } else { expected.first().map(Expectation::words) }
    }

    /// What may come of it as a rule, or where something is lacking.
    fn expectations(&self, lack: Option<&str>) -> Vec<Expectation> {
        let [exactly, one_of, failure] = match lack {
            None => ["expect", "expect one of", "fails with"].map(str::to_owned),
            Some(lack) => {
                [format!("without {lack}"), format!("without {lack} one of"), format!("fails without {lack} with")]
            }
        };
        let exactly = self.value(&exactly).map(Expectation::Exactly);
        let one_of = self.value(&one_of).map(Expectation::OneOf);
        let failure = self.value(&failure).map(Expectation::Failure);
        [exactly, one_of, failure].into_iter().flatten().collect()
    }
}

/// What comes of an attack.
enum Expectation {
    /// The call fails, and these words are in its failure.
    Failure(&'static str),
    /// Each word of the answer is one of these, which bars divide.
    OneOf(&'static str),
    /// The answer.
    Exactly(&'static str),
}

impl Expectation {
    fn is_met(&self, status: u16, text: &str) -> bool {
        match self {
            Self::Failure(words) => matches!(status, 500 | 504) && text.contains(words),
            Self::OneOf(choices) => {
                status == 200 && text.split(' ').all(|word| choices.split('|').any(|choice| choice == word))
            }
            Self::Exactly(expected) => status == 200 && text == *expected,
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Failure(words) | Self::OneOf(words) | Self::Exactly(words) => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: Terrain = Terrain { has_namespaces: true, has_proc: true, has_landlock: true, has_signal_scopes: true };
    const WITHOUT: Terrain = Terrain { has_namespaces: false, ..WITH };
    const MASKED: Terrain = Terrain { has_proc: false, ..WITH };
    const OLD: Terrain = Terrain { has_signal_scopes: false, ..WITH };

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
    fn what_fails_only_where_something_is_lacking_is_known() {
        let attack =
            Attack::new("a", "\"\"\"Kills.\n\nexpect: done\nfails without signal scopes with: was killed\n\"\"\"");
        assert_eq!(attack.complaint(WITH, 200, "done"), None);
        assert_eq!(attack.complaint(OLD, 200, "done"), Some("was killed"));
        assert_eq!(attack.complaint(OLD, 500, "it was killed"), None);
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
