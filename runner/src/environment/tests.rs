//! Builds with real tools, from wheels made on the spot. Nothing here needs a network.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::EnvironmentError;
use super::index::IndexSettings;
use super::installer::Installer;
use super::interpreter::{Interpreter, find_program};
use super::progress::News;
use super::redactor::Redactor;
use super::requirements::{Requirements, requirements_of};
use super::steps::Steps;
use super::store::EnvironmentStore;
use super::tool::{Output, Tool};
use super::{Environment, PackageManager, builder, marker, resolver};

/// Writes the wheel `NAME-VERSION-py3-none-any.whl` with one module, as small as wheels get.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
directory, name, version = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{directory}/{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}.py", f"VERSION = '{version}'\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
"#;

/// A directory with the wheel `tinywheel` 1.5, plugins and a store.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("wheels")).unwrap();
        let world = Self { dir };
        let wheels = world.path("wheels");
        python(Path::new("python3"), &["-c", MAKE_WHEEL, wheels.to_str().unwrap(), "tinywheel", "1.5"]).await;
        world
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self, package_manager: PackageManager) -> EnvironmentStore {
        EnvironmentStore::new(self.path("environments"), None, package_manager, Duration::from_secs(120))
    }

    /// The requirements of a plugin that asks for these lines, to be found among the wheels only.
    fn asks_for(&self, lines: &str) -> Requirements {
        fs::write(self.path("plugin.py"), "").unwrap();
        let text = format!("--no-index\n--find-links wheels\n{lines}\n");
        fs::write(self.path("plugin.requirements.txt"), text).unwrap();
        requirements_of(&self.path("plugin.py")).unwrap()
    }

    /// Names of the environments' directories.
    fn on_disk(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("environments")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "locks" && name != "resolved")
            .collect()
    }
}

async fn python(program: &Path, args: &[&str]) -> Output {
    let search_path = std::env::var_os("PATH").unwrap();
    let program = find_program(program.as_os_str(), &search_path).unwrap();
    let mut tool = Tool::new(program, "/");
    tool.args(args);
    tool.run(Instant::now() + Duration::from_secs(60)).await.unwrap()
}

async fn version_of_tinywheel(environment: &Environment) -> String {
    let output = python(&environment.python, &["-I", "-c", "import tinywheel; print(tinywheel.VERSION)"]).await;
    output.stdout + &output.stderr
}

/// Both tools where both are there.
fn tools() -> Vec<PackageManager> {
    let uv = find_program("uv".as_ref(), &std::env::var_os("PATH").unwrap());
    std::iter::once(PackageManager::Pip).chain(uv.map(|_| PackageManager::Uv)).collect()
}

#[tokio::test]
async fn packages_are_installed_and_found_again() {
    for tool in tools() {
        let world = World::new().await;
        let requirements = world.asks_for("TinyWheel>=1");
        let built = world.store(tool).ensure(&requirements).await.unwrap();
        assert_eq!(version_of_tinywheel(&built).await, "1.5\n", "{tool:?}");
        assert_eq!(built.path, world.path("environments").join(&built.id));
        assert!(!built.path.join("requirements.txt").exists(), "it may hold the password of an index");
        let before = fs::metadata(built.path.join("bulkhead.json")).unwrap().modified().unwrap();
        let again = world.store(tool).ensure(&requirements).await.unwrap();
        assert_eq!(again, built);
        assert_eq!(fs::metadata(built.path.join("bulkhead.json")).unwrap().modified().unwrap(), before);
    }
}

#[tokio::test]
async fn the_plain_environment_is_isolated_and_needs_no_package_manager() {
    let world = World::new().await;
    let environment = world.store(PackageManager::Disabled).ensure(&Requirements::default()).await.unwrap();
    let script = "import sys; print(sys.prefix, sys.base_prefix != sys.prefix, sys.version.split()[0])";
    let output = python(&environment.python, &["-I", "-c", script]).await;
    assert_eq!(output.stdout, format!("{} True {}\n", environment.path.display(), environment.python_version));
}

#[tokio::test]
async fn packages_are_refused_where_they_are_disabled() {
    let world = World::new().await;
    let store = world.store(PackageManager::Disabled);
    let error = store.ensure(&Requirements::from_packages(&["numpy"]).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("is disabled on this server and the plugin asks for `numpy`"), "{error}");
}

