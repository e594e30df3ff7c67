//! What authors of plugins work with: types for their editor and mypy, and a pytest fixture.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::world::run;

/// A plugin that uses all of the API, and one whose mistakes mypy has to find.
const TYPED: &str = include_str!("../authors/typed.py");
const MISTAKEN: &str = include_str!("../authors/mistaken.py");
/// What mypy says of the second one: line and text.
const MISTAKES: [(&str, &str); 7] = [
    ("14", "\"InfluxDB3Local\" has no attribute \"debug\""),
    ("15", "Argument 1 to \"write\" of \"InfluxDB3Local\" has incompatible type \"str\""),
    ("16", "Missing positional argument \"no_sync\" in call to \"write_sync\" of \"InfluxDB3Local\""),
    ("17", "Dict entry 0 has incompatible type \"str\": \"list[int]\""),
    ("18", "Argument 2 to \"int64_field\" of \"LineBuilder\" has incompatible type \"float\""),
    ("19", "Argument \"ttl\" to \"put\" of \"Cache\" has incompatible type \"str\""),
    ("20", "Incompatible types in assignment (expression has type \"str\", variable has type \"int\")"),
];

/// The project's pinned Python tools, where `.ci/run` has put them or in a place of their own.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let pins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/python-tools.txt");
        let pinned = std::fs::read_to_string(&pins).unwrap();
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for place in [temporary.with_file_name("python-tools"), temporary.join("python-tools")] {
            let is_there = std::fs::read_to_string(place.join("requirements.txt")).is_ok_and(|text| text == pinned);
            if is_there && place.join("bin/pytest").exists() {
                return place;
            }
        }
        let place = temporary.join("python-tools");
        // Built in its place, because its programs know their path; what was begun before is not trusted.
        let _ = std::fs::remove_dir_all(&place);
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&place));
        let mut install = Command::new(place.join("bin/python"));
        succeed(install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&pins));
        std::fs::write(place.join("requirements.txt"), pinned).unwrap();
        place
    })
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

/// A directory of an author: the types are there, and these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("bulkhead-it-").tempdir().unwrap();
    let typings = directory.path().join("typings");
    let written = run(&["typings", typings.to_str().unwrap()]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}

fn mypy(project: &Path, file: &str) -> Command {
    let mut mypy = Command::new(tools().join("bin/python"));
    mypy.current_dir(project).env("MYPYPATH", "typings").args(["-m", "mypy"]).args([
        "--strict",
        "--no-color-output",
        "--no-error-summary",
        file,
    ]);
    mypy
}

#[test]
fn mypy_knows_the_plugin_api_and_finds_mistakes() {
    let project = project(&[("typed.py", TYPED), ("mistaken.py", MISTAKEN)]);
    succeed(&mut mypy(project.path(), "typed.py"));
    let found = output(&mut mypy(project.path(), "mistaken.py"));
    let text = String::from_utf8(found.stdout).unwrap();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains(": error: ")).collect();
    for (line, part) in MISTAKES {
        let is_found =
            errors.iter().any(|error| error.starts_with(&format!("mistaken.py:{line}:")) && error.contains(part));
        assert!(is_found, "line {line}, {part}:\n{text}");
    }
    assert_eq!(errors.len(), MISTAKES.len(), "{text}");
}

const DOUBLE: &str = "\
def process_writes(influxdb3_local, table_batches, args=None):
    for batch in table_batches:
        for row in batch['rows']:
            influxdb3_local.info('row', row['v'])
            line = LineBuilder(args['target']).float64_field('v', row['v'] * 2).time_ns(row['time'])
            influxdb3_local.write(line)
";

const TESTS: &str = "\
import pytest
from bulkhead_testing import Bulkhead, Log, PluginError

def test_rows(bulkhead: Bulkhead) -> None:
    plugin = bulkhead.run('plugins/double.py', 'table:m', arguments={'target': 'doubled'})
    bulkhead.write('m v=1.5 1\\nm v=2 2')
    plugin.wait()
    assert bulkhead.query('SELECT v FROM doubled ORDER BY time') == [{'v': 3.0}, {'v': 4.0}]
    assert plugin.logs() == [Log('INFO', 'row 1.5'), Log('INFO', 'row 2.0')]

def test_failure(bulkhead: Bulkhead) -> None:
    plugin = bulkhead.run('plugins/double.py', 'table:m', arguments={})
    bulkhead.write('m v=1.5 1')
    with pytest.raises(PluginError, match=\"KeyError: 'target'\"):
        plugin.wait()

def test_request(bulkhead: Bulkhead) -> None:
    plugin = bulkhead.run('plugins/answer.py', 'request:answer')
    answer = plugin.request({'a': '1'}, body=b'x', headers={'X-Test': 'y'})
    assert (answer.status, answer.json()) == (201, ['1', 'x', 'y'])

def test_that_fails(bulkhead: Bulkhead) -> None:
    bulkhead.run('plugins/missing.py', 'table:m')
";

const ANSWER: &str = "\
def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return [query_parameters['a'], request_body.decode(), request_headers['x-test']], 201
";

#[test]
fn the_pytest_fixture_runs_plugins_in_real_workers() {
    let project = project(&[
        ("plugins/double.py", DOUBLE),
        ("plugins/answer.py", ANSWER),
        ("tests/conftest.py", "pytest_plugins = ['bulkhead_testing']\n"),
        ("tests/test_plugins.py", TESTS),
        ("pytest.ini", "[pytest]\npythonpath = typings\n"),
    ]);
    succeed(&mut mypy(project.path(), "tests/test_plugins.py"));
    let mut pytest = Command::new(tools().join("bin/python"));
    pytest.current_dir(project.path()).env("BULKHEAD", env!("CARGO_BIN_EXE_bulkhead")).env("TMPDIR", project.path());
    let said = output(pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]));
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("1 failed, 3 passed"), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    assert!(text.contains("FAILED tests/test_plugins.py::test_that_fails"), "{text}");
}

#[test]
fn a_new_plugin_works_and_so_does_its_test() {
    let directory = tempfile::Builder::new().prefix("bulkhead-it-").tempdir().unwrap();
    for (kind, name) in [("wal", "my_wal"), ("schedule", "my_schedule"), ("request", "my_request")] {
        let made = run(&["new", kind, name, "--directory", directory.path().to_str().unwrap()]);
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let mut pytest = Command::new(tools().join("bin/python"));
    pytest
        .current_dir(directory.path())
        .env("BULKHEAD", env!("CARGO_BIN_EXE_bulkhead"))
        .env("TMPDIR", directory.path());
    let said = output(pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]));
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("6 passed") && said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
}
