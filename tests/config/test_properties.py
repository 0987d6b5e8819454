"""Our yaml files are complete and true, and RecBole's pass our own checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import recbole_compress
from recbole_compress.config import properties_folder as folders
from recbole_compress.config.keys_read import keys_read_in
from recbole_compress.config.model_names import REGISTERED, STAND_INS, find_model, stock_models
from recbole_compress.config.schema import TYPE_NAMES, declared_in, load_schema
from recbole_compress.config.validation import check_keys
from recbole_compress.config.values import PlainLoader

OURS = sorted(folders.properties_folder().rglob("*.yaml"))
DATASETS = {
    *("ml-1m", "amazon-beauty", "amazon-beauty-5core", "amazon-games", "steam", "steam-100k"),
    *("retailrocket", "tmall", "diginetica", "nextitnet-music-sample"),
}
KEY_LINE = re.compile(r"^[A-Za-z_][\w-]*:.*?#\s*\(([^)]+)\) [A-Z~].*\.$")


def load(path: Path) -> dict:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=PlainLoader)


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_line_of_ours_says_its_type_and_keeps_to_it(path):
    declared = declared_in(path)
    assert list(load(path)) == list(declared) != []
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Za-z_]", line):
            assert KEY_LINE.match(line), f"no '# (type) Meaning.' comment: {line}"
    for key, entry in declared.items():
        assert set(entry.types) <= set(TYPE_NAMES) and entry.types
        assert check_keys({key: entry.default}, declared, {}) == {key: entry.default}
        if isinstance(entry.default, str) and entry.choices:
            assert entry.default in entry.choices


def test_what_there_must_be_is_there():
    assert folders.overall_yaml().name == "overall.yaml"
    assert {name for name in REGISTERED if folders.model_yaml(name) is None} == set()
    models = folders.properties_folder() / "model"
    assert {path.stem for path in models.glob("*.yaml")} == {*REGISTERED, *STAND_INS}
    assert {name for name in DATASETS if folders.dataset_yaml(name) is None} == set()
    assert folders.model_yaml("SASRec") is None


def test_no_key_of_ours_in_overall_changes_one_of_recbole():
    recboles = declared_in(folders.recbole_yaml("overall")) | declared_in(
        folders.recbole_yaml("dataset/sample")
    )
    assert not set(declared_in(folders.overall_yaml())) & set(recboles)


def test_model_files_hold_no_data_set_keys():
    """They are applied last, so they would override a data set's own."""
    of_datasets = set(declared_in(folders.recbole_yaml("dataset/sample")))
    for name in REGISTERED:
        assert not set(declared_in(folders.model_yaml(name))) & of_datasets


def test_every_key_that_our_code_reads_is_known():
    known: set[str] = set()
    for name, model in REGISTERED.items():
        known |= set(load_schema(name, "ml-1m", model))
    package = Path(recbole_compress.__file__).parent
    for path in package.rglob("*.py"):
        if path.parent.name != "config":  # where examples of keys stand
            unknown = keys_read_in(path.read_text(encoding="utf-8")) - known
            assert not unknown, f"{path.name} reads keys without a line in properties/"


@pytest.mark.parametrize("name", sorted(stock_models("sequential")))
def test_recboles_own_settings_are_not_refused(name):
    schema = load_schema(name, "ml-100k", find_model(name))
    for file in (
        *("overall", "dataset/sample", "dataset/ml-100k", f"model/{name}"),
        *("quick_start_config/sequential", "quick_start_config/sequential_embedding_model"),
        *("quick_start_config/sequential_DIN", "quick_start_config/context-aware_ml-100k"),
        "quick_start_config/special_sequential_on_ml-100k",
    ):
        path = folders.recbole_yaml(file)
        if path is not None:
            settings = load(path)
            assert check_keys(settings, schema, {}) == settings


def test_all_of_recboles_sequential_models_are_found():
    names = set(stock_models("sequential"))
    assert {"SASRec", "GRU4Rec", "NextItNet", "FEARec", "S3Rec", "GRU4RecCPR"} <= names
    assert len(names) == 31
    assert all(find_model(name).__name__ == name for name in names)


def test_of_this_package_or_of_a_checkout(tmp_path, monkeypatch):
    """A wheel has its yaml files inside the package; they win over what lies beside it."""
    package = tmp_path / "recbole_compress"
    module = package / "config" / "properties_folder.py"
    monkeypatch.setattr(folders, "__file__", str(module))
    find = folders.properties_folder.__wrapped__
    with pytest.raises(FileNotFoundError, match="reinstall"):
        find()
    for folder in (tmp_path / "properties", package / "properties"):
        folder.mkdir(parents=True)
        if folder.parent == tmp_path:  # somebody else's folder of that name
            with pytest.raises(FileNotFoundError):
                find()
        (folder / "overall.yaml").touch()
        assert find() == folder