#[tokio::test]
async fn a_failure_tells_the_tools_words_changes_nothing_and_is_not_for_ever() {
    for tool in tools() {
        let world = World::new().await;
        let store = world.store(tool);
        let requirements = world.asks_for("tinywheel==9");
        let error = store.ensure(&requirements).await.unwrap_err();
        let EnvironmentError::Tool { what, exit, output, hint } = &error else { panic!("{error}") };
        assert!(what.starts_with("resolving requirements with "), "{what}");
        assert_eq!(exit, "exit status: 1");
        assert!(output.contains("tinywheel==9"), "{tool:?}: {output}");
        assert!(hint.is_some(), "{tool:?}: {output}");
        assert_eq!(world.on_disk(), [""; 0]);

        let wheels = world.path("wheels");
        python(Path::new("python3"), &["-c", MAKE_WHEEL, wheels.to_str().unwrap(), "tinywheel", "9"]).await;
        let built = store.ensure(&requirements).await.unwrap();
        assert_eq!(version_of_tinywheel(&built).await, "9\n");
    }
}

#[tokio::test]
async fn concurrent_calls_share_one_build_or_one_failure() {
    let world = World::new().await;
    let store = world.store(PackageManager::Pip);
    let requirements = world.asks_for("tinywheel");
    let (a, b, c) = tokio::join!(store.ensure(&requirements), store.ensure(&requirements), store.ensure(&requirements));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&b, &c));

    let failing = world.asks_for("nothere");
    let begin = Instant::now();
    store.ensure(&failing).await.unwrap_err();
    let one = begin.elapsed();
    let begin = Instant::now();
    let all =
        tokio::join!(store.ensure(&failing), store.ensure(&failing), store.ensure(&failing), store.ensure(&failing));
    assert_eq!(all.0, all.3);
    assert!(begin.elapsed() < one * 3, "the failure was made more than once");
}

#[tokio::test]
async fn two_runners_may_share_a_root() {
    let world = World::new().await;
    let (first, second) = (world.store(PackageManager::Pip), world.store(PackageManager::Pip));
    let requirements = world.asks_for("tinywheel");
    let (a, b) = tokio::join!(first.ensure(&requirements), second.ensure(&requirements));
    assert_eq!(a.as_deref().unwrap(), b.as_deref().unwrap());
    assert_eq!(version_of_tinywheel(&a.unwrap()).await, "1.5\n");
    assert_eq!(world.on_disk().len(), 1);
}

#[tokio::test]
async fn an_interrupted_build_is_repaired() {
    let world = World::new().await;
    let requirements = world.asks_for("tinywheel");
    let built = world.store(PackageManager::Pip).ensure(&requirements).await.unwrap();
    // As a runner leaves it that was killed: no marker, half of the files, and another one of no use.
    fs::remove_file(built.path.join("bulkhead.json")).unwrap();
    fs::remove_dir_all(built.path.join("lib")).unwrap();
    fs::create_dir(world.path("environments/0123456789abcdef")).unwrap();

    let repaired = world.store(PackageManager::Pip).ensure(&requirements).await.unwrap();
    assert_eq!(version_of_tinywheel(&repaired).await, "1.5\n");
    assert_eq!(world.on_disk(), std::slice::from_ref(&repaired.id));
}

#[tokio::test]
async fn what_a_killed_build_leaves_has_no_environments_name_and_goes() {
    let world = World::new().await;
    let requirements = world.asks_for("tinywheel");
    let built = world.store(PackageManager::Pip).ensure(&requirements).await.unwrap();
    // As a runner leaves it that was killed: one in the middle of a build, one before the rename, and one that somebody builds.
    let root = world.path("environments");
    fs::create_dir_all(root.join("0123456789abcdef.new/lib")).unwrap();
    fs::rename(&built.path, root.join(format!("{}.new", built.id))).unwrap();
    fs::create_dir(root.join("fedcba9876543210.new")).unwrap();
    let builder = super::files::try_lock(&root.join("locks/fedcba9876543210")).unwrap().unwrap();
    let now = fs::metadata(&root).unwrap().modified().unwrap();
    assert_eq!(super::inventory::list(&root, now).unwrap(), [], "what is not renamed is no environment");

    let store = world.store(PackageManager::Pip);
    store.collect(Duration::from_secs(3600), now).await;
    assert_eq!(world.on_disk(), ["fedcba9876543210.new"]);
    drop(builder);
    assert_eq!(store.ensure(&requirements).await.unwrap(), built);
    assert_eq!(world.on_disk(), std::slice::from_ref(&built.id));
}

