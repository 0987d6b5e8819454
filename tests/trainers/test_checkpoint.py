"""Files that hold data only: written whole or not at all, refused when damaged or not data."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.config.configurator import Config as RecBoleConfig
from recbole.model.sequential_recommender import SASRec

from recbole_compress.errors import CheckpointError
from recbole_compress.trainers.checkpoint import (
    item_map_fingerprint,
    knows_other_items,
    load_checkpoint,
    plain_config,
    save_checkpoint,
)


@pytest.fixture
def state():
    config = Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None})
    return {
        "config": plain_config(config),
        "epoch": 3,
        "best_valid_score": np.float64(0.25),
        "state_dict": {"weight": torch.arange(6.0).view(2, 3)},
        "optimizer": {},
    }


def test_round_trip_keeps_a_working_config(state, tmp_path):
    path = str(tmp_path / "a.pth")
    save_checkpoint(state, path)
    loaded = load_checkpoint(path)
    assert loaded["config"]["model"] == "SASRec"
    assert loaded["config"]["eval_type"] == state["config"]["eval_type"]
    assert loaded["config"]["device"] == torch.device("cpu")
    assert type(loaded["best_valid_score"]) is float
    assert loaded["state_dict"]["weight"].equal(state["state_dict"]["weight"])
    assert os.listdir(tmp_path) == ["a.pth"]  # no temporary file stays


def test_plain_torch_load_reads_it_too(state, tmp_path):
    path = str(tmp_path / "a.pth")
    save_checkpoint(state, path)
    loaded = torch.load(path)  # what RecBole's loaders call
    assert loaded["epoch"] == 3 and type(loaded["config"]) is RecBoleConfig


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_refused_and_not_run(state, in_tmp, protocol):
    torch.save({**state, "extra": Evil()}, "evil.pth", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match="evil.pth: (refused|damaged)"):
        load_checkpoint("evil.pth")
    assert not os.path.exists("pwned")
    with open("bare.pth", "wb") as file:
        pickle.dump(Evil(), file)
    with pytest.raises(CheckpointError, match="bare.pth: refused"):
        load_checkpoint("bare.pth")
    assert not os.path.exists("pwned")


def test_foreign_classes_are_named(state, tmp_path):
    path = str(tmp_path / "foreign.pth")
    torch.save({**state, "best_valid_score": 0.0, "extra": textwrap.TextWrapper()}, path)
    with pytest.raises(CheckpointError, match="textwrap.TextWrapper"):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_files_are_refused(state, tmp_path, keep):
    path = tmp_path / "cut.pth"
    save_checkpoint(state, str(path))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="cut.pth: (damaged|refused)"):
        load_checkpoint(str(path))


def test_missing_and_foreign_files_get_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(str(tmp_path / "none.pth"))
    torch.save({"weights": 1}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not a RecBole checkpoint") as caught:
        load_checkpoint(str(tmp_path / "other.pth"))
    assert "\n" not in str(caught.value)
    torch.save({"config": {"model": "SASRec"}, "state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="'config' is none of RecBole's"):
        load_checkpoint(str(tmp_path / "other.pth"))


def test_a_catalogue_of_no_number_of_items(state, tmp_path):
    path = str(tmp_path / "a.pth")
    for wrong in ({"n_items": "x"}, [3]):
        save_checkpoint({**state, "catalogue": wrong}, path)
        with pytest.raises(CheckpointError, match="damaged .'catalogue' does not say"):
            load_checkpoint(path)


def test_a_full_disk_leaves_the_file_of_before(state, tmp_path):
    path = str(tmp_path / "a.pth")
    save_checkpoint(state, path)
    script = f"""
    import resource, signal, torch
    import recbole_compress
    from recbole_compress.errors import CheckpointError
    from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
    state = load_checkpoint({path!r})
    state["state_dict"]["weight"] = torch.zeros(1000, 1000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # writes fail beyond 100 kB
    try:
        save_checkpoint(state, {path!r})
    except CheckpointError as error:
        print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "cannot be written" in run.stdout
    assert "untouched" in run.stdout
    assert load_checkpoint(path)["epoch"] == 3
    assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("unknown", [True, False])
def test_other_items_are_seen_by_token_and_by_number(unknown):
    def dataset(*tokens):
        table = {"item_id": ["[PAD]", *tokens]}
        return SimpleNamespace(iid_field="item_id", item_num=len(tokens) + 1, field2id_token=table)

    here, noted = dataset("a", "b"), item_map_fingerprint(dataset("a", "b"))
    for seen in (here, item_map_fingerprint(here)):
        assert not knows_other_items(noted, seen, unknown=unknown)
    for seen in (dataset("b", "a"), item_map_fingerprint(dataset("a"))):
        assert knows_other_items(noted, seen, unknown=unknown)
    assert knows_other_items(None, here, unknown=unknown) is unknown
    assert knows_other_items(noted, None, unknown=unknown) is unknown
    assert knows_other_items(None, here, unknown=unknown, n_items=3) is unknown
    assert knows_other_items(None, here, unknown=unknown, n_items=4)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_config_is_read_and_never_called(state, in_tmp, protocol):
    # RecBole's own evaluates the texts that it is called with.
    run = {"note": "open('pwned', 'w')"}
    call = Names(RecBoleConfig, "SASRec", "ml-100k", None, run)
    torch.save({**state, "config": call}, "evil.pth", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match="evil.pth: (refused|damaged)"):
        load_checkpoint("evil.pth")
    for read in (torch.load, lambda path: torch.load(path, weights_only=True)):
        with pytest.raises(pickle.UnpicklingError):
            read("evil.pth")
    assert not os.path.exists("pwned")


class Names:
    """Pickles as a call of this name, without having it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def as_recbole_writes_it(state, path):
    config = state["config"]
    # The class of the model comes along, from a module that reading must not import.
    config.__dict__["model_class"] = SASRec
    torch.save({**state, "config": config}, path, pickle_protocol=4)


def test_recboles_own_pickles_are_read_as_data(state, tmp_path):
    path = str(tmp_path / "recbole.pth")
    as_recbole_writes_it(state, path)
    with pytest.warns(UserWarning, match="protocol 4"), pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    loaded = load_checkpoint(path)
    assert type(loaded["config"]) is RecBoleConfig and loaded["config"]["model"] == "SASRec"
    assert loaded["config"]["eval_type"] == state["config"]["eval_type"]
    assert not hasattr(loaded["config"], "model_class")
    assert type(loaded["best_valid_score"]) is float and loaded["best_valid_score"] == 0.25
    assert loaded["state_dict"]["weight"].equal(state["state_dict"]["weight"])
    again = str(tmp_path / "again.pth")
    save_checkpoint(loaded, again)
    assert torch.load(again, weights_only=True)["epoch"] == 3


@pytest.mark.parametrize(
    "extra, found",
    [
        (Names(os.system, "touch pwned"), "system"),
        (Names(exec, "open('pwned', 'w')"), "builtins.exec"),
        (Names(getattr, "text", "upper"), "builtins.getattr"),
        (np.array(["x"], dtype=object), "numpy"),
    ],
)
def test_pickles_that_do_more_are_refused_by_name(state, in_tmp, extra, found):
    torch.save({**state, "extra": extra}, "evil.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match=f"evil.pth: refused.*{found}"):
        load_checkpoint("evil.pth")
    assert not os.path.exists("pwned")
