"""Tests of {{NAME}}: `pytest` runs them, each in a worker as a trigger has it. `BULKHEAD` names the program."""

import json
import os
import subprocess
from pathlib import Path

PLUGIN = Path(__file__).with_name("{{NAME}}.py")


def run(*arguments):
    command = [os.environ.get("BULKHEAD", "bulkhead"), "test", "schedule_plugin", "--local", "--json"]
    return json.loads(subprocess.run([*command, *arguments, PLUGIN], stdout=subprocess.PIPE).stdout)


def test_a_beat_is_written():
    report = run("--schedule", "0 0 0 1 1 * 2099")
    assert report["errors"] == []
    assert report["database_writes"] == {"test": ["heartbeat beats=1i"]}
    assert "INFO: beat 1, due at 2099-01-01 00:00:00" in report["log_lines"]


def test_the_table_is_an_argument():
    assert run("--input-arguments", "table=pulse")["database_writes"] == {"test": ["pulse beats=1i"]}
