//! Real packages from the index that this machine is configured to. Where it cannot be reached, the report has to say so.

use serde_json::json;

use super::NEIGHBOUR;
use crate::inside::tls::TlsServer;
use crate::world::{DB, Setup, TestRunner, Trigger, until};

/// What the report says of an index that cannot be reached or does not have them.
const OUT_OF_REACH: [&str; 4] =
    ["the index cannot be reached", "No matching distribution found", "No solution found", "was not done after"];

const FRAMES: &str = "\
# /// script
# dependencies = ['numpy', 'pandas', 'requests']
# ///
import numpy, pandas, requests
def process_request(api, query, headers, body, args=None):
    if 'url' in query:
        try:
            return requests.get(query['url'], verify=query.get('trust', True), timeout=20).text
        except requests.exceptions.SSLError as error:
            return f'SSLError {error}'
    frame = pandas.DataFrame({'host': ['a', 'b', 'a'], 'v': numpy.arange(3.0)})
    sums = frame.groupby('host')['v'].sum()
    return f\"{sums['a']:.0f} {sums['b']:.0f} {requests.__name__}\"
";

const LEARNS: &str = "\
# /// script
# dependencies = ['scikit-learn', 'tzdata']
# ///
import zoneinfo
from datetime import datetime
import numpy
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
def process_request(api, query, headers, body, args=None):
    zoneinfo.reset_tzpath([])
    zone = datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')).tzname()
    x = numpy.arange(20.0).reshape(-1, 1)
    line = LinearRegression().fit(x, 2 * x.ravel() + 1)
    forest = RandomForestRegressor(5, n_jobs=2, random_state=0).fit(x, x.ravel())
    groups = KMeans(2, n_init=2, random_state=0).fit(numpy.where(x > 10, 100, 0)).labels_
    return f'{line.coef_[0]:.1f} {len(forest.predict(x))} {len(set(groups))} {zone}'
";

/// A runner with a plugin that asks for packages of the index; nothing where that cannot be reached.
fn with_packages(name: &str, code: &str, trigger: impl FnOnce(Trigger) -> Trigger) -> Option<TestRunner> {
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
    let file = format!("{name}.py");
    runner.plugin(&file, code);
    runner.create(&trigger(Trigger::new(name, &file, &format!("request:{name}"))));
    let state = until("the environment is built or refused", || match runner.trigger(name) {
        row if row["state"] == "building" => Err(row.to_string()),
        row => Ok(row["state"].as_str().unwrap().to_owned()),
    });
    if state == "failed" {
        is_out_of_reach(&runner, name);
        return None;
    }
    Some(runner)
}

#[test]
fn large_packages_of_the_public_index_work_in_a_confined_worker() {
    let server = TlsServer::start();
    let granted = |trigger: Trigger| {
        let trigger = trigger.setting("allow_net", json!([format!("localhost:{}", server.port())]));
        trigger.setting("allow_read", json!([server.certificate()]))
    };
    let Some(runner) = with_packages("frames", FRAMES, granted) else { return };
    runner.engine("frames").is(200, "2 1 requests");
    // With the certificates that come with the package, and with one of the plugin's own.
    let url = format!("frames?url=https://localhost:{}/", server.port());
    runner.engine(&url).contains(200, "SSLError");
    runner.engine(&url).contains(200, "self-signed certificate");
    runner.engine(&format!("{url}&trust={}", server.certificate().display())).is(200, "hello by TLS");
}

#[test]
fn a_package_that_computes_on_threads_works_in_a_confined_worker() {
    let Some(runner) = with_packages("learns", LEARNS, |trigger| trigger) else { return };
    runner.engine("learns").is(200, "2.0 20 2 CEST");
}

fn is_out_of_reach(runner: &TestRunner, trigger: &str) {
    let reason = runner.until_state(trigger, "failed");
    assert!(OUT_OF_REACH.iter().any(|words| reason.contains(words)), "{reason}");
}

#[test]
fn where_the_index_cannot_be_reached_the_report_says_so_and_the_neighbour_answers() {
    // Nobody listens at a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let index = format!("http://127.0.0.1:{port}/simple");
    let setup = Setup::with_own_environments().args(&["--environment-build-timeout", "90s", "--index-url", &index]);
    let runner = setup.start();
    runner.create_database(DB);
    runner.plugin("frames.py", FRAMES);
    runner.plugin("neighbour.py", NEIGHBOUR);
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    runner.create(&Trigger::new("frames", "frames.py", "request:frames"));
    is_out_of_reach(&runner, "frames");
    assert_eq!(runner.engine("neighbour").status, 200);
}
