"""Imports go down only, and large parts say what is in them: read from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "recbole_compress"

# From the ground up. A part may import from any floor below its own, never from a neighbour.
FLOORS = [
    {"functional"},
    {"embeddings"},
    {"heads", "backbones"},
    {"data", "datafree", "distillation", "quantization"},
    {"models"},
    {"readers"},
    {"trainers"},
    {"config"},
    {"tuning"},
    {"quick_start"},
    {"__main__"},
]
HEIGHT = {part: height for height, floor in enumerate(FLOORS) for part in floor}

# For everyone to use; they themselves know nothing of ours but each other.
GROUND = {
    "arguments",
    "build_cache",
    "byte_sizes",
    "changed_defaults",
    "compat",
    "distributed",
    "errors",
    "files",
    "limits",
    "near_names",
    "steady_memory",
    "_version",
}

# Wings: what each may import, and who may import it.
WINGS = {
    "reports": {
        "may_import": {
            *("functional", "embeddings", "heads", "backbones", "data", "models"),
            "quantization",
        },
        "imported_by": {"quick_start", "comparison"},
    },
    "comparison": {
        "may_import": {"trainers", "config", "reports"},
        "imported_by": {"quick_start"},
    },
    # What reads an exported file: numpy and onnxruntime are all it needs.
    "artifact": {"may_import": set(), "imported_by": {"export", "demo", "quick_start"}},
    "export": {
        "may_import": {
            *("functional", "embeddings", "heads", "backbones", "data", "models"),
            *("quantization", "artifact"),
        },
        "imported_by": {"quick_start", "demo"},
    },
    "demo": {"may_import": {"artifact", "export"}, "imported_by": {"quick_start"}},
}

# `import recbole_compress` makes RecBole usable and our names known to it, and no more; what it
# hands on of quick_start, it imports when that is asked for.
ROOT_MAY_IMPORT = GROUND | {"config", "quick_start"}
ROOT = "recbole_compress"

# So many files are overlooked without a list of them.
FEW_MODULES = 8

# These speak of tensors only, so that they can be used, and read, without RecBole.
WITHOUT_RECBOLE = {
    *("functional", "embeddings", "heads", "backbones"),
    *("datafree", "distillation", "quantization"),
}


def imported_names(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported, at whatever depth of the code.

    For ``from a import b`` that is ``a.b``: only so ``from recbole_compress import models`` shows.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*parents, origin] if origin else parents)
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def may_import(importer: str, imported: str) -> bool:
    """Whether code of one part (a name right under the package, or the root) may use another."""
    if importer == imported:
        return True
    if importer == ROOT:
        return imported in ROOT_MAY_IMPORT
    if imported in GROUND:
        return True
    if importer in GROUND:
        return False
    if importer in WINGS:
        return imported in WINGS[importer]["may_import"]
    if imported in WINGS:
        return importer in WINGS[imported]["imported_by"]
    return HEIGHT.get(imported, len(FLOORS)) < HEIGHT[importer]


def wrong_arrows(source: str, part: str, package: str) -> list[str]:
    """Every import in this source that its part may not make."""
    wrong = []
    for line, name in imported_names(source, package):
        top, *rest = name.split(".")
        if top == "recbole" and part in WITHOUT_RECBOLE:
            wrong.append(f"line {line}: {part} imports {name}; it must do without RecBole")
        if top == ROOT:
            # Names that the root itself defines are no part: whoever takes them takes the root.
            imported = rest[0] if rest and is_part(rest[0]) else ROOT
            if not may_import(part, imported):
                wrong.append(f"line {line}: {part} imports {name}")
    return wrong


def is_part(name: str) -> bool:
    known = {*HEIGHT, *GROUND, *WINGS}
    return name in known or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def parts() -> list[str]:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    return sorted(folders | modules)


def sources(part: str) -> list[Path]:
    if part == ROOT:
        return [PACKAGE / "__init__.py"]
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


@pytest.mark.parametrize("part", [*parts(), ROOT])
def test_imports_go_down_only(part: str) -> None:
    assert part in {*HEIGHT, *GROUND, *WINGS, ROOT}, (
        f"recbole_compress/{part} is new: give it a floor here and in docs/architecture.md"
    )
    wrong = []
    for path in sources(part):
        relative = path.relative_to(PACKAGE.parent)
        package = ".".join(relative.parent.parts)
        wrong += [f"{relative}, {arrow}" for arrow in wrong_arrows(path.read_text(), part, package)]
    assert not wrong, "arrows that go up:\n" + "\n".join(wrong)


def test_the_table_in_the_documentation_has_all_parts_on_their_floors() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    table = {
        part: floor
        for floor, names in re.findall(r"^\| (\w+) \| (`[^|]+`) \|", text, re.MULTILINE)
        for part in re.findall(r"`(\w+)(?:/|\.py)`", names)
    }
    floors = {part: str(height) for part, height in HEIGHT.items()}
    floors |= {**dict.fromkeys(WINGS, "wing"), **dict.fromkeys(GROUND, "ground")}
    assert table == {part: floors[part] for part in parts()}


@pytest.mark.parametrize("part", [part for part in parts() if len(sources(part)) > FEW_MODULES + 1])
def test_a_large_part_names_its_modules(part: str) -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / part / "__init__.py").read_text())) or ""
    modules = {path.stem for path in (PACKAGE / part).glob("*.py")} - {"__init__"}
    missing = modules - set(re.findall(r"``(\w+)``", text))
    assert not missing, f"recbole_compress/{part}/__init__.py does not say what these are for"


@pytest.mark.parametrize("part", parts())
def test_parts_are_named_after_what_they_do(part: str) -> None:
    assert part not in {"utils", "helpers", "common", "misc"}


# The reader of imports is code too: each kind of arrow once, as it may and as it may not be drawn.


@pytest.mark.parametrize(
    "part, source",
    [
        ("functional", "from recbole_compress.embeddings import ItemEmbedding"),
        ("functional", "import recbole_compress.embeddings.base"),
        ("functional", "def late():\n    from recbole_compress import models"),
        ("embeddings", "from ..heads import TiedHead"),
        ("embeddings", "from .. import models"),
        ("heads", "from recbole_compress.backbones import NextItNetBackbone"),
        ("heads", "from recbole.model.loss import BPRLoss"),
        ("models", "from recbole_compress import CpRecNextItNet"),
        ("models", "import recbole_compress"),
        ("models", "from recbole_compress.trainers import CompressTrainer"),
        ("trainers", "from recbole_compress.config import Config"),
        ("trainers", "from recbole_compress.reports import card"),
        ("reports", "from recbole_compress.trainers import CompressTrainer"),
        ("compat", "from recbole_compress.functional import blockwise"),
        (ROOT, "from recbole_compress.models import CpRecNextItNet"),
        ("comparison", "from recbole_compress.quick_start import quick_start"),
        ("config", "from recbole_compress.comparison import experiment"),
        ("quick_start", "from recbole_compress.not_yet_there import anything"),
    ],
)
def test_an_arrow_up_is_seen(part: str, source: str) -> None:
    assert wrong_arrows(source, part, ROOT if part == ROOT else f"{ROOT}.{part}")


@pytest.mark.parametrize(
    "part, source",
    [
        ("heads", "from recbole_compress.embeddings import ItemEmbedding"),
        ("heads", "from .tied import TiedHead\nfrom ..functional import blockwise"),
        ("functional", "import torch\nimport recommenders"),
        ("functional", "from recbole_compress.errors import ConfigError"),
        ("models", "from recbole.model.abstract_recommender import SequentialRecommender"),
        ("config", "from recbole_compress.trainers import CompressTrainer"),
        ("reports", "from recbole_compress.models import CpRecNextItNet"),
        ("quick_start", "from recbole_compress.reports import card"),
        ("quick_start", "from recbole_compress.comparison import experiment"),
        ("comparison", "from recbole_compress.reports import table"),
        (ROOT, "from recbole_compress import compat\nfrom .config import register"),
    ],
)
def test_an_arrow_down_is_fine(part: str, source: str) -> None:
    assert not wrong_arrows(source, part, ROOT if part == ROOT else f"{ROOT}.{part}")
