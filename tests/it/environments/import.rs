//! From the one virtual environment of InfluxDB 3 to requirements of each plugin.

use super::{VERSION, wheel, world};
use crate::world::{Trigger, run};

#[test]
fn plugins_of_a_shared_virtual_environment_go_on_with_the_versions_that_they_had() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    wheel(&wheels, "2.0");
    let plugins = runner.plugin_dir();
    runner.plugin("user.py", VERSION);
    let info = ".venv/lib/python3.12/site-packages/tiny-1.0.dist-info";
    runner.plugin(".venv/pyvenv.cfg", "version = 3.12.1\n");
    runner.plugin(&format!("{info}/METADATA"), "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n");
    runner.plugin(&format!("{info}/RECORD"), "tiny.py,,\n");
    let directory = plugins.to_str().unwrap();

    let shown = run(&["import-venv", "--dry-run", directory]);
    assert!(shown.code == Some(0) && shown.stdout.contains("user.py: tiny==1.0\n"), "{shown:?}");
    assert!(!plugins.join("user.requirements.txt").exists());
    let imported = run(&["import-venv", directory]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert!(imported.stdout.contains("neighbour.py: tiny==1.0"), "it imports it, too: {imported:?}");
    assert!(imported.stderr.contains("`bulkhead serve --python 3.12`"), "{imported:?}");
    let text = |name: &str| std::fs::read_to_string(plugins.join(name)).unwrap();
    assert!(text("user.requirements.txt").ends_with("\ntiny==1.0\n"));
    assert!(text("venv.lock.txt").ends_with("\ntiny==1.0\n"));

    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.engine("user").is(200, "1.0");

    std::fs::write(plugins.join("user.requirements.txt"), "tiny==2.0\n").unwrap();
    let again = run(&["import-venv", directory]);
    assert!(again.stderr.contains("stays as it is; `--overwrite` replaces it"), "{again:?}");
    assert_eq!(text("user.requirements.txt"), "tiny==2.0\n");
    let nothing = run(&["import-venv", runner.root().to_str().unwrap()]);
    assert!(
        nothing.code == Some(1) && nothing.stderr.contains("has no virtual environment `.venv` or `venv`"),
        "{nothing:?}"
    );
}
