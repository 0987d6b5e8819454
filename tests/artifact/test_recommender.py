"""The reader: answers, clear errors, and no need of torch or RecBole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from recbole_compress.artifact import Recommender, metadata
from recbole_compress.artifact.command import recommend
from recbole_compress.artifact.session import Session, open_session
from recbole_compress.errors import ArtifactError, ConfigError
from recbole_compress.export.writing import export_model
from tests.forged_files import amend_metadata, replace_metadata
from tests.quantization.models import LENGTH, N_ITEMS, made


def test_it_recommends_tokens(exported) -> None:
    recommender = Recommender(exported)
    found = recommender.recommend(["item 3", "item 7"], k=4)
    assert len(found) == 4
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert {one.item for one in found} <= set(recommender.items)
    assert recommender.info["metrics"] == {"test": {"ndcg@10": 0.5}}


def test_a_batch_says_what_each_says_alone(exported) -> None:
    recommender = Recommender(exported, threads=2)
    histories = [["item 3"], ["item 7", "item 8", "item 9"], ["item 1", "item 1"]]
    batch = recommender.recommend_batch(histories, k=6, exclude_history=True)
    for history, found in zip(histories, batch, strict=True):
        alone = recommender.recommend(history, k=6, exclude_history=True)
        assert [one.item for one in found] == [one.item for one in alone]
        assert not {one.item for one in found} & set(history)


def test_of_a_long_history_the_newest_counts(exported) -> None:
    recommender = Recommender(exported)
    history = [f"item {i}" for i in range(1, 30)]
    assert recommender.recommend(history) == recommender.recommend(history[-LENGTH:])


def test_candidates_alone_are_ranked(exported) -> None:
    found = Recommender(exported).recommend(["item 3"], candidates=["item 9", "item 2"])
    assert {one.item for one in found} == {"item 9", "item 2"}


def test_all_items_may_be_asked_for(exported) -> None:
    found = Recommender(exported).recommend(["item 3"], k=N_ITEMS - 1)
    assert len({one.item for one in found}) == N_ITEMS - 1


def test_numpys_numbers_are_numbers(exported) -> None:
    recommender = Recommender(exported)
    found = recommender.recommend(["item 3"], k=np.int64(3))
    assert found == recommender.recommend(["item 3"], k=3)


@pytest.mark.parametrize(
    "history, options, message",
    [
        (["item 3", "nothing"], {}, "unknown item 'nothing'"),
        (["[PAD]"], {}, "unknown item"),
        ([], {}, "empty history"),
        ("item 3", {}, "give a list"),
        (["item 3"], {"k": 0}, "k=0"),
        (["item 3"], {"k": N_ITEMS}, f"k={N_ITEMS}"),
        (["item 3"], {"candidates": []}, "no candidates"),
        (["item 3"], {"user": "u1"}, "unknown user"),
        (["item 3"], {"user": 4}, "unknown user '4'"),
        (["item 3"], {"exclude_history": "False"}, "exclude_history='False'"),
    ],
)
def test_a_wrong_request_is_explained(exported, history, options, message) -> None:
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Recommender(exported).recommend(history, **options)


def test_it_needs_neither_torch_nor_recbole(exported) -> None:
    program = (
        "import sys; sys.modules.update(torch=None, recbole=None)\n"
        "from recbole_compress.artifact import Recommender\n"
        f"print([r.item for r in Recommender({exported!r}).recommend(['item 3'], k=3)])\n"
        "print(sorted({'pandas', 'scipy', 'onnx', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [one.item for one in Recommender(exported).recommend(["item 3"], k=3)]
    assert done.stdout.splitlines() == [str(expected), "[]"]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.999])
def test_a_changed_byte_is_seen(exported, tmp_path, place) -> None:
    content = bytearray(Path(exported).read_bytes())
    content[int(len(content) * place)] ^= 1
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        Recommender(str(path))


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_what_is_no_file_of_ours_is_refused(tmp_path, content) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        Recommender(str(path))
    with pytest.raises(ArtifactError, match="no such file"):
        Recommender(str(tmp_path / "none.onnx"))


def test_another_schema_version_is_refused(exported, tmp_path) -> None:
    path = str(shutil.copy(exported, tmp_path / "m.onnx"))
    replace_metadata(path, {"recbole_compress.schema": "99"})
    with pytest.raises(ArtifactError, match="schema version 99"):
        Recommender(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda said: said.pop("n_items"), "says nothing of its n_items"),
        (lambda said: said.update(n_items="many"), "says n_items=many, expected a whole number"),
        (lambda said: said.update(max_length=0), "says max_length=0"),
        (lambda said: said["item_tokens"].pop(), f"not a list of {N_ITEMS}"),
        (lambda said: said.update(item_tokens={"a": 1}), f"not a list of {N_ITEMS}"),
        (lambda said: said.update(item_tokens=[*range(N_ITEMS)]), f"list of {N_ITEMS} texts"),
        (lambda said: said.update(user_tokens=[["u1"]]), "its user_tokens are not a list of texts"),
    ],
)
def test_a_file_that_says_too_little_is_refused(exported, tmp_path, change, message) -> None:
    path = str(shutil.copy(exported, tmp_path / "m.onnx"))
    amend_metadata(path, change)
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Recommender(path)


def test_tokens_that_claim_to_be_huge_are_not_unpacked(monkeypatch) -> None:
    assert metadata.read(metadata.written({"item_tokens": ["a"]}), "m.onnx")["item_tokens"] == ["a"]
    entries = metadata.written({"item_tokens": ["a" * 2000]})
    monkeypatch.setattr(metadata, "LARGEST", 1000)
    with pytest.raises(ArtifactError, match="item_tokens in its metadata .*more than 1,000 bytes"):
        metadata.read(entries, "m.onnx")
    with pytest.raises(ArtifactError, match="item_tokens take 2,004 bytes.*--tokens=False"):
        metadata.written({"item_tokens": ["a" * 2000]})
    deep = {**metadata.written({}), "recbole_compress.metrics": "[" * 100_000}
    with pytest.raises(ArtifactError, match="metrics in its metadata cannot be read"):
        metadata.read(deep, "m.onnx")


@pytest.mark.slow
def test_a_console_without_a_tokens_letters_shows_the_rest(exported, tmp_path) -> None:
    path = str(shutil.copy(exported, tmp_path / "m.onnx"))
    amend_metadata(
        path, lambda said: said.update(item_tokens=[f"寿司{i}" for i in range(N_ITEMS)], k=3)
    )
    program = "from recbole_compress.artifact.command import recommend\n"
    program += f"recommend([{path!r}, '--items=\\u5bff\\u53f83'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3 and b"??" in done.stdout


def test_operators_that_are_not_there_are_named(exported) -> None:
    model = onnx.load(exported)
    model.graph.node[0].domain, model.graph.node[0].op_type = "com.microsoft", "OfTheFuture"
    with pytest.raises(ArtifactError, match="made for operators"):
        open_session(model.SerializeToString(), 1, "m.onnx")


def test_the_command_explains_what_is_wrong(exported) -> None:
    with pytest.raises(ArtifactError, match="unknown item '3'"):
        recommend([exported, "--items=3"])
    with pytest.raises(ArtifactError, match="unknown item 'two words'"):
        recommend([exported, "--items='two words' x"])
    with pytest.raises(ArtifactError, match="no history"):
        recommend([exported])
    with pytest.raises(ConfigError, match="did you mean 'exclude_history'"):
        recommend([exported, "--items=a", "--exclude_histori=True"])


def test_the_command_needs_neither_torch_nor_recbole(exported) -> None:
    program = (
        "import sys; sys.modules.update(torch=None, recbole=None)\n"
        "from recbole_compress.quick_start.command_line import main\n"
        f"sys.exit(main(['recommend', {exported!r}, '--items=' + sys.argv[1], '--k=3']))"
    )
    done = subprocess.run([sys.executable, "-c", program, "x"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown item 'x'")


def test_without_tokens_items_are_their_ids(tmp_path) -> None:
    path = str(tmp_path / "model.onnx")
    export_model(made("TTSASRec")[1], path, k=5)
    recommender = Recommender(path)
    found = recommender.recommend(["3"], candidates=["7", "07"])
    assert [one.item for one in found] == ["7"]
    for wrong in ("0", str(N_ITEMS), "1" * 5000, "\u0667", "-1"):
        with pytest.raises(ArtifactError, match="has no item tokens; give ids from 1"):
            recommender.recommend([wrong])


@pytest.mark.parametrize("name", ["TTSASRec", "CpRecGRU4Rec"])
def test_a_session_answers_for_its_items_only(tmp_path, name) -> None:
    path = str(tmp_path / "model.onnx")
    export_model(made(name)[1], path, k=5, all_scores=True)
    session = Session(path)
    for wrong in (N_ITEMS, -1):
        with pytest.raises(ArtifactError, match=f"item id {wrong}: the file knows the ids 1 .."):
            session.topk(np.array([[wrong]]), np.array([1]))
        with pytest.raises(ArtifactError, match=f"item id {wrong}"):
            session.topk(np.array([[3]]), np.array([1]), candidates=np.array([[wrong, 2]]))
    none = np.zeros((0, 3)), np.zeros(0)
    assert session.topk(*none)[0].shape == (0, 5)
    assert session.all_scores(*none).shape == (0, N_ITEMS)
    assert session.topk(np.zeros((1, 0)), np.zeros(1))[0].shape == (1, 5)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"item_seq": [1, 2, 3]}, r"item_seq: has the shape \(3,\), expected \(any, any\)"),
        ({"item_seq": [[1, 2], [3]]}, "item_seq: expected whole numbers"),
        ({"item_seq": [[1.5, 2, 3]]}, "item_seq: expected whole numbers"),
        ({"item_seq": [[float("nan"), 2, 3]]}, "item_seq: expected whole numbers"),
        ({"item_seq": [[0, 1, 2]]}, "item_seq: 0 among the items of a row; pad on the right"),
        ({"length": [3, 3]}, r"length: has the shape \(2,\), expected \(1\)"),
        ({"length": [4]}, "length=4: choose 0 .. 3"),
        ({"length": [-2]}, "length=-2: choose 0 .. 3"),
        ({"k": 0}, "k=0: choose a whole number from 1 on"),
        ({"k": 2.7}, "k=2.7: choose a whole number"),
        ({"candidates": [[]]}, r"candidates: have the shape \(1, 0\), expected at least one item"),
        ({"candidates": [5, 6]}, "candidates: has the shape"),
        ({"candidates": [[5], [6]]}, "candidates: have the shape"),
    ],
)
def test_a_session_refuses_what_it_would_take_for_something_else(
    exported, request_, message
) -> None:
    asked = {"item_seq": [[1, 2, 3]], "length": [3], **request_}
    with pytest.raises(ArtifactError, match=message):
        Session(exported).topk(**asked)
