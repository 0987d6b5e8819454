"""Nothing is left on the CPU when a model lies on a GPU; told without one."""

from __future__ import annotations

import copy

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_compress.datafree import Sequences, item_divergence, sample_sequences
from recbole_compress.distillation import Recombination, hot_items
from recbole_compress.quantization import QuantizationSpec, calibrating, quantize_
from recbole_compress.readers import as_reader, reader_like
from recbole_compress.trainers import random_state
from recbole_compress.trainers.distillation_settings import DistillationSettings
from recbole_compress.trainers.distillation_trainer import DistillationTrainer
from recbole_compress.trainers.teacher import as_teacher
from tests.pretended_gpu import GPU, DifferentDevices, PretendedGPU, moved
from tests.quantization.models import LENGTH, N_ITEMS, OURS, STOCK, VARIANTS, made


@pytest.fixture
def gpu():
    with PretendedGPU():
        yield


def batch_for(model, n=4):
    lengths = torch.tensor([LENGTH, 1, 3, 2])[:n]
    items = torch.randint(1, N_ITEMS, (n, LENGTH)) * (torch.arange(LENGTH) < lengths[:, None])
    fields = {model.ITEM_SEQ: items, model.ITEM_SEQ_LEN: lengths, model.ITEM_ID: items[:, 0]}
    return Interaction({name: tensor.to(GPU) for name, tensor in fields.items()})


def test_the_pretended_gpu_refuses_what_a_real_one_does(gpu):
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    assert there.device == GPU and (2 * there).is_cuda and there.cpu().device.type == "cpu"
    assert there[torch.tensor([0])].is_cuda and (there + torch.tensor(1.0)).is_cuda
    for wrong in (
        lambda: there + here,
        lambda: here[torch.zeros(1, dtype=torch.long, device="cuda")],
        lambda: there.exp().numpy(),
        lambda: torch.rand(2, device="cuda", generator=torch.Generator()),
        lambda: torch.zeros_like(there).gather(0, torch.tensor([1])),
    ):
        with pytest.raises(DifferentDevices):
            wrong()


@pytest.mark.parametrize(
    "name, variant",
    [(name, "as it is") for name in OURS]
    + [(name, variant) for name in OURS if name != "TTSASRec" for variant in VARIANTS],
)
def test_our_models_train_and_recommend(gpu, name, variant):
    _, model = made(name, **VARIANTS.get(variant, {}))
    moved(model).train()
    batch = batch_for(model)
    model.calculate_loss(batch).backward()
    model.eval()
    with torch.no_grad():
        assert model.full_sort_predict(batch).device == GPU
        assert model.predict(batch).device == GPU
        for n in (4, 1):
            assert model.topk(batch_for(model, n), 5)[1].device == GPU


@pytest.mark.parametrize("name", [*STOCK, *OURS])
@pytest.mark.parametrize("activation_range", ["dynamic", "static"])
def test_models_are_quantized_without_data(gpu, name, activation_range):
    _, model = made(name)
    expected = type(as_reader(model)).__name__
    quantized = moved(copy.deepcopy(model))
    teacher = as_reader(moved(model))
    assert type(teacher).__name__ == expected
    spec = QuantizationSpec(4, 2, 8, activation_range=activation_range, learn_steps=True)
    quantize_(quantized, spec)
    student = reader_like(teacher, quantized)
    sequences = sample_sequences(teacher, 6)
    assert sequences.item_seq.device.type == "cpu"
    with torch.no_grad(), calibrating(quantized):
        asked = student.ends(sequences)
        asked.scores(asked.states)
    places = teacher.places(Sequences(*sequences))
    with torch.no_grad():
        wanted = teacher.read(places)
    item_divergence(student.read(places), wanted, N_ITEMS).backward()


@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("teacher", ["CpRecGRU4Rec", "SASRec"])
@pytest.mark.parametrize("student", OURS)
def test_a_student_learns_from_its_teacher(gpu, student, teacher, share, targets):
    settings = {"recipe": "distillation", "kd_target_share": share}
    settings |= {"kd_contrastive_weight": 0.2, "kd_predictive_weight": 0.1}
    config, model = made(student, **settings)
    trainer = DistillationTrainer.__new__(DistillationTrainer)  # its own making asks for a GPU
    trainer.settings, trainer.model = DistillationSettings.of(config), moved(model).train()
    trainer.teacher = as_teacher(moved(made(teacher)[1]))
    hot = hot_items(torch.arange(N_ITEMS), 0.2)
    dims = model.item_embedding.embedding_dim, trainer.teacher.dim
    trainer.recombination = moved(Recombination(hot, *dims))
    batch = batch_for(model)
    if targets == "all":
        batch.update(Interaction({model.TARGET_LIST: batch[model.ITEM_SEQ].roll(-1, 1)}))
    parts = trainer.distillation_loss(batch)
    assert len(parts) == 3
    sum(parts).backward()


def test_an_interrupted_run_takes_its_chance_up_again(gpu):
    state = random_state.capture()
    name, keys, *rest = state["numpy"]
    state["numpy"] = [name, keys.to(GPU), *rest]  # where a checkpoint's tensors are loaded to
    random_state.restore(state)
