//! Real packages from the index that this machine is configured to. Where it cannot be reached, the report has to say so.

use crate::world::{DB, Setup, Trigger, until};

/// What the report says of an index that cannot be reached or does not have them.
const OUT_OF_REACH: [&str; 4] =
    ["the index cannot be reached", "No matching distribution found", "No solution found", "was not done after"];

const PLUGIN: &str = "\
# /// script
# dependencies = ['numpy', 'pandas', 'requests']
# ///
import numpy, pandas, requests
def process_request(api, query, headers, body, args=None):
    frame = pandas.DataFrame({'host': ['a', 'b', 'a'], 'v': numpy.arange(3.0)})
    sums = frame.groupby('host')['v'].sum()
    return f\"{sums['a']:.0f} {sums['b']:.0f} {requests.__name__}\"
";

#[test]
fn large_packages_of_the_public_index_work_in_a_confined_worker() {
    let mut setup = Setup::new().args(&["--environment-build-timeout", "90s"]);
    // How this machine reaches an index is its affair, and tests pass nothing on by themselves.
    for name in [
        "PIP_INDEX_URL",
        "PIP_CERT",
        "PIP_FIND_LINKS",
        "HTTPS_PROXY",
        "https_proxy",
        "SSL_CERT_FILE",
        "UV_DEFAULT_INDEX",
    ] {
        if let Ok(value) = std::env::var(name) {
            setup = setup.env(name, &value);
        }
    }
    let runner = setup.start();
    runner.create_database(DB);
    runner.plugin("frames.py", PLUGIN);
    runner.create(&Trigger::new("frames", "frames.py", "request:frames"));
    let state = until("the environment is built or refused", || match runner.trigger("frames") {
        row if row["state"] == "building" => Err(row.to_string()),
        row => Ok(row["state"].as_str().unwrap().to_owned()),
    });
    if state == "failed" {
        let reason = runner.until_state("frames", "failed");
        assert!(OUT_OF_REACH.iter().any(|words| reason.contains(words)), "{reason}");
        return;
    }
    runner.engine("frames").is(200, "2 1 requests");
}
