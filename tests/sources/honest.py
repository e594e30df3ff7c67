"""A build backend as others are: it needs a package to build with, and tries what it has made."""

import os
import pathlib
import subprocess
import zipfile

NAME, VERSION = pathlib.Path("PKG-INFO").read_text().split()[3::2]


def get_requires_for_build_wheel(config_settings=None):
    return ["tinyhelper>=1"]


def build_wheel(directory, config_settings=None, metadata_directory=None):
    import tinyhelper

    with open("program", "w") as file:
        file.write("#!/bin/sh\necho made by a program\n")
    os.chmod("program", 0o755)
    made = subprocess.run(["./program"], check=True, capture_output=True, text=True).stdout.strip()
    info = f"{NAME}-{VERSION}.dist-info"
    with zipfile.ZipFile(os.path.join(directory, f"{NAME}-{VERSION}-py3-none-any.whl"), "w") as wheel:
        wheel.writestr(f"{NAME}.py", f"VERSION = '{VERSION} {made} with {tinyhelper.VERSION}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        files = [f"{NAME}.py", *(f"{info}/{file}" for file in ("METADATA", "WHEEL", "RECORD"))]
        wheel.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files))
    return f"{NAME}-{VERSION}-py3-none-any.whl"
