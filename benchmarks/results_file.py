"""A JSON file of measurements that grows as they come, its command line, and how it is read."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.fresh_process import ROOT, measure_apart, measure_on_gpu
from recbole_compress.files import replacing
from recbole_compress.reports.environment import commit
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = [
    "common_parser",
    "key_values",
    "measure_all",
    "named_checkpoints",
    "runs_in",
    "source_line",
]

Runs = list[dict[str, Any]]


def common_parser(name: str, about: str, on_gpu: bool = False) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark of entries has.

    Args:
        name: Of the file in ``docs/results``.
        about: What is measured.
        on_gpu: Whether ``--device=cuda`` is there to choose; it writes to ``NAME_gpu.json``.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.set_defaults(device="cpu", name=name)
    if on_gpu:
        parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--output", default=None if on_gpu else str(_file_of(name)))
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--jobs", type=int, default=1, help="at a time; not for what is timed")
    parser.add_argument("--memory_limit", type=float, default=20.0, help="GB per measurement")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="KEY=VALUE", help="entries with these values"
    )
    return parser


def key_values(given: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` arguments, each value as yaml reads it."""
    return {key: yaml.safe_load(value) for key, _, value in (g.partition("=") for g in given)}


def named_checkpoints(given: Iterable[str]) -> dict[str, str]:
    """``NAME=FILE`` arguments, paths absolute; a file that cannot be read is refused at once."""
    found = {}
    for each in given:
        name, _, path = each.partition("=")
        load_checkpoint(path)
        found[name] = os.path.abspath(path)
    return found


def measure_all(
    module: str,
    entries: Iterable[dict[str, Any]],
    options: argparse.Namespace,
    context: dict[str, Any] | None = None,
    summary: Callable[[Runs], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Measure every entry that the file does not hold yet, ``options.jobs`` at a time.

    Args:
        module: Where ``measure`` is, see :func:`benchmarks.fresh_process.measure_apart`.
        entries: Arguments of ``measure``; seed and threads are added here. Entries that are in
            the file with the same arguments are left alone. On a GPU ``device`` as well, and all
            in this process.
        options: Of :func:`common_parser`.
        context: Arguments that do not tell entries apart.
        summary: From all runs to what the file holds beside them.

    Returns:
        The file's content.
    """
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("--device=cuda: torch sees no GPU here")
    path = Path(options.output or _file_of(options.name + "_gpu" * on_gpu)).resolve()
    document: dict[str, Any] = {"runs": []}
    if path.exists() and not options.again:
        document = json.loads(path.read_text())
    anew = options.again
    measured_on = commit()  # now: writing into the checkout makes it differ from its commit
    missing = []
    for entry in entries:
        entry = {**entry, "seed": options.seed, "threads": options.threads}
        if on_gpu:
            entry["device"] = "cuda"
        there = any(run["entry"] == entry for run in document["runs"])
        if _asked_for(entry, options.only) and not there:
            missing.append(entry)

    def measured(entry: dict[str, Any]) -> dict[str, Any]:
        if on_gpu:
            return measure_on_gpu(module, entry, context)
        return measure_apart(module, entry, context, options.memory_limit)

    for entry, answer in _as_they_end(measured, missing, 1 if on_gpu else options.jobs):
        if answer["provenance"]:
            answer["provenance"]["commit"] = measured_on
        if path.exists() and not anew:  # others may measure into it at the same time
            document = json.loads(path.read_text())
        anew = False
        others = [run for run in document["runs"] if run["entry"] != entry]
        document["runs"] = [*others, {"entry": entry, **answer}]
        if summary:
            document = {**document, **summary(document["runs"])}
        with replacing(str(path)) as file:
            file.write(json.dumps(document, indent=1) + "\n")
        print(_line(entry, answer["result"]), flush=True)
    return document


def _as_they_end(
    measured: Callable[[dict[str, Any]], dict[str, Any]],
    entries: Sequence[dict[str, Any]],
    jobs: int,
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every entry with its answer."""
    if jobs == 1:
        yield from ((entry, measured(entry)) for entry in entries)
        return
    with ThreadPoolExecutor(jobs) as pool:  # of processes that are waited for
        waiting = {pool.submit(measured, entry): entry for entry in entries}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def runs_in(path: Path, **wanted: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Entry and result of every run of a file whose entry has these values."""
    for run in json.loads(path.read_text())["runs"]:
        if all(run["entry"].get(key) == value for key, value in wanted.items()):
            yield run["entry"], run["result"]


def source_line(path: Path) -> str:
    """Where the numbers of a file come from, for a page that lies beside it."""
    made = [run["provenance"] for run in json.loads(path.read_text())["runs"]]
    known = [each for each in made if each]

    def all_of(value: Callable[[dict[str, Any]], str]) -> str:
        return ", ".join(dict.fromkeys(value(each) for each in known))

    return (
        f"Source: [`{path.name}`]({path.name}); torch {all_of(lambda its: its['torch'])}, "
        f"threads: {all_of(lambda its: str(its['threads']))}, "
        f"{all_of(lambda its: its.get('gpu') or its['cpu'])}, "
        f"commit {all_of(lambda its: '`' + str(its['commit'])[:10] + '`')}."
    )


def _file_of(name: str) -> Path:
    return ROOT / "docs" / "results" / f"{name}.json"


def _asked_for(entry: dict[str, Any], only: list[str]) -> bool:
    return all(str(entry.get(key)) == value for key, _, value in (o.partition("=") for o in only))


def _line(entry: dict[str, Any], result: dict[str, Any]) -> str:
    """Both dicts' plain values in one line."""
    names = " ".join(str(v) for k, v in entry.items() if k not in ("seed", "threads"))
    values = []
    for key, value in result.items():
        if isinstance(value, float):
            value = f"{value:.4g}"
        if isinstance(value, (str, int)):
            values.append(f"{key}={value}")
    return f"{names}: {', '.join(values)}"
