//! The environment of a trigger, as its server knows it.

use serde_json::Value;

use super::ServerArgs;
use super::client::with_query;
use super::output::{CliError, say};

/// `env show --database DATABASE TRIGGER`.
pub(super) async fn show(server: &ServerArgs, database: &str, trigger: &str) -> Result<(), CliError> {
    let path = with_query("/api/v3/configure/plugin_environment", &[("db", database), ("trigger_name", trigger)]);
    let answer = server.client()?.get(&path).await?.success("Failed to show the environment")?;
    let plan: Value = serde_json::from_slice(&answer.body).map_err(|error| CliError::new(error.to_string()))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let built = if plan["is_built"] == true { "" } else { " (not built yet)" };
    let environment = plan["environment"].as_str().map_or_else(
        || "not resolved yet; the first call does it".to_owned(),
        |environment| format!("{environment}{built}"),
    );
    say(format!("trigger       {trigger}\nenvironment   {environment}\npython        {}", text(&plan["python"])));
    let asked = |key: &str| -> Vec<(String, String)> {
        let all = plan[key].as_array().into_iter().flatten();
        all.map(|one| (text(&one["requirement"]), text(&one["source"]))).collect()
    };
    let (python, requirements) = (asked("requires_python"), asked("requirements"));
    let width = python.iter().chain(&requirements).map(|(what, _)| what.len()).max().unwrap_or_default();
    for (heading, all) in [("wants Python", python), ("asks for", requirements)] {
        for (index, (what, source)) in all.iter().enumerate() {
            let heading = if index == 0 { heading } else { "" };
            say(format!("{heading:12}  {what:width$}  {source}"));
        }
    }
    let packages: Vec<String> = plan["packages"].as_array().into_iter().flatten().map(text).collect();
    for (index, package) in packages.iter().enumerate() {
        say(format!("{:12}  {package}", if index == 0 { "comes to" } else { "" }));
    }
    Ok(())
}
