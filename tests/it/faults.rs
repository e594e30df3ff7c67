//! Plugins that fail, hang, flood or attack: each has a named end, and its neighbour never notices.

mod bodies;
mod crashes;
mod disks;
mod floods;
mod hangs;

use std::ops::Deref;
use std::path::Path;

use crate::world::{TestRunner, Trigger, until_true};

/// A runner with one trigger that has to survive what the others do.
struct World {
    runner: TestRunner,
    neighbour: String,
}

impl World {
    fn new(arguments: &[&str]) -> Self {
        let runner = TestRunner::start_with(arguments);
        runner.fixture("neighbour.py");
        runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
        let answer = runner.engine("neighbour");
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self { runner, neighbour: answer.text() }
    }

    /// With one request trigger of a file of `tests/plugins`, named after it.
    fn with(fixture: &str) -> Self {
        let world = Self::new(&[]);
        world.add(fixture);
        world
    }

    fn add(&self, fixture: &str) {
        self.create(&self.request_trigger(fixture));
    }

    fn request_trigger(&self, fixture: &str) -> Trigger {
        self.fixture(&format!("{fixture}.py"));
        Trigger::new(fixture, &format!("{fixture}.py"), &format!("request:{fixture}"))
    }

    /// Checks that the neighbour answers from the process that it has had all along.
    #[track_caller]
    fn neighbour_is_well(&self) {
        self.engine("neighbour").is(200, &self.neighbour);
    }

    /// Stops the runner, which has to leave nothing.
    #[track_caller]
    fn ends_well(self) {
        self.neighbour_is_well();
        self.runner.stop_leaving_nothing();
    }
}

impl Deref for World {
    type Target = TestRunner;

    fn deref(&self) -> &TestRunner {
        &self.runner
    }
}

/// Whether a process with this id is there. A zombie is not.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

fn until_gone(pid: &str) {
    until_true(&format!("process {pid} is gone"), || !is_alive(pid));
}
