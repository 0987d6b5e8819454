"""ONNX Runtime Web: three files that a page needs to run a model."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib

from recbole_compress.errors import ExportError

__all__ = ["FILES", "PACKAGE", "copy_runtime"]

# Whose WebAssembly build was seen to read packed rows of 2, 4 and 8 bits.
PACKAGE = "onnxruntime-web@1.30.0"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def copy_runtime(folder: str, given: str | None = None) -> None:
    """Put the runtime's files into ``folder``.

    Args:
        folder: There already.
        given: A folder that holds them (``dist`` of the npm package) or its packed archive; None
            asks npm for :data:`PACKAGE`.

    Raises:
        ExportError: They cannot be had.
    """
    if given is None:
        _from_npm(folder)
    elif os.path.isfile(given):
        _unpack(given, folder)
    else:
        for name in FILES:
            try:
                shutil.copyfile(os.path.join(given, name), os.path.join(folder, name))
            except OSError as error:
                raise ExportError(
                    f"{given}: has no {name}; give the folder dist of {PACKAGE}"
                ) from error


def _from_npm(folder: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            f"the page needs {PACKAGE}, and there is no npm to fetch it with: install npm, or get "
            "the package elsewhere and name its archive or its folder dist: --runtime=PATH"
        )
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run([npm, "pack", PACKAGE], cwd=place, capture_output=True, text=True)
        archives = [name for name in os.listdir(place) if name.endswith(".tgz")]
        if done.returncode or not archives:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ExportError(
                f"npm could not fetch {PACKAGE} ({reason}); or name its archive or its folder "
                "dist: --runtime=PATH"
            )
        _unpack(os.path.join(place, archives[0]), folder)


def _unpack(archive: str, folder: str) -> None:
    try:
        with tarfile.open(archive) as content:
            for name in FILES:
                file = content.extractfile(f"package/dist/{name}")
                assert file is not None
                with open(os.path.join(folder, name), "wb") as out:
                    shutil.copyfileobj(file, out)
    except (OSError, EOFError, zlib.error, KeyError, tarfile.TarError) as error:
        raise ExportError(f"{archive}: no archive of {PACKAGE} ({error})") from error
