"""Tests of {{NAME}}: `pytest` runs them in this directory, each in a worker process as a trigger has it.

The fixture `bulkhead` is that of `typings/bulkhead_testing.py`; the variable `BULKHEAD` names the program.
"""

from pathlib import Path

pytest_plugins = ["bulkhead_testing"]

PLUGIN = Path(__file__).with_name("{{NAME}}.py")


def test_a_name_is_greeted(bulkhead):
    answer = bulkhead.run(PLUGIN, "request:{{NAME}}").request({"name": "Ada"})
    assert (answer.status, answer.json()) == (200, {"greeting": "hello Ada"})


def test_nobody_is_told_what_to_do(bulkhead):
    assert bulkhead.run(PLUGIN, "request:{{NAME}}").request().status == 400
