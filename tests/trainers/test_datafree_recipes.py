"""What the data-free recipes are given, and what they are not."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch

from recbole_compress import datafree
from recbole_compress.data.train_sequences import train_sequences
from recbole_compress.quantization import ActivationQuantizer, QuantizationSpec
from recbole_compress.readers import reader_like
from recbole_compress.trainers import datafree_recipe
from recbole_compress.trainers.datafree_recipe import start_again_
from recbole_compress.trainers.quantization_recipes import recipe_named
from tests.conftest import SEQUENCES
from tests.trainers.data_free_case import ALONE, Case


def test_no_signature_takes_a_data_set():
    for kind in ALONE:
        for method in (kind.__init__, kind.fit, kind.sequences):
            names = set(inspect.signature(method).parameters)
            assert not {name for name in names if "data" in name}
    for name in datafree.__all__:
        thing = getattr(datafree, name)
        text = str(inspect.signature(thing)) if callable(thing) else ""
        assert "ataset" not in text and "oader" not in text


@pytest.mark.parametrize("kind", ALONE)
def test_nothing_reads_the_data_set(path, kind, in_tmp):
    case = Case(path, df_epochs=1)
    (in_tmp / "tiny" / "tiny.inter").unlink()
    (in_tmp / "tiny").rmdir()
    del case.split
    trainer = case.trainer(kind)
    trainer.fit(saved=False, verbose=False)
    assert trainer.epochs_done == 1


@pytest.mark.parametrize("model", ["SASRec", "CpRecNextItNet"])
def test_real_sequences_show_the_train_split_once(path, model):
    case = Case(path, model, MAX_ITEM_LIST_LENGTH=4)
    item_seq, lengths = train_sequences(case.split, 4)
    assert item_seq.shape[1] == 4 and lengths.min() >= 2
    # Everyone's last two items are for validation and test; a rest of one item is left out.
    shown = [len(s) - 2 for s in SEQUENCES]
    assert lengths.sum() == sum(n - (n % 4 == 1) for n in shown)


@pytest.mark.parametrize("name", ["self_sample", "adversarial", "noise", "qat"])
@pytest.mark.parametrize("start", ["teacher", "random"])
def test_recipes_quantize_the_model_that_they_are_given(path, name, start):
    case = Case(path, df_epochs=1, df_start=start, activation_range="static")
    model = copy.deepcopy(case.teacher)
    spec = QuantizationSpec(4, 2, activation_bits=8, activation_range="static")
    recipe = recipe_named(name)
    assert recipe.needs_data == (name == "qat")
    work = recipe.quantize(case.job(model, spec))
    assert work.passes == 1 and work.sequences == case.config["calibration_sequences"] + 60
    assert {row.bits for row in work.report.rows} == {4, 2, 32}
    assert max(len(row.unique()) for row in model.item_embedding.weight) <= 4
    original = model.item_embedding.parametrizations.weight.original
    near = torch.nn.functional.cosine_similarity(original, case.teacher.item_embedding.weight)
    assert (near[1:].mean() > 0.9) == (start == "teacher")  # not copied: the released code's way


@pytest.mark.parametrize(
    "name",
    [
        "SASRec",
        "GRU4Rec",
        "BERT4Rec",
        "NARM",
        "STAMP",
        "CpRecNextItNet",
        "CpRecGRU4Rec",
        "TTSASRec",
    ],
)
def test_a_random_start_forgets_everything(path, name):
    case = Case(path, name)
    student = copy.deepcopy(case.teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(7.0)
    buffers = {key: buffer.clone() for key, buffer in student.named_buffers()}
    start_again_(student, case.drawn_again())
    for key, weight in student.named_parameters():
        assert not weight.eq(7.0).any(), key
    assert all(buffer.equal(buffers[key]) for key, buffer in student.named_buffers())


def test_static_ranges_are_found_a_few_sequences_at_a_time(path, monkeypatch):
    """However many there are: of a large catalogue, each has a million scores."""
    case = Case(path, df_epochs=1, activation_range="static", calibration_sequences=150)
    spec = QuantizationSpec(8, 8, activation_bits=8, activation_range="static")
    together = []

    def noting(reader, model):
        asked = reader_like(reader, model)
        ends = asked.ends

        def noted(sequences):
            together.append(len(sequences.lengths))
            return ends(sequences)

        asked.ends = noted
        return asked

    monkeypatch.setattr(datafree_recipe, "reader_like", noting)
    recipe_named("noise").quantize(case.job(copy.deepcopy(case.teacher), spec))
    assert together == [64, 64, 22]


def test_static_ranges_of_a_random_start_are_those_of_the_trained_weights(path):
    case = Case(path, df_epochs=1, activation_range="static")
    spec = QuantizationSpec(8, 8, activation_bits=8, activation_range="static")
    scales = []
    for start in ("teacher", "random"):
        case.config["df_start"] = start
        model = copy.deepcopy(case.teacher)
        torch.manual_seed(3)
        recipe_named("noise").quantize(case.job(model, spec))
        quantizers = [m for m in model.modules() if isinstance(m, ActivationQuantizer)]
        scales.append(torch.cat([quantizer.scale for quantizer in quantizers]))
    torch.testing.assert_close(scales[0], scales[1], rtol=0.1, atol=0.0)
