"""Tests of {{NAME}}: `pytest` runs them in this directory, each in a worker process as a trigger has it.

The fixture `bulkhead` is that of `typings/bulkhead_testing.py`; the variable `BULKHEAD` names the program.
"""

from pathlib import Path

pytest_plugins = ["bulkhead_testing"]

PLUGIN = Path(__file__).with_name("{{NAME}}.py")


def test_rows_are_counted_by_table(bulkhead):
    plugin = bulkhead.run(PLUGIN, "all_tables")
    bulkhead.write("cpu v=1 1\ncpu v=2 2\nmem v=1 3")
    # What it writes is a write to a table as well, which it passes over.
    plugin.wait(calls=2)
    assert bulkhead.query("SELECT rows FROM count_of_cpu") == [{"rows": 2}]
    assert bulkhead.query("SELECT rows FROM count_of_mem") == [{"rows": 1}]
    assert [line.text for line in plugin.logs()] == ["2 rows of cpu", "1 rows of mem"]


def test_the_prefix_is_an_argument(bulkhead):
    plugin = bulkhead.run(PLUGIN, "table:cpu", arguments={"prefix": "n_"})
    bulkhead.write("cpu v=1 1")
    plugin.wait()
    assert bulkhead.query("SELECT rows FROM n_cpu") == [{"rows": 1}]
