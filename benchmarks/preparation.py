"""Time and memory from the atomic file to the three splits: RecBole's data set beside ours.

    python -m benchmarks.preparation ml-100k ml-1m --data_path=dataset --output=FILE.json

Every measurement is a process of its own. RecBole copies every history; on a million interactions
it needs several GB, so ``--ours_only`` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

from benchmarks.provenance import provenance
from recbole_compress.files import replacing

KINDS = ("ours", "recbole")


def measure(kind: str, name: str, data_path: str) -> dict[str, float]:
    """Prepare one data set in this process."""
    from recbole.data.dataset import SequentialDataset

    from recbole_compress.config import Config
    from recbole_compress.data import SequenceDataset
    from recbole_compress.reports.environment import peak_rss_bytes

    config = Config("CpRecNextItNet", name, config_dict={"data_path": data_path})
    before, start = peak_rss_bytes(), time.perf_counter()
    splits = (SequenceDataset if kind == "ours" else SequentialDataset)(config).build()
    return {
        "seconds": time.perf_counter() - start,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_rss_bytes_before": before,
        "rows": [len(split.inter_feat) for split in splits],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="+")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--output")
    parser.add_argument("--ours_only", action="store_true")
    parser.add_argument("--kind", choices=KINDS, help="measure here and print JSON")
    arguments = parser.parse_args()
    if arguments.kind:
        result = measure(arguments.kind, arguments.dataset[0], arguments.data_path)
        print(json.dumps(result))
        return
    results = []
    for name in arguments.dataset:
        for kind in KINDS[:1] if arguments.ours_only else KINDS:
            command = [sys.executable, "-m", "benchmarks.preparation", name, f"--kind={kind}"]
            command.append(f"--data_path={arguments.data_path}")
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            result = json.loads(done.stdout.splitlines()[-1])
            results.append({"dataset": name, "kind": kind, **result})
            print(
                f"{name:16} {kind:8} {result['seconds']:7.1f} s  "
                f"{result['peak_rss_bytes'] / 1e9:5.2f} GB  {result['rows']}"
            )
    if arguments.output:
        with replacing(arguments.output) as file:
            file.write(json.dumps({"results": results, "provenance": provenance()}, indent=1))
            file.write("\n")


if __name__ == "__main__":
    main()
