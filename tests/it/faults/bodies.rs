//! Plugins whose code fails without harm to their process.

use super::World;

#[test]
fn an_exit_by_exception_and_deep_recursion_are_failures_like_any_other() {
    let world = World::with("system_exit");
    world.add("recursion");
    world.engine("system_exit").raised("SystemExit: 3");
    world.engine("recursion?through=python").contains(500, "RecursionError: maximum recursion depth exceeded");
    for trigger in ["system_exit", "recursion"] {
        let workers = world.workers(trigger);
        assert_eq!((workers.len(), &workers[0]["state"]), (1, &"idle".into()), "{workers:?}");
    }
    world.ends_well();
}

#[test]
fn recursion_that_overflows_the_stack_ends_its_own_worker_only() {
    let world = World::with("recursion");
    // Newer interpreters notice; older ones die of it.
    let answer = world.engine("recursion?through=c");
    let text = answer.text();
    assert_eq!(answer.status, 500, "{text}");
    assert!(["SIGSEGV", "RecursionError", "MemoryError"].iter().any(|end| text.contains(end)), "{text}");
    world.ends_well();
}

#[test]
fn code_that_cannot_be_loaded_marks_its_trigger_failed_with_the_reason() {
    let world = World::new(&[]);
    let check = |name: &str, code: &str, reason: &str| {
        world.plugin(&format!("{name}.py"), code);
        let trigger = crate::world::Trigger::new(name, &format!("{name}.py"), &format!("request:{name}")).unchecked();
        world.create(&trigger);
        world.engine(name).contains(500, reason);
        assert!(world.until_state(name, "failed").contains(reason));
        assert!(world.logs(name).iter().any(|line| line.starts_with("ERROR ") && line.contains(reason)));
        world.neighbour_is_well();
    };
    check("syntax", "def process_request(:\n    pass\n", "SyntaxError: invalid syntax");
    check("empty", "", "the process_request function is not present in the plugin.");
    check("wrong", "def process_writes(a, b, c=None): pass\n", "the process_request function is not present");
    let import = "import nothing_of_this_name\ndef process_request(*all): return 'x'\n";
    check("import", import, "ModuleNotFoundError: No module named 'nothing_of_this_name'");
    check("binary", "\u{0}", "");
    world.ends_well();
}

#[test]
fn a_plugin_cannot_change_its_neighbours_python() {
    let world = World::new(&[]);
    let vandal = "import json, os\ndef process_request(api, query, headers, body, args=None):\n    json.dumps = lambda value: 'PWNED'\n    os.environ['LEAK'] = 'yes'\n    os.chdir('/')\n    return {'a': 1}\n";
    let victim = "import os\ndef process_request(api, query, headers, body, args=None):\n    return {'leak': os.environ.get('LEAK'), 'cwd': os.getcwd()}\n";
    world.plugin("vandal.py", vandal);
    world.plugin("victim.py", victim);
    world.create(&crate::world::Trigger::new("vandal", "vandal.py", "request:vandal"));
    world.create(&crate::world::Trigger::new("victim", "victim.py", "request:victim"));
    world.engine("vandal").is(200, "PWNED");
    let seen = world.engine("victim").json();
    assert_eq!(seen["leak"], serde_json::json!(null));
    assert_ne!(seen["cwd"], "/");
    world.ends_well();
}
