"""CpRec beside its uncompressed counterparts, and the choices within CpRec beside each other.

    python -m benchmarks.comparisons ml-100k
    python -m benchmarks.comparisons amazon-beauty retailrocket --data_path=dataset --latency

``benchmarks/settings/<experiment>.yaml`` is the experiment; this runs it as ``recbole-compress
compare`` does, in ``runs/compare/<experiment>`` (an interrupted benchmark goes on where it
stopped, and behind the runs of ``docs/results/<experiment>/comparison.json``), and copies what it
found to ``docs/results/<experiment>/``: ``comparison.json``, ``.md``, ``.csv`` and the plot.
"""

from __future__ import annotations

import shutil
import sys

from benchmarks.fresh_process import ROOT
from recbole_compress.quick_start.command_line import main as recbole_compress

SETTINGS = ROOT / "benchmarks" / "settings"
RESULTS = ROOT / "docs" / "results"
RUNS = ROOT / "runs" / "compare"


def run(name: str, options: list[str]) -> int:
    """Run what is missing of one experiment and copy its results; the command's exit status."""
    earlier, folder = RESULTS / name / "comparison.json", RUNS / name
    if earlier.exists() and not (folder / earlier.name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(earlier, folder / earlier.name)
    status = recbole_compress(
        ["compare", str(SETTINGS / f"{name}.yaml"), f"--output={folder}", *options]
    )
    if status in (0, 1):
        (RESULTS / name).mkdir(parents=True, exist_ok=True)
        for made in sorted(folder.glob("comparison.*")):
            shutil.copyfile(made, RESULTS / name / made.name)
    return status


def main(arguments: list[str]) -> int:
    """All experiments that are named; 0 if everything went well."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    if not names:
        print(__doc__)
        return 2
    options = [argument for argument in arguments if argument.startswith("-")]
    return max(run(name, options) for name in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
