"""Every way of asking gives what ``full_sort_predict`` gives, and leaves the model as it was."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from recbole.data.interaction import Interaction
from torch.nn.utils import parametrize

from recbole_compress.config import Config
from recbole_compress.datafree import Candidates, Sequences, item_divergence, sample_sequences
from recbole_compress.quantization import QuantizationSpec, quantize_
from recbole_compress.quick_start.host_models import dataset_class
from recbole_compress.readers import as_reader, reader_like
from tests.conftest import SEQUENCES, write_interactions

WAYS = {
    "SASRec": "GatheredPositions",
    "GRU4Rec": "GatheredPositions",
    "BERT4Rec": "MaskedPositions",
    "NARM": "Prefixes",
    "Caser": "Prefixes",
    "STAMP": "Prefixes",
    "LightSANs": "Prefixes",
    "NextItNet": "Prefixes",
    "RepeatNet": "WholeSequences",
    "GRU4RecCPR": "WholeSequences",
    "TransRec": "Prefixes",
    "CpRecNextItNet": "EveryPosition",
    "CpRecSASRec": "EveryPosition",
    "TTSASRec": "EveryPosition",
    "TTSASRec, pointer": "EveryPosition",
}
# They say probabilities; what is drawn and compared are logits.
OF_PROBABILITIES = ("RepeatNet", "GRU4RecCPR")


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return write_interactions(tmp_path_factory.mktemp("data"), "tiny", SEQUENCES)


def made(name, data_path, longest=8):
    name, _, repeats = name.partition(", ")
    settings = {
        **({"repeats": repeats} if repeats else {}),
        **({"reranker_CAN_NUM": 5} if name == "GRU4RecCPR" else {}),
        "data_path": data_path,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": longest,
    }
    config = Config(name, "tiny", config_dict=settings)
    torch.manual_seed(0)
    model = config.model_class(config, dataset_class(config)(config).build()[0])
    with torch.no_grad():  # far enough from the start that everything matters
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def some_sequences(n_items):
    lengths = torch.tensor([8, 1, 5, 3])
    item_seq = torch.randint(1, n_items, (4, 8), generator=torch.Generator().manual_seed(1))
    return Sequences(item_seq * (torch.arange(8) < lengths.unsqueeze(1)), lengths)


def full_sort(model, item_seq, lengths):
    fields = {model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: lengths}
    fields[model.USER_ID] = 1 + item_seq[:, 0] * 7919 % 80
    scores = model.full_sort_predict(Interaction(fields)).view(len(lengths), -1)[:, 1:]
    return scores.log() if type(model).__name__ in OF_PROBABILITIES else scores


@pytest.mark.parametrize("name, way", WAYS.items())
def test_answers_are_the_models_own(name, way, data_path):
    model = made(name, data_path)
    reader = as_reader(model)
    assert type(reader).__name__ == way
    before = dict(vars(model))
    sequences = some_sequences(model.n_items)
    with torch.no_grad():
        expected = full_sort(model, *sequences)
        ends = reader.ends(sequences)
        torch.testing.assert_close(ends.scores(ends.states)[:, 1:], expected, atol=1e-4, rtol=1e-3)
        ids = torch.tensor([[1, 2, 3]] * 4)
        some = ends.item_scores(ends.states, ids)
        torch.testing.assert_close(some, expected.gather(1, ids - 1), atol=1e-4, rtol=1e-3)
        places = reader.next_places(sequences)
        assert sorted(zip(places.row.tolist(), places.seen.tolist(), strict=True)) == [
            (row, seen) for row in range(4) for seen in range(1, int(sequences.lengths[row]))
        ]
        reading = reader.read(places)
        found = reading.scores(reading.states)[:, 1:]
        prefixes = sequences.item_seq[places.row] * (torch.arange(8) < places.seen.unsqueeze(1))
        expected = full_sort(model, prefixes, places.seen)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert vars(model).keys() == before.keys()


@pytest.mark.parametrize("name", WAYS)
def test_a_quantized_copy_is_read_the_same_way_and_learns(name, data_path):
    teacher = made(name, data_path)
    student = copy.deepcopy(teacher)
    quantize_(student, QuantizationSpec(2, 2, activation_bits=8, learn_steps=True))
    wanted = as_reader(teacher)
    told = reader_like(wanted, student)
    sequences = some_sequences(teacher.n_items)
    places = wanted.places(sequences)
    with torch.no_grad():
        reading = wanted.read(places)
    item_divergence(told.read(places), reading, teacher.n_items).backward()
    plain = {n: p.grad for n, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()
    with parametrize.cached():  # on the grid once per step: the same gradients
        item_divergence(told.read(places), reading, teacher.n_items).backward()
    for parameter, gradient in ((p, plain.get(n)) for n, p in student.named_parameters()):
        if gradient is not None and gradient.any():
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-3)
    moved = {name for name, gradient in plain.items() if gradient.any()}
    assert any("scales" in name for name in moved)
    assert any("original" in name for name in moved)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", WAYS)
def test_scores_of_candidates_reach_what_scores_of_all_items_reach(name, cached, data_path):
    """The states give no gradient here: what is reached is reached through the scores."""
    teacher = made(name, data_path)
    student = copy.deepcopy(teacher)
    quantize_(student, QuantizationSpec(4, 4, learn_steps=True))
    wanted = as_reader(teacher)
    told = reader_like(wanted, student)
    places = wanted.places(some_sequences(teacher.n_items))
    with torch.no_grad():
        reading = wanted.read(places)
    reached = []
    for candidates in (None, Candidates(top=10, tail=8)):
        student.zero_grad()
        with parametrize.cached() if cached else contextlib.nullcontext():
            asked = told.read(places)
            asked = asked._replace(states=asked.states.detach())
            item_divergence(asked, reading, teacher.n_items, candidates=candidates).backward()
        gradients = {n: p.grad for n, p in student.named_parameters() if p.grad is not None}
        reached.append({n for n, gradient in gradients.items() if (gradient.abs() > 1e-6).any()})
    assert reached[0] and reached[1] == reached[0]


@pytest.mark.parametrize("longest", [1, 2])
@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec"])
def test_models_that_read_next_to_nothing(name, longest, data_path):
    model = made(name, data_path, longest)
    reader = as_reader(model)
    sequences = Sequences(torch.tensor([[3], [5]]), torch.tensor([1, 1]))
    with torch.no_grad():
        ends = reader.ends(sequences)
        found = ends.scores(ends.states)[:, 1:]
        padded = torch.nn.functional.pad(sequences.item_seq, (0, longest - 1))
        expected = full_sort(model, padded, sequences.lengths)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_masks_stand_in_half_of_the_sequences(data_path):
    reader = as_reader(made("BERT4Rec", data_path))
    lengths = torch.full((40,), 7)
    sequences = Sequences(torch.randint(1, 30, (40, 7)), lengths)
    places = reader.places(sequences, torch.Generator().manual_seed(0))
    masks = (places.item_seq == reader.model.mask_token).sum(1)
    assert (masks[0::2] == 1).all() and (masks[1::2] > 1).any()
    assert places.chosen.sum() == masks.sum() == len(places.row)


def test_samples_of_a_bidirectional_model_hold_no_mask(data_path):
    reader = as_reader(made("BERT4Rec", data_path))
    sequences = sample_sequences(reader, 30)
    assert sequences.item_seq.max() < reader.n_items


def loss_of(reading):
    return reading.scores(reading.states)[:, 1:].square().mean()


def loss_where_moved(reader, places, here, step):
    """``here``: which of the item vectors that are read; ``step``: what is added to them."""

    def move(module, args, output):
        if args[0].dim() != 2:
            return None
        hook.remove()  # scoring may look items up as well
        return output.index_put(here.nonzero(as_tuple=True), step, accumulate=True)

    hook = reader.embedding.register_forward_hook(move)
    with torch.no_grad():
        return loss_of(reader.read(places)).item()


@pytest.mark.parametrize("name", ["SASRec", "NARM", "BERT4Rec", "CpRecNextItNet"])
def test_the_slope_in_read_vectors_is_that_of_the_items(data_path, name):
    """Moving the vector of one item, read at one place, changes the loss as the slope says."""
    reader = as_reader(made(name, data_path))
    sequences = some_sequences(reader.n_items)
    places = reader.next_places(sequences)
    reading, vectors = reader.read_with_vectors(places)
    torch.testing.assert_close(reading.states, reader.read(places).states)
    slope = torch.autograd.grad(loss_of(reading), vectors.leaf)[0]
    per_item = vectors.per_item(slope, sequences.item_seq)
    assert per_item.shape[:2] == sequences.item_seq.shape
    used = (sequences.item_seq > 0) & per_item.abs().sum(2).gt(0)
    assert used.any()
    # Nothing was asked after the last items.
    assert not used[torch.arange(4), sequences.lengths - 1].any()

    row, column = divmod(int(per_item.norm(dim=2).argmax()), per_item.shape[1])
    of_item = per_item[row, column]
    here = torch.zeros(vectors.ids.shape, dtype=torch.bool)
    place = column - vectors.offset
    here[:, place] = (vectors.row == row) & (
        vectors.ids[:, place] == sequences.item_seq[row, column]
    )
    step = 0.01 * of_item / of_item.norm()
    up, down = (loss_where_moved(reader, places, here, sign * step) for sign in (1, -1))
    assert (up - down) / 0.02 == pytest.approx(of_item.norm().item(), rel=0.02)
