"""Builds a wheel of a source package by its own build backend (PEP 517). It runs in a sandbox, with the bench as its directory."""

import importlib
import json
import os
import shutil
import sys
import tarfile
import zipfile


def unpack():
    """The source's directory; what it says of its build goes to `out`."""
    os.mkdir("source")
    if zipfile.is_zipfile("package"):
        with zipfile.ZipFile("package") as archive:
            archive.extractall("source")
    else:
        with tarfile.open("package") as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall("source", filter="tar")
            else:
                archive.extractall("source")
    tops = os.listdir("source")
    if len(tops) != 1 or not os.path.isdir(os.path.join("source", tops[0])):
        raise SystemExit("the source package is not one directory")
    os.rename(os.path.join("source", tops[0]), "tree")
    if os.path.isfile("tree/pyproject.toml"):
        shutil.copyfile("tree/pyproject.toml", "out/pyproject.toml")
    elif not os.path.isfile("tree/setup.py"):
        raise SystemExit("the source package has neither `pyproject.toml` nor `setup.py`")


def backend(name, paths):
    os.chdir("tree")
    sys.path[:0] = [os.path.abspath(path) for path in paths]
    sys.argv = ["setup.py"]
    module, _, attributes = name.partition(":")
    found = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    return found


def main():
    stage, name, paths = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    out = os.path.abspath("out")
    if stage == "unpack":
        unpack()
    elif stage == "needs":
        hook = getattr(backend(name, paths), "get_requires_for_build_wheel", None)
        needs = list(hook({})) if hook else []
        sys.stdout.flush()
        print("\n" + json.dumps(needs))
    else:
        backend(name, paths).build_wheel(out, {}, None)


main()
