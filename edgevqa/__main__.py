"""`python -m edgevqa` is the same as the command `edgevqa`."""

from __future__ import annotations

from edgevqa.cli.main import main

if __name__ == "__main__":
    main(prog_name="edgevqa")
