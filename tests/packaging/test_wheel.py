"""The wheel holds the whole package, its yaml files among it, and nothing else."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_PART_OF_THE_CHECKOUT = {"build", "dist", "data", "dataset", "saved", "log", "runs"}


def ignored(folder: str, names: list[str]) -> set[str]:
    """What a build has no use for: at the top what runs leave there, everywhere hidden files."""
    ours = NOT_PART_OF_THE_CHECKOUT if Path(folder) == ROOT else set()
    return {name for name in names if name.startswith(".") or name in ours | {"__pycache__"}}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Built from a copy: what one build leaves in its folders gets into the next."""
    checkout = tmp_path_factory.mktemp("wheel") / "checkout"
    shutil.copytree(ROOT, checkout, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    result = subprocess.run(
        [*build, "--no-index", "--disable-pip-version-check", "--wheel-dir", "wheels"],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (checkout / "wheels").glob("*.whl")
    return ZipFile(path)


@pytest.fixture(scope="module")
def contents(wheel: ZipFile) -> set[PurePosixPath]:
    return {PurePosixPath(name) for name in wheel.namelist()}


def test_every_python_file_is_in_the_wheel(contents: set[PurePosixPath]) -> None:
    ours = {PurePosixPath(p.relative_to(ROOT)) for p in ROOT.glob("recbole_compress/**/*.py")}
    assert len(ours) > 20
    assert not ours - contents, "name their folder under [options] packages in setup.cfg"


def test_every_properties_file_is_in_the_wheel(contents: set[PurePosixPath]) -> None:
    ours = {
        PurePosixPath("recbole_compress", p.relative_to(ROOT).as_posix())
        for ending in ("yaml", "hyper")
        for p in ROOT.glob(f"properties/**/*.{ending}")
    }
    assert PurePosixPath("recbole_compress/properties/model/CpRecNextItNet.yaml") in ours
    assert PurePosixPath("recbole_compress/properties/hyper/CpRecNextItNet.hyper") in ours
    assert not ours - contents


def test_type_checkers_are_told_that_there_are_types(contents: set[PurePosixPath]) -> None:
    assert PurePosixPath("recbole_compress/py.typed") in contents


def test_nothing_else_is_in_the_wheel(contents: set[PurePosixPath]) -> None:
    version = _version()
    tops = {path.parts[0] for path in contents}
    assert tops == {"recbole_compress", f"recbole_compress-{version}.dist-info"}
    kinds = {path.suffix for path in contents if path.parts[0] == "recbole_compress"}
    assert kinds <= {".py", ".yaml", ".hyper", ".typed", ".html", ".css", ".js"}


def test_no_folder_of_properties_has_files_that_do_not_travel() -> None:
    """A ``.yml`` would be found by nobody."""
    files = [path for path in (ROOT / "properties").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".yaml", ".hyper"}


def test_every_package_is_listed() -> None:
    """An editable installation finds what is not listed, so only a wheel would lack it."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.glob("recbole_compress/**/__init__.py")
    }
    assert listed == found | {"recbole_compress.properties"}


def test_metadata(wheel: ZipFile) -> None:
    folder = f"recbole_compress-{_version()}.dist-info"
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert f"\nVersion: {_version()}\n" in metadata
    assert "\nRequires-Python: <3.14,>=3.11\n" in metadata
    assert "\nRequires-Dist: pandas<3,>=1.5\n" in metadata
    scripts = wheel.read(f"{folder}/entry_points.txt").decode()
    assert "recbole-compress = recbole_compress.quick_start.command_line:main" in scripts
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()


def _version() -> str:
    """As the source has it, whatever is installed beside it."""
    scope: dict[str, str] = {}
    exec((ROOT / "recbole_compress" / "_version.py").read_text(), scope)
    return scope["__version__"]
