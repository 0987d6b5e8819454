"""Importing the package asks torch for huge pages unless somebody has decided otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAME = "THP_MEM_ALLOC_ENABLE"
SCRIPT = f"""
import os, sys
class Watch:  # asked for every module before it is imported
    def find_spec(self, name, path=None, target=None):
        if name == "torch._C":
            print(os.environ.get({NAME!r}))
sys.meta_path.insert(0, Watch())
import recbole_compress
"""


@pytest.mark.parametrize("given, expected", [(None, "1"), ("0", "0"), ("1", "1")])
def test_the_variable_is_set_before_torch_is_imported(given, expected):
    environment = {k: v for k, v in os.environ.items() if k != NAME}
    if given is not None:
        environment[NAME] = given
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected]
