"""Where a run took place."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import psutil
import torch

from recbole_compress.reports.environment import commit, environment, peak_rss_bytes


def test_versions_and_threads() -> None:
    found = environment()
    assert found["torch"] == torch.__version__ and found["numpy"] == np.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["recbole"].startswith("1.2") and found["cpu"]
    assert found.pop("gpu") is None or torch.cuda.is_initialized()
    assert {type(value) for value in found.values()} == {str, int}


def test_peak_memory_is_in_bytes_and_at_least_what_is_held_now() -> None:
    held = psutil.Process().memory_info().rss
    assert 0.99 * held <= peak_rss_bytes() <= psutil.virtual_memory().total


def git(folder, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    # Whatever the user of the machine has set, signatures and hooks for instance.
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
    return run.stdout.strip()


def test_commit_of_a_checkout(tmp_path) -> None:
    package = tmp_path / "recbole_compress"
    package.mkdir()
    (package / "file.py").write_text("1\n")
    git(tmp_path, "init")
    assert commit(package) is None  # nothing committed yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "v1")
    assert commit(package) == git(tmp_path, "rev-parse", "HEAD")
    (package / "file.py").write_text("2\n")
    assert commit(package) == git(tmp_path, "rev-parse", "HEAD") + "-dirty"


def test_an_installed_package_is_not_the_project_around_it(tmp_path) -> None:
    package = tmp_path / ".venv" / "site-packages" / "recbole_compress"
    package.mkdir(parents=True)
    (tmp_path / "file.py").write_text("1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    assert commit(package) is None


def test_without_git_there_is_no_commit(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit() is None
