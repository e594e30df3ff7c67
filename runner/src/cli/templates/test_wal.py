"""Tests of {{NAME}}: `pytest` runs them, each in a worker as a trigger has it. `BULKHEAD` names the program."""

import json
import os
import subprocess
from pathlib import Path

PLUGIN = Path(__file__).with_name("{{NAME}}.py")


def run(lines, *arguments):
    command = [os.environ.get("BULKHEAD", "bulkhead"), "test", "wal_plugin", "--local", "--json", "--lp", lines]
    return json.loads(subprocess.run([*command, *arguments, PLUGIN], stdout=subprocess.PIPE).stdout)


def test_rows_are_counted_by_table():
    report = run("cpu v=1 1\ncpu v=2 2\nmem v=1 3")
    assert report["errors"] == []
    assert report["database_writes"] == {"test": ["count_of_cpu rows=2i 2", "count_of_mem rows=1i 3"]}


def test_its_own_rows_are_passed_over():
    assert run("count_of_cpu rows=2i 2")["database_writes"] == {}


def test_the_prefix_is_an_argument():
    report = run("cpu v=1 1", "--input-arguments", "prefix=n_")
    assert report["database_writes"] == {"test": ["n_cpu rows=1i 1"]}