#[tokio::test]
async fn an_environment_knows_the_path_at_which_it_lies_and_no_other() {
    for tool in tools() {
        let world = World::new().await;
        let script = "import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'a') as wheel:
    wheel.writestr('tinywheel-1.5.dist-info/entry_points.txt', '[console_scripts]\\ntiny = tinywheel:main\\n')
    wheel.writestr('tinymain.py', 'def main(): print(__file__, main.__code__.co_filename)')
";
        let wheel = world.path("wheels/tinywheel-1.5-py3-none-any.whl");
        python(Path::new("python3"), &["-c", script, wheel.to_str().unwrap()]).await;
        let built = world.store(tool).ensure(&world.asks_for("tinywheel")).await.unwrap();

        let code = "import tinymain; tinymain.main(); print(tinymain.__cached__)";
        let output = python(&built.python, &["-I", "-c", code]).await;
        let words: Vec<&str> = output.stdout.split_whitespace().collect();
        assert_eq!(words.len(), 3, "{tool:?}: {}", output.stderr);
        assert!(words.iter().all(|path| path.starts_with(built.path.to_str().unwrap())), "{words:?}");
        assert!(Path::new(words[2]).exists(), "it is compiled before it is used");
        let head = fs::read_to_string(built.path.join("bin/tiny")).unwrap();
        assert!(head.contains(built.python.to_str().unwrap()), "{head}");
        let search = format!("grep -rl '{}.new' '{}'; true", built.id, built.path.display());
        let found = python(Path::new("sh"), &["-c", &search]).await;
        assert_eq!(found.stdout, "", "{tool:?}: where it was built is said nowhere");
    }
}

#[tokio::test]
async fn an_environment_that_vanishes_under_a_running_store_comes_back() {
    let world = World::new().await;
    let store = world.store(PackageManager::Pip);
    let built = store.ensure(&Requirements::default()).await.unwrap();
    fs::remove_dir_all(&built.path).unwrap();
    assert_eq!(store.ensure(&Requirements::default()).await.unwrap(), built);
    assert!(marker::is_complete(&built.path));
}

