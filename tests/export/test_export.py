"""Files against the models they come from: scores, top-k, options, integers, and no half files."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from recbole_compress.artifact import Recommender
from recbole_compress.artifact.session import Session, open_session
from recbole_compress.errors import ExportError
from recbole_compress.export import encoder, writing
from recbole_compress.export.encoder import Encoder, Traces, splice_encoder
from recbole_compress.export.graph import Graph
from recbole_compress.export.integers import integers_of, quantized_copy, read_numbers_of
from recbole_compress.export.writing import export_model
from recbole_compress.functional.bit_packing import pack
from recbole_compress.quantization import QuantizationSpec
from tests.marks import slow
from tests.quantization.models import LENGTH, N_ITEMS, OURS, STOCK, VARIANTS, made

QUICK = {
    "two_level": ("CpRecNextItNet", {}),
    "tied_two_level": ("CpRecNextItNet", VARIANTS["tied_two_level"]),
    "low_rank": ("CpRecGRU4Rec", VARIANTS["low_rank"]),
    "tensor_train": ("TTSASRec", {}),
    "codes": ("CpRecSASRec", VARIANTS["codes"]),
    "pointer_tied": ("TTSASRec", VARIANTS["pointer"]),
    "angles": ("CORE", {"embedding_size": 16, "inner_size": 32}),
}
SLOW = {
    "FOSSIL": ("FOSSIL", {"embedding_size": 16}),
    "tensor_train_by_id": ("TTSASRec", {"tt_item_order": "by_id"}),
    "pointer_untied": ("CpRecSASRec", {**VARIANTS["dense_untied"], **VARIANTS["pointer"]}),
    **{name: (name, {}) for name in STOCK},
    **{f"{name}_{kind}": (name, given) for name in OURS for kind, given in VARIANTS.items()},
}
CASES = [pytest.param(*case, id=name) for name, case in QUICK.items()]
CASES += [slow(*case, id=name) for name, case in SLOW.items()]


def sequences():
    generator = torch.Generator().manual_seed(5)
    length = torch.tensor([1, LENGTH, 3, 2])
    item_seq = torch.randint(1, N_ITEMS, (4, LENGTH), generator=generator)
    return item_seq * (torch.arange(LENGTH) < length.unsqueeze(1)), length


@torch.no_grad()
def truth(model):
    item_seq, length = sequences()
    asked = {
        model.ITEM_SEQ: item_seq,
        model.ITEM_SEQ_LEN: length,
        model.USER_ID: torch.zeros(4, dtype=torch.long),
    }
    scores = model.full_sort_predict(asked).reshape(4, -1).clone()
    scores[:, 0] = -torch.inf
    return scores


@pytest.mark.parametrize("name, settings", CASES)
def test_a_file_says_what_its_model_says(tmp_path, name, settings) -> None:
    _, model = made(name, **settings)
    expected = truth(model)
    done = export_model(model, str(tmp_path / "m.onnx"), all_scores=True)
    assert done.deviation.largest < 1e-4
    assert done.size_bytes == os.path.getsize(done.path)
    session = Session(done.path)
    item_seq, length = (tensor.numpy() for tensor in sequences())
    assert np.allclose(session.all_scores(item_seq, length), expected.numpy(), atol=1e-4)

    ids, scores = session.topk(item_seq, length)
    best, where = expected.topk(10)
    assert ids.tolist() == where.tolist() and np.allclose(scores, best, atol=1e-4)

    # Alone, and with as little padding as can be.
    alone, _ = session.topk(item_seq[2:3, :3], length[2:3])
    assert alone.tolist() == where[2:3].tolist()

    ids, _ = session.topk(item_seq, length, k=15, exclude_history=True)
    unseen = expected.scatter(1, torch.from_numpy(item_seq), -torch.inf)
    assert ids.tolist() == unseen.topk(15).indices.tolist()

    candidates = np.array([[7, 3, 0, 50]])
    ids, scores = session.topk(item_seq, length, candidates=candidates)
    order = expected[:, [7, 3, 50]].sort(descending=True).indices
    assert ids[:, :3].tolist() == torch.tensor([7, 3, 50])[order].tolist()
    assert (scores[:, 3] == -np.inf).all()


def test_a_tail_that_the_sequence_holds_has_no_token(tmp_path) -> None:
    blocks = {"item_block_cutoffs": [N_ITEMS // 2, N_ITEMS - 2]}  # one item in the last
    _, model = made("CpRecNextItNet", **VARIANTS["pointer"], **blocks)
    rare = int(model.item_head.new_items.item_blocks.id_of_rank[-1])
    item_seq, length = torch.tensor([[rare, 0], [rare, rare - 1]]), torch.tensor([1, 2])
    with torch.no_grad():
        expected = model.score(item_seq, length)
    session = Session(export_model(model, str(tmp_path / "m.onnx"), all_scores=True).path)
    found = session.all_scores(item_seq.numpy(), length.numpy())
    assert np.allclose(found, expected.numpy(), atol=1e-4)
    assert np.allclose(np.exp(found).sum(1), 1, atol=1e-5)


def test_a_sequence_of_all_items_leaves_nothing_new_in_a_file(tmp_path) -> None:
    longest = {"MAX_ITEM_LIST_LENGTH": N_ITEMS + 10}
    _, model = made("TTSASRec", **VARIANTS["pointer"], **longest)
    item_seq, length = torch.arange(1, N_ITEMS).unsqueeze(0), torch.tensor([N_ITEMS - 1])
    with torch.no_grad():
        expected = model.score(item_seq, length)
    session = Session(export_model(model, str(tmp_path / "m.onnx"), all_scores=True).path)
    found = session.all_scores(item_seq.numpy(), length.numpy())
    assert np.allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "name, settings",
    [
        QUICK["tied_two_level"],
        ("BERT4Rec", {}),
        slow("STAMP", {}),
    ],
)
def test_of_a_longer_sequence_the_newest_items_are_read(tmp_path, name, settings) -> None:
    session = Session(export_model(made(name, **settings)[1], str(tmp_path / "m.onnx")).path)
    rng = np.random.default_rng(5)
    length = np.array([LENGTH + 5, 2, LENGTH + 1])
    item_seq = rng.integers(1, N_ITEMS, (3, LENGTH + 5)) * (np.arange(LENGTH + 5) < length[:, None])
    newest = np.zeros((3, LENGTH), np.int64)
    for row, whole, end in zip(newest, item_seq, length, strict=True):
        row[: min(end, LENGTH)] = whole[max(end - LENGTH, 0) : end]
    everything = N_ITEMS - 1
    ids, scores = session.topk(newest, length.clip(max=LENGTH), everything)
    whole_ids, whole_scores = session.topk(item_seq, length, everything)
    assert whole_ids.tolist() == ids.tolist()
    assert np.array_equal(whole_scores, scores)
    # What is too old to be read is history all the same.
    unseen, scores = session.topk(item_seq, length, everything, exclude_history=True)
    for row, best, seen in zip(unseen, scores, item_seq, strict=True):
        assert set(row[best > -np.inf]) == set(range(1, N_ITEMS)) - set(seen)


def test_a_file_leaves_the_history_out_by_itself_if_told_to(tmp_path) -> None:
    _, model = made("TTSASRec")
    done = export_model(model, str(tmp_path / "m.onnx"), exclude_history=True)
    recommender = Recommender(done.path)
    assert recommender.info["exclude_history"] is True
    everything = N_ITEMS - 1
    assert not {"3", "7"} & {one.item for one in recommender.recommend(["3", "7"], everything)}
    shown = recommender.recommend(["3", "7"], everything, exclude_history=False)
    assert len(shown) == everything


@pytest.mark.slow
def test_nothing_is_as_large_as_history_times_items(tmp_path) -> None:
    """Marks of what was seen: one per item of the catalogue, made only where they are wanted."""
    _, model = made("TTSASRec")
    graph = onnx.load(export_model(model, str(tmp_path / "m.onnx")).path).graph
    outside = {node.op_type for node in graph.node}
    assert "ScatterElements" not in outside
    session = Session(str(tmp_path / "m.onnx"))
    history = np.arange(20_000)[None] % (N_ITEMS - 5) + 1
    length = np.array([20_000])
    ids, scores = session.topk(history, length, N_ITEMS - 1, exclude_history=True)
    assert set(ids[scores > -np.inf]) == set(range(N_ITEMS - 4, N_ITEMS))


@pytest.mark.parametrize("name", ["SASRec", *map(slow, ["CpRecGRU4Rec", "TTSASRec"])])
def test_a_model_of_one_item_is_exported(tmp_path, name) -> None:
    _, model = made(name, MAX_ITEM_LIST_LENGTH=1)
    assert export_model(model, str(tmp_path / "m.onnx")).deviation.largest < 1e-4
    session = Session(str(tmp_path / "m.onnx"))
    one, newest = np.array([[7]]), np.array([[3, 7]])
    ids, _ = session.topk(one, np.array([1]))
    assert session.topk(newest, np.array([2]))[0].tolist() == ids.tolist()


@pytest.mark.parametrize("name", ["CpRecNextItNet", slow("CpRecGRU4Rec")])
@pytest.mark.parametrize("bits", [8, 4, slow(2), slow(1)])
def test_a_quantized_file_holds_the_models_integers(tmp_path, name, bits) -> None:
    _, model = made(name, item_embedding="dense", item_head="tied")
    quantized = quantized_copy(model, QuantizationSpec(bits, bits))
    read_numbers_of(quantized, model)
    done = export_model(model, str(tmp_path / "m.onnx"), quantized=quantized)
    assert done.deviation.largest < 0.05
    expected = integers_of(quantized, model)[model.item_embedding.weight]
    stored = [numpy_helper.to_array(t) for t in onnx.load(done.path).graph.initializer]
    codes = pack(torch.from_numpy(expected.codes), expected.bits).numpy()
    tables = [array for array in stored if array.shape == codes.shape]
    assert len(tables) == 1  # looked up in and scored with, and there once
    assert np.array_equal(tables[0], codes)
    assert any(np.array_equal(array, expected.scales) for array in stored)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CpRecNextItNet", "CpRecGRU4Rec"])
def test_files_that_differ_in_their_integers_share_one_tracing(tmp_path, monkeypatch, name) -> None:
    _, model = made(name)
    traced, asked = encoder.traced, []
    monkeypatch.setattr(encoder, "traced", lambda *given: asked.append(1) or traced(*given))
    found, traces = {}, Traces()
    for bits in (8, 2):
        quantized, numbers = quantized_copy(model, QuantizationSpec(bits, bits)), made(name)[1]
        numbers.load_state_dict(model.state_dict())
        read_numbers_of(quantized, numbers)
        for kept in (traces, None):
            path = tmp_path / "m.onnx"
            export_model(numbers.eval(), str(path), quantized=quantized, traces=kept)
            found[bits, kept is None] = path.read_bytes()
        assert found[bits, False] == found[bits, True]
    assert found[2, False] != found[8, False] and len(asked) == 3  # one shared, two alone


@pytest.mark.parametrize(
    ("head", "bits"),
    [
        ("two_level", 32),
        ("tied_two_level", 4),
        slow("two_level", 4),
        slow("untied", 32),
        slow("tied_two_level", 32),
        slow("untied", 4),
    ],
)
def test_popular_items_may_have_any_ids(tmp_path, head, bits) -> None:
    _, model = made("CpRecNextItNet", item_head=head)
    rank = torch.randperm(N_ITEMS - 1, generator=torch.Generator().manual_seed(0))
    blocks = model.item_embedding.item_blocks
    blocks.load_state_dict({"rank_of_id": torch.cat([torch.tensor([-1]), rank]).int()})
    quantized = None
    if bits < 32:
        quantized = quantized_copy(model, QuantizationSpec(32, bits))
        read_numbers_of(quantized, model)
    done = export_model(model, str(tmp_path / "m.onnx"), quantized=quantized)
    assert done.deviation.largest < (1e-4 if bits == 32 else 0.05)


def test_masked_positions_are_left_out_without_subnormal_weights() -> None:
    softmax = helper.make_node("Softmax", ["x"], ["weights"], axis=-1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 50])
    weights = helper.make_tensor_value_info("weights", TensorProto.FLOAT, [4, 50])
    traced = Encoder(helper.make_graph([softmax], "encoder", [x], [weights]), [])
    graph = Graph()
    out = splice_encoder(graph, traced, {"x": "x"}, lambda graph, ids: ids, {})
    built = graph.model([x], [helper.make_tensor_value_info(out, TensorProto.FLOAT, [4, 50])])
    given = np.random.default_rng(0).normal(size=(4, 50), scale=5).astype(np.float32)
    given[:, 20:] -= 10_000
    (found,) = open_session(built.SerializeToString(), 1, "m.onnx").run(None, {"x": given})
    expected = torch.from_numpy(given).softmax(1).numpy()
    assert np.allclose(found, expected, atol=1e-7) and (expected[:, 20:] == 0).all()
    assert (found >= np.finfo(np.float32).tiny).all()


@pytest.mark.slow
def test_a_tied_table_is_stored_once(tmp_path) -> None:
    _, model = made("SASRec")
    done = export_model(model, str(tmp_path / "m.onnx"))
    tables = [t for t in onnx.load(done.path).graph.initializer if list(t.dims) == [N_ITEMS, 16]]
    assert len(tables) == 1


def test_a_tensor_train_table_is_never_built(tmp_path) -> None:
    _, model = made("TTSASRec")
    done = export_model(model, str(tmp_path / "m.onnx"))
    largest = max(int(np.prod(t.dims)) for t in onnx.load(done.path).graph.initializer)
    assert largest < N_ITEMS * 16


@pytest.mark.parametrize("bits", [slow(8), 4])
def test_a_quantized_tensor_train_is_scored_with_its_last_cores_integers(tmp_path, bits):
    _, model = made("TTSASRec", tt_ranks=32, embedding_size=64, tt_item_order="by_id")
    quantized = quantized_copy(model, QuantizationSpec(bits, bits))
    read_numbers_of(quantized, model)
    done = export_model(model, str(tmp_path / "m.onnx"), quantized=quantized, all_scores=True)
    assert 1e-6 < done.deviation.largest < 0.05  # activations are rounded
    expected = truth(model)[:, 1:]
    item_seq, length = (tensor.numpy() for tensor in sequences())
    found = Session(done.path).all_scores(item_seq, length)[:, 1:]
    spread = (expected.amax(1) - expected.amin(1)).numpy()[:, None]
    assert (abs(found - expected.numpy()) < 0.05 * spread).all()

    built = onnx.load(done.path).graph
    stored = [numpy_helper.to_array(tensor).reshape(-1) for tensor in built.initializer]
    codes = integers_of(quantized, model)[model.item_embedding.cores[-1]].codes.reshape(-1)
    in_the_file = codes if bits == 8 else codes[::2] | codes[1::2] << 4
    assert sum(np.array_equal(array, in_the_file) for array in stored) == 1


def test_integers_and_orders_are_made_ready_once_when_a_file_is_loaded(tmp_path) -> None:
    _, model = made("CpRecNextItNet")
    quantized = quantized_copy(model, QuantizationSpec(3, 3))
    read_numbers_of(quantized, model)
    done = export_model(model, str(tmp_path / "m.onnx"), quantized=quantized)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "ready.onnx")
    onnxruntime.InferenceSession(done.path, options, providers=["CPUExecutionProvider"])
    made_ready = {"BitShift", "BitwiseAnd", "BitwiseOr", "CumSum"}
    kinds = [
        {node.op_type for node in onnx.load(path).graph.node}
        for path in (done.path, options.optimized_model_filepath)
    ]
    assert made_ready <= kinds[0]
    assert not made_ready & kinds[1]


@pytest.mark.slow
def test_what_half_precision_cannot_hold_is_told(tmp_path) -> None:
    _, model = made("CpRecGRU4Rec", item_embedding="dense", item_head="tied")
    with torch.no_grad():
        model.item_embedding.weight[5, 0] = 7e4
    with pytest.raises(ExportError, match="table_bits=16: cannot hold 7e.04"):
        export_model(model, str(tmp_path / "m.onnx"), half=True)


def test_signs_of_the_smallest_scales_are_exported(tmp_path) -> None:
    """Half of such a scale is no half-precision number."""
    table = torch.nn.Embedding(50, 16, padding_idx=0)
    with torch.no_grad():
        table.weight[40:] *= 2e-5
    quantized = quantized_copy(table, QuantizationSpec(1, 1, scale_dtype="float16"))
    read_numbers_of(quantized, table)
    (integers,) = integers_of(quantized, table).values()
    assert np.array_equal(integers.dequantized(), table.weight.detach().numpy())


def test_half_precision_is_smaller(tmp_path) -> None:
    sizes = []
    for half in (False, True):
        _, model = made("CpRecSASRec", item_embedding="dense", item_head="tied", embedding_size=64)
        sizes.append(export_model(model, str(tmp_path / "m.onnx"), half=half).size_bytes)
    assert sizes[0] - sizes[1] > 0.9 * N_ITEMS * 64 * 2


def test_what_no_onnx_file_can_hold_is_refused(tmp_path, monkeypatch) -> None:
    _, model = made("SASRec")
    n_bytes = 4 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(writing, "LARGEST", n_bytes - 1)
    with pytest.raises(ExportError, match=r"file holds at most .*--table-bits=4"):
        export_model(model.eval(), str(tmp_path / "model.onnx"))
    assert list(tmp_path.iterdir()) == []
    quantized = quantized_copy(model, QuantizationSpec(8, 4))
    read_numbers_of(quantized, model)
    export_model(model, str(tmp_path / "model.onnx"), quantized=quantized)


def test_a_file_that_differs_is_not_left(tmp_path, monkeypatch) -> None:
    _, model = made("TTSASRec")
    path = tmp_path / "m.onnx"
    path.write_text("what was there before")
    real = writing.recommender_graph

    def wrong(*arguments):
        built = real(*arguments)
        for tensor in built.graph.initializer:
            if tensor.name.startswith("weight"):
                numbers = numpy_helper.to_array(tensor) * np.float32(1.01)
                tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
        return built

    monkeypatch.setattr(writing, "recommender_graph", wrong)
    with pytest.raises(ExportError, match="differ from the model's"):
        export_model(model, str(path))
    assert os.listdir(tmp_path) == ["m.onnx"]
    assert path.read_text() == "what was there before"


@pytest.mark.parametrize("k", [0, N_ITEMS])
def test_k_must_be_possible(tmp_path, k) -> None:
    with pytest.raises(ExportError, match=f"k={k}"):
        export_model(made("TTSASRec")[1], str(tmp_path / "m.onnx"), k=k)
