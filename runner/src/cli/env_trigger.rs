//! The environment of a trigger, as its server knows it.

use http::Method;
use serde_json::{Value, json};

use super::ServerArgs;
use super::client::with_query;
use super::env::OfTrigger;
use super::output::{CliError, Progress, note, put, say};

/// `env show --database DATABASE TRIGGER`.
pub(super) async fn show(
    server: &ServerArgs,
    (database, trigger): (&str, &str),
    only_lock: bool,
) -> Result<(), CliError> {
    let path = with_query("/api/v3/configure/plugin_environment", &[("db", database), ("trigger_name", trigger)]);
    let answer = server.client()?.get(&path).await?.success("Failed to show the environment")?;
    let plan: Value = serde_json::from_slice(&answer.body).map_err(|error| CliError::new(error.to_string()))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if only_lock {
        put(plan["lock"].as_str().unwrap_or_default().as_bytes());
        return Ok(());
    }
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
    let plugins = plan["plugins"].as_array().into_iter().flatten().map(|one| {
        let version = one["version"].as_str().map_or_else(String::new, |version| format!(" {version}"));
        (format!("{}{version}", text(&one["name"])), text(&one["source"]))
    });
    let all = [
        ("wants Python", asked("requires_python")),
        ("InfluxDB", asked("database_version")),
        ("plugins", plugins.collect()),
        ("asks for", asked("requirements")),
    ];
    let width = all.iter().flat_map(|(_, all)| all).map(|(what, _)| what.len()).max().unwrap_or_default();
    for (heading, all) in all {
        for (index, (what, source)) in all.iter().enumerate() {
            let heading = if index == 0 { heading } else { "" };
            say(format!("{heading:12}  {what:width$}  {source}"));
        }
    }
    lines(&plan["warnings"]).iter().for_each(|warning| note(format!("warning: {warning}")));
    let packages: Vec<String> = plan["packages"].as_array().into_iter().flatten().map(text).collect();
    for (index, package) in packages.iter().enumerate() {
        say(format!("{:12}  {package}", if index == 0 { "comes to" } else { "" }));
    }
    Ok(())
}

/// `env lock` and `env diff`.
pub(super) async fn lock(of: &OfTrigger, keep: bool) -> Result<(), CliError> {
    let what = if keep { "lock" } else { "diff" };
    let answer = post(of, what, "Failed to resolve the requirements").await?;
    let (before, after) = (lines(&answer["before"]), lines(&answer["after"]));
    let removed = before.iter().filter(|package| !after.contains(package)).map(|package| format!("- {package}"));
    let added = after.iter().filter(|package| !before.contains(package)).map(|package| format!("+ {package}"));
    let mut changes: Vec<String> = removed.chain(added).collect();
    // What is another version of the same stands together.
    changes.sort_by(|one, other| one[2..].cmp(&other[2..]));
    changes.iter().for_each(say);
    if changes.is_empty() {
        note("nothing changes");
    } else if keep {
        note(format!("`bulkhead env sync --database {} {}` takes it into use", of.database.database, of.trigger));
    }
    Ok(())
}

/// `env sync`.
pub(super) async fn sync(of: &OfTrigger) -> Result<(), CliError> {
    let answer = post(of, "sync", "Failed to build the environment").await?;
    let packages = lines(&answer["packages"]).join(", ");
    let packages = if packages.is_empty() { "no packages" } else { &packages };
    say(format!("Trigger '{}' runs with {packages}", of.trigger));
    Ok(())
}

async fn post(of: &OfTrigger, what: &str, failure: &str) -> Result<Value, CliError> {
    let path = format!("/api/v3/configure/plugin_environment/{what}");
    let body = json!({ "db": of.database.database, "trigger_name": of.trigger });
    let mut progress = Progress::new();
    let answer = of.server.client()?.change(Method::POST, &path, &body, &mut |text| progress.tell(text)).await?;
    drop(progress);
    let answer = answer.success(failure)?;
    serde_json::from_slice(&answer.body).map_err(|error| CliError::new(error.to_string()))
}

fn lines(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|line| line.as_str().map(str::to_owned)).collect()
}