#[tokio::test]
async fn a_cancelled_build_leaves_the_way_free() {
    let world = World::new().await;
    let store = world.store(PackageManager::Pip);
    let requirements = world.asks_for("tinywheel");
    let environments = world.path("environments");
    let begun = async {
        while !fs::read_dir(&environments).is_ok_and(|entries| entries.count() > 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! { result = store.ensure(&requirements) => panic!("{result:?}"), () = begun => {} }
    let built = store.ensure(&requirements).await.unwrap();
    assert_eq!(version_of_tinywheel(&built).await, "1.5\n");
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_killed() {
    let world = World::new().await;
    let store = EnvironmentStore::new(world.path("environments"), None, PackageManager::Pip, Duration::from_millis(1));
    let error = store.ensure(&Requirements::default()).await.unwrap_err();
    assert!(error.to_string().contains("was not done after 0.001 s, the limit for a build"), "{error}");
    assert_eq!(world.on_disk(), [""; 0]);
}

#[tokio::test]
async fn whoever_builds_too_long_elsewhere_is_named_by_the_lock() {
    let world = World::new().await;
    let store = world.store(PackageManager::Pip);
    let built = store.ensure(&Requirements::default()).await.unwrap();
    fs::remove_file(built.path.join("bulkhead.json")).unwrap();
    let held = fs::File::open(world.path("environments/locks").join(&built.id)).unwrap();
    held.lock().unwrap();
    let impatient =
        EnvironmentStore::new(world.path("environments"), None, PackageManager::Pip, Duration::from_millis(100));
    let error = impatient.ensure(&Requirements::default()).await.unwrap_err();
    assert!(matches!(error, EnvironmentError::Locked { .. }), "{error}");
    drop(held);
    store.ensure(&Requirements::default()).await.unwrap();
}

#[tokio::test]
async fn an_interpreter_without_pip_gets_one_for_the_time_of_the_build() {
    let world = World::new().await;
    let requirements = world.asks_for("tinywheel");
    let without_pip = world.path("python-without-pip");
    fs::write(&without_pip, "#!/bin/sh\ncase \"$*\" in *'-m pip'*) exit 1;; esac\nexec python3 \"$@\"\n").unwrap();
    fs::set_permissions(&without_pip, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let interpreter = Interpreter { version: "3".into(), base_executable: without_pip, platform: "linux".into() };
    let held = fs::File::create(world.path("lock")).unwrap();
    let limit = Duration::from_secs(120);
    let (root, work, path) = (world.path(""), world.path("work"), world.path("environment"));
    let (index, redactor, news) = (IndexSettings::default(), Redactor::default(), News::default());
    let steps = Steps {
        index: &index,
        redactor: &redactor,
        news: &news,
        root: &root,
        lock: &held,
        limit,
        deadline: Instant::now() + limit,
    };
    fs::create_dir(&work).unwrap();
    let installer = Installer::find(&steps, None, &interpreter, &work).await.unwrap();
    let lock = resolver::resolve(&steps, &installer, &interpreter, requirements.packages(), &work).await.unwrap();
    assert_eq!(lock.packages(), ["tinywheel==1.5"]);
    builder::create(&steps, None, &interpreter, &path).await.unwrap();
    let lines = [&requirements.packages()[..2], &lock.lines()].concat();
    builder::install(&steps, &installer, &lines, &path).await.unwrap();
    let script = "import tinywheel, importlib.util; print(tinywheel.VERSION, importlib.util.find_spec('pip'))";
    let output = python(&marker::python(&path), &["-I", "-c", script]).await;
    assert_eq!(output.stdout, "1.5 None\n", "{}", output.stderr);
}

#[tokio::test]
async fn what_was_resolved_stays_until_it_cannot_be_had() {
    for tool in tools() {
        let world = World::new().await;
        let requirements = world.asks_for("tinywheel");
        let first = world.store(tool).ensure(&requirements).await.unwrap();
        assert_eq!(first.packages, ["tinywheel==1.5"]);
        let locks: Vec<_> = fs::read_dir(world.path("environments/resolved")).unwrap().flatten().collect();
        let text = fs::read_to_string(locks[0].path()).unwrap();
        assert!(text.starts_with("# What was resolved for Python ") && text.contains("#     tinywheel\n"), "{text}");
        assert!(text.contains("\ntinywheel==1.5 \\\n    --hash=sha256:"), "{text}");

        // A newer version changes nothing, also when the environment has to be built again.
        let wheels = world.path("wheels");
        python(Path::new("python3"), &["-c", MAKE_WHEEL, wheels.to_str().unwrap(), "tinywheel", "2"]).await;
        fs::remove_dir_all(&first.path).unwrap();
        let again = world.store(tool).ensure(&requirements).await.unwrap();
        assert_eq!(again, first);
        assert_eq!(version_of_tinywheel(&again).await, "1.5\n", "{tool:?}");

        // The locked file has gone, and the environment too.
        fs::remove_dir_all(&first.path).unwrap();
        fs::remove_file(wheels.join("tinywheel-1.5-py3-none-any.whl")).unwrap();
        let newer = world.store(tool).ensure(&requirements).await.unwrap();
        assert_eq!((newer.packages.as_slice(), newer.id != first.id), (&["tinywheel==2".to_owned()][..], true));
    }
}

#[tokio::test]
async fn requirements_that_come_to_the_same_packages_share_an_environment() {
    let world = World::new().await;
    let store = world.store(PackageManager::Pip);
    let loose = store.ensure(&world.asks_for("tinywheel>=1")).await.unwrap();
    let exact = store.ensure(&world.asks_for("tinywheel==1.5")).await.unwrap();
    assert_eq!((loose.id == exact.id, world.on_disk().len()), (true, 1));
}

#[tokio::test]
async fn a_file_that_changed_behind_its_lock_is_not_installed() {
    let world = World::new().await;
    let requirements = world.asks_for("tinywheel==1.5");
    let built = world.store(PackageManager::Pip).ensure(&requirements).await.unwrap();
    fs::remove_dir_all(&built.path).unwrap();
    let wheels = world.path("wheels");
    let fake = "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'a').writestr('evil.py', 'x = 1')";
    let wheel = wheels.join("tinywheel-1.5-py3-none-any.whl");
    python(Path::new("python3"), &["-c", fake, wheel.to_str().unwrap()]).await;
    let error = world.store(PackageManager::Pip).ensure(&requirements).await.unwrap_err().to_string();
    assert!(
        error.contains("cannot be used: a file is not the one that was locked:") && error.contains("tinywheel"),
        "{error}"
    );
    assert!(error.ends_with("remove it, and requirements are resolved anew"), "{error}");
    assert_eq!(world.on_disk(), [""; 0]);
}
