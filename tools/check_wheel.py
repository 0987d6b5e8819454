"""Installs a wheel in an empty environment, outside the checkout, and runs a model from there.

    python tools/check_wheel.py dist/recbole_compress-0.1.0-py3-none-any.whl --model=... --epochs=1

The installation is a reader's plain `pip install`: pip finds everything, RecBole included. Only
the releases are those of constraints.txt.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def check(wheel: Path, arguments: list[str]) -> None:
    constraints = Path("constraints.txt").resolve()
    with tempfile.TemporaryDirectory(prefix="wheel-check-") as name:
        outside = Path(name)
        venv.create(outside / "environment", with_pip=True)
        binaries = outside / "environment" / "bin"
        print(f"Installing {wheel.name} into an empty environment.", flush=True)
        pip: list[str | Path] = [
            binaries / "python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "-qq",
        ]
        subprocess.check_call([*pip, "install", "--constraint", constraints, wheel.resolve()])
        subprocess.check_call([*pip, "check"])
        subprocess.check_call([binaries / "recbole-compress", *arguments], cwd=outside)


if __name__ == "__main__":
    try:
        check(Path(sys.argv[1]), sys.argv[2:])
    except subprocess.CalledProcessError as error:
        sys.exit("The wheel does not work; this failed: " + " ".join(map(str, error.cmd)))
    print("The wheel works.")
