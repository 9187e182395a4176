"""The file that unpacks wheels on a device; it needs Python 3.9 and nothing else, least of all pip.

    python unpack.py FOLDER                what was unpacked into FOLDER, as a JSON list
    python unpack.py FOLDER WHEELS.json    unpack the wheels of a JSON list [[name, sha256], ...], whole or not at all

A wheel is a zip file. The last line on standard output is `EDGEVQA-UNPACKED {json}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import zipfile
from typing import Any

MARK = "EDGEVQA-UNPACKED "
STAMP = "edgevqa-wheels.json"


def unpacked(folder: str) -> Any:
    """The wheels that `folder` was made from, or None."""
    try:
        with open(os.path.join(folder, STAMP), encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None


def unpack(folder: str, wheels: list[list[str]]) -> None:
    """Fill a new folder and let it take the place of `folder`."""
    fresh, old = folder + ".new", folder + ".old"
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    os.makedirs(fresh)
    try:
        for name, sha256 in wheels:
            with zipfile.ZipFile(name) as wheel:
                wheel.extractall(fresh)
            kept = os.path.realpath(name)
            if os.path.basename(kept) == sha256:  # only the store of sent files names them so; boards are small
                with contextlib.suppress(OSError):
                    os.unlink(kept)
        with open(os.path.join(fresh, STAMP), "w", encoding="utf-8") as stream:
            json.dump(wheels, stream)
        if os.path.isdir(folder):
            os.rename(folder, old)
        os.rename(fresh, folder)
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def main() -> int:
    """Do what the command line says; a failure is one line on standard error and exit code 3."""
    folder = os.path.abspath(sys.argv[1])
    try:
        if len(sys.argv) > 2:
            with open(sys.argv[2], encoding="utf-8") as stream:
                unpack(folder, json.load(stream))
    except (OSError, zipfile.BadZipFile) as error:
        print(f"cannot unpack into {folder}: {error}", file=sys.stderr)
        return 3
    print("\n" + MARK + json.dumps(unpacked(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
