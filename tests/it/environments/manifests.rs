//! What a manifest wants beside packages: told and shown, and no reason to refuse.

use serde_json::json;

use super::world;
use crate::world::{DB, Request, Trigger};

const HELLO: &str = "def process_request(api, query, headers, body, args=None):\n    return 'hello'\n";
const MANIFEST: &str = "\
manifest_schema_version = \"1.3\"

[plugin]
name = \"modest\"
version = \"1.0.0\"
description = \"Says hello.\"
triggers = [\"process_request\"]

[dependencies]
database_version = \">=3.2.0,<4.0.0\"

[[dependencies.plugins]]
index_url = \"https://me:secret@plugins.example.com/index.json\"
name = \"geo-lookup\"
version = \">=1.0.0,<2.0.0\"
";

#[test]
fn a_version_of_the_database_and_other_plugins_are_shown_and_told_of_when_they_are_not_there() {
    let (runner, _) = world(&[]);
    runner.plugin("modest/__init__.py", HELLO);
    runner.plugin("modest/manifest.toml", MANIFEST);
    let missing = "asks for the plugin geo-lookup >=1.0.0,<2.0.0 of https://***@plugins.example.com/index.json, which is \
                   not in the plugin directory";
    let answer = runner.try_create(&Trigger::new("modest", "modest", "request:modest"));
    answer.contains(200, missing);
    assert_eq!(answer.json()["warnings"].as_array().map(Vec::len), Some(1), "{}", answer.text());
    runner.engine("modest").is(200, "hello");
    let line = runner.until_logged("modest", missing);
    assert!(line.starts_with("WARN ") && line.contains("modest/manifest.toml"), "{line}");

    let path = "/api/v3/configure/plugin_environment";
    let show = || runner.send(&Request::new("GET", path).query("db", DB).query("trigger_name", "modest")).json();
    let file = runner.plugin_dir().canonicalize().unwrap().join("modest/manifest.toml");
    let source = format!("`{}`", file.display());
    let shown = show();
    assert_eq!(shown["database_version"], json!([{ "requirement": ">=3.2.0,<4.0.0", "source": source }]));
    let plugin = json!({
        "name": "geo-lookup", "version": ">=1.0.0,<2.0.0",
        "index_url": "https://***@plugins.example.com/index.json", "source": source,
    });
    assert_eq!(shown["plugins"], json!([plugin]));
    let told = runner.cli(&["env", "show", "--database", DB, "modest"]);
    for line in [
        format!("InfluxDB      >=3.2.0,<4.0.0             {source}\n"),
        format!("plugins       geo-lookup >=1.0.0,<2.0.0  {source}\n"),
    ] {
        assert!(told.stdout.contains(&line), "{line:?} in\n{}", told.stdout);
    }
    assert!(told.stderr.contains(&format!("warning: {source} {missing}")), "{}", told.stderr);

    // With the other plugin there, and for another version of the database.
    runner.plugin("library/geo_lookup/manifest.toml", "[plugin]\nname = \"geo_lookup\"\nversion = \"1.2.0\"\n");
    runner.plugin("modest/manifest.toml", &MANIFEST.replace("<4.0.0", "<3.9"));
    let other = "asks for InfluxDB `>=3.2.0,<3.9`, and the plugin API here is that of InfluxDB 3.10.0";
    assert!(show()["warnings"].to_string().contains(other) && !show()["warnings"].to_string().contains("geo"));
    let arguments =
        ["create", "trigger", "--database", DB, "--path", "modest", "--trigger-spec", "request:again", "again"];
    let created = runner.cli(&arguments);
    assert!(created.code == Some(0) && created.stderr.contains(&format!("warning: {source} {other}")), "{created:?}");
    runner.engine("again").is(200, "hello");
    runner.until_logged("again", other);
    assert!(runner.logs("neighbour").iter().all(|line| !line.contains("asks for")));

    // One that cannot be understood still is refused, with its line.
    runner.plugin("broken/__init__.py", HELLO);
    runner.plugin("broken/manifest.toml", "[dependencies]\ndatabase_version = 3\n");
    runner.create(&Trigger::new("broken", "broken", "request:broken"));
    runner.engine("broken").contains(500, "broken/manifest.toml`, line 2: is not valid: invalid type: integer");
    assert_eq!(runner.engine("neighbour").status, 200);
    runner.stop_leaving_nothing();
}
