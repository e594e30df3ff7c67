"""Writes where others will look: the paths in `targets`, the interpreter's packages, the environment of the build."""

import os
import pathlib
import site
import sys


def build_wheel(directory, config_settings=None, metadata_directory=None):
    places = pathlib.Path("targets").read_text().splitlines()
    places += [os.path.join(sys.prefix, "poison.pth"), os.path.join(sys.base_prefix, "poison.pth")]
    places += [os.path.join(path, "poison.pth") for path in site.getsitepackages()]
    got = []
    for place in places:
        try:
            pathlib.Path(place).write_text("")
            got.append(f"GOT {place}")
        except OSError as error:
            got.append(f"{place}: {error.strerror}")
    raise SystemExit("\n".join(got))
