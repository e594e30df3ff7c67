"""Looks for credentials: in its environment, in those of other processes, and in their arguments."""

import contextlib
import glob
import os
import pathlib


def build_wheel(directory, config_settings=None, metadata_directory=None):
    got = [f"{name}={value}" for name, value in os.environ.items()]
    for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
        with contextlib.suppress(OSError):
            got.append(pathlib.Path(path).read_text(errors="replace").replace("\0", " ")[-300:])
    for name in ("~/.netrc", "~/.config/pip/pip.conf", "/etc/pip.conf"):
        with contextlib.suppress(OSError):
            got.append(f"GOT {name}: {pathlib.Path(os.path.expanduser(name)).read_text()}")
    raise SystemExit("\n".join(["LOOKED", *got]))
