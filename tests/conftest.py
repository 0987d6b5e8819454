"""Shared fixtures: tiny atomic files and a folder of its own for every test that runs a job."""

from __future__ import annotations

import contextlib
import functools
import logging
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import recbole_compress  # noqa: F401  (applies the work-arounds before RecBole is used)

# Examples differ and machines are busy: no law here is about time, and every run draws the same.
settings.register_profile("laws", deadline=None, derandomize=True)
settings.load_profile("laws")

# A few short sequences of 37 items, for runs whose accuracy does not matter.
SEQUENCES = [[f"i{(u * 7 + s * s + u * s) % 37}" for s in range(4 + u % 9)] for u in range(80)]


def write_interactions(folder, name, sequences, extra_rows=(), times=True):
    """Write ``NAME.inter`` with one user per sequence of item tokens; returns the data path."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token" + ("\ttimestamp:float" if times else "")]
    for user, items in enumerate(sequences):
        for time, item in enumerate(items):
            lines.append(f"u{user}\t{item}" + (f"\t{time}" if times else ""))
    lines.extend(extra_rows)
    (target / f"{name}.inter").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.fixture(autouse=True)
def seed():
    """A test draws the same whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def root_logger():
    """RecBole reconfigures the root logger, a benchmark silences it; the next test gets it back."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    logging.disable(logging.NOTSET)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True, scope="session")
def operators_of_exporter():
    """torch's exporter lists its operators anew in every export, which takes a quarter of it."""
    with contextlib.suppress(ImportError):  # where a release keeps them elsewhere it stays slow
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """Run inside an empty folder: RecBole writes saved/, log/ and log_tensorboard/ where it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))  # for child processes
    return tmp_path
