//! The examples on real data.

use serde_json::json;

use crate::world::{TestRunner, Trigger, until};

const WEATHER: &str = include_str!("../../../examples/data/bay-area-weather.lp");

fn write_weather(runner: &TestRunner) {
    let lines: Vec<&str> = WEATHER.lines().collect();
    assert_eq!(lines.len(), 3288);
    for batch in lines.chunks(400) {
        runner.write(&batch.join("\n"));
    }
}

#[test]
fn a_data_write_plugin_derives_rows_as_they_are_written() {
    let runner = TestRunner::start();
    runner.example("daily_range.py");
    runner.create(&Trigger::new("daily_range", "daily_range.py", "table:weather"));
    let renamed = Trigger::new("renamed", "daily_range.py", "all_tables").arguments(json!({ "target": "spread" }));
    runner.create(&renamed);
    write_weather(&runner);
    runner.until_count("daily_range", 3286);
    runner.until_count("spread", 3286);
    let sql = "SELECT location, count(*) AS days, min(range) AS least, max(range) AS most \
               FROM daily_range GROUP BY location ORDER BY location";
    let expected = runner.query(
        &sql.replace("min(range)", "min(temp_max - temp_min)")
            .replace("max(range)", "max(temp_max - temp_min)")
            .replace("FROM daily_range", "FROM weather WHERE temp_min IS NOT NULL AND temp_max IS NOT NULL"),
    );
    assert_eq!(runner.query(sql), expected);
    assert_eq!(expected.len(), 3);
    let skipped: usize =
        runner.logs("daily_range").iter().filter_map(|line| line.split_once("skipped ")?.1.parse::<usize>().ok()).sum();
    assert_eq!(skipped, 2);
}

#[test]
fn a_scheduled_plugin_reports_what_it_queries() {
    let runner = TestRunner::start();
    runner.example("station_report.py");
    runner.create(&Trigger::new("report", "station_report.py", "every:200ms"));
    runner.until_logged("report", "INFO nothing to report yet");
    write_weather(&runner);
    let sql = "SELECT DISTINCT location, mean_temp FROM station_report WHERE days = 1096 ORDER BY location";
    let reported = until("all stations are reported", || {
        let answer = runner.sql("db", sql);
        (answer.status == 200 && answer.json().as_array().unwrap().len() == 3).then(|| answer.json())
    });
    let locations: Vec<_> = reported.as_array().unwrap().iter().map(|row| row["location"].as_str().unwrap()).collect();
    assert_eq!(locations, ["Concord", "Hayward", "San Francisco"]);
}

#[test]
fn a_request_plugin_answers_from_the_data() {
    let runner = TestRunner::start();
    runner.example("hottest_day.py");
    runner.create(&Trigger::new("hottest", "hottest_day.py", "request:hottest"));
    write_weather(&runner);
    let answer = runner.engine("hottest?location=Hayward");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let sql = "SELECT location, temp_max FROM weather WHERE location = 'Hayward' ORDER BY temp_max DESC LIMIT 1";
    assert_eq!(answer.json()["temp_max"], runner.query(sql)[0]["temp_max"]);
    assert_eq!(answer.json()["location"], "Hayward");
    assert_eq!(answer.json()["day"].as_str().unwrap().len(), 10);
    runner.engine("hottest?location=Nowhere").is(404, r#"{"error": "no data for 'Nowhere'"}"#);
    assert_eq!(runner.engine("hottest").status, 200);
}

#[test]
fn a_crashing_example_leaves_the_others_alone() {
    let runner = TestRunner::start();
    for file in ["segfault.py", "hottest_day.py"] {
        runner.example(file);
    }
    runner.create(&Trigger::new("hottest", "hottest_day.py", "request:hottest"));
    runner.create(&Trigger::new("segfault", "segfault.py", "table:doomed"));
    write_weather(&runner);
    assert_eq!(runner.engine("hottest").status, 200);
    let before = runner.workers("hottest");
    runner.write("doomed value=1 1");
    assert_eq!(runner.until_ended("segfault", 1), ["worker killed by signal 11 (SIGSEGV)"]);
    assert_eq!(runner.engine("hottest").status, 200);
    assert_eq!(runner.workers("hottest")[0]["pid"], before[0]["pid"]);
}
