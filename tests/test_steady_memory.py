"""Large tensors come from the system itself, also after the first of them was freed."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

if platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"):
    pytest.skip("not glibc 2.33 or newer", allow_module_level=True)

IMPORTS = "import recbole_compress, torch"
# Bytes that the system holds apart from the heap, after a large tensor was freed and made anew.
SCRIPT = """
import ctypes
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]
apart = ctypes.CDLL(None).mallinfo2
apart.restype = Info
{imports}
torch.ones(5_000_000)
before = apart().hblkhd
kept = torch.ones(5_000_000)
print(apart().hblkhd - before)
"""


def bytes_apart(imports: str, **variables: str) -> int:
    ours = ("THP_MEM_ALLOC_ENABLE", "MALLOC_MMAP_THRESHOLD_")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(imports=imports)],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_a_large_tensor_made_again_is_not_on_the_heap():
    assert bytes_apart(IMPORTS) >= 20_000_000
    assert bytes_apart("import torch") == 0  # what this is there for


@pytest.mark.slow
def test_the_users_own_threshold_stays():
    assert bytes_apart(IMPORTS, MALLOC_MMAP_THRESHOLD_="30000000") == 0


def test_memory_that_is_free_is_handed_back() -> None:
    script = """
from recbole_compress.steady_memory import hand_back
def held():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
kept = [bytes(1000) for _ in range(100_000)]
del kept[:-1]  # the last one lies on top of the heap
before = held()
hand_back()
print(before - held())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 50_000  # kB
