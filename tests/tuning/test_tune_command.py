"""``recbole-compress tune``, as a user types it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from recbole_compress import changed_defaults
from recbole_compress.changed_defaults import CHANGED_DEFAULTS, ChangedDefault
from recbole_compress.config import Config
from recbole_compress.config.properties_folder import hyper_file
from recbole_compress.quick_start import trial as module
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.quick_start.tune import _search
from recbole_compress.quick_start.unread_in_search import without_unread
from recbole_compress.tuning.space import read_space
from tests.conftest import write_interactions
from tests.refusals import refusal

# Right by type, but RecBole has no such distribution.
SAMPLES = "train_neg_sample_args choice [{'distribution': 'normal', 'sample_num': 1}]\n"
RATES = "learning_rate choice [0.02,0.001]"


def search_of(path: str) -> dict:
    return json.loads(Path(path).read_text())


@pytest.fixture
def hyperopt():
    return pytest.importorskip("hyperopt")


def test_a_config_file_that_comes_with_us(hyperopt, job, write_space):
    tune = ["tune", *job, write_space(RATES), "--max_evals=1", "--output_file=out/a.result"]
    assert main([*tune, "--config_files=properties/model/CpRecGRU4Rec.yaml"]) == 0


def test_exhaustive_search_from_space_to_files(hyperopt, job, write_space, capsys):
    space = write_space(RATES, "item_head choice [two_level,tied]  # two")
    tune = ["tune", *job, space, "--algo=exhaustive", "--output_file=out/a.result"]
    assert main(tune) == 0
    printed = capsys.readouterr().out
    trials = search_of("out/a.json")["trials"]
    asked = {(t["settings"]["learning_rate"], t["settings"]["item_head"]) for t in trials}
    assert len(trials) == 4
    assert asked == {(rate, head) for rate in (0.02, 0.001) for head in ("two_level", "tied")}

    best = max(trials, key=lambda trial: trial["valid"]["ndcg@10"])
    assert best["score"] == best["valid"]["ndcg@10"]
    settings = yaml.safe_load(Path("out/a.yaml").read_text())
    assert best["settings"].items() <= settings.items()
    assert f"--learning_rate={best['settings']['learning_rate']}" in printed.split("best")[1]
    assert f"ndcg@10 {best['test']['ndcg@10']:.4f}" in printed

    text = Path("out/a.result").read_text()  # RecBole's
    assert text.count("Valid result:") == text.count("Test result:") == 4

    # The config file is all that a run needs, and the run is the trial again.
    result = run_recbole_compress(config_file_list=["out/a.yaml"])
    assert result["best_valid_score"] == best["score"]
    assert dict(result["test_result"]) == best["test"]
    assert result["card"]["parameters"]["total"] == best["parameters"]


def test_a_setting_of_several_values_goes_through_the_config_file(
    hyperopt, job, write_space, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # RecBole writes into it
    gpus = ("--gpu_id=0,1", "--use_gpu=False", "--topk=(5,10)")
    tune = ["tune", *job, *gpus, write_space("learning_rate choice [0.02]")]
    assert main([*tune, "--algo=exhaustive", "--output_file=a.result"]) == 0
    config = Config(config_file_list=["a.yaml"])
    assert config["gpu_id"] == "0,1" and config["topk"] == [5, 10]


def test_finished_trials_are_not_run_again(hyperopt, job, write_space, monkeypatch, capsys):
    """Interrupted in the third trial and repeated; then the space grows."""
    run, calls = module.run_recbole_compress, []

    def interrupted(**arguments):
        calls.append(arguments["config_dict"]["learning_rate"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(**arguments)

    monkeypatch.setattr(module, "run_recbole_compress", interrupted)
    tune = ["tune", *job, write_space("learning_rate choice [0.1,0.02,0.001]"), "--seed=7"]
    tune += ["--algo=exhaustive"]
    assert main(tune) == 130
    assert "go on with the same command" in capsys.readouterr().err
    assert main(tune) == 0
    assert len(calls) == 4 and calls[2] == calls[3] and len(set(calls)) == 3
    assert main(tune) == 0
    assert len(calls) == 4
    write_space("learning_rate choice [0.1,0.02,0.001,0.002]")
    assert main(tune) == 0
    assert calls[4:] == [0.002]
    assert main([*tune, "--topk=[5,10]"]) == 2
    assert "topk was [10], is [5, 10]" in capsys.readouterr().err


def test_two_searches_do_not_write_one_file(hyperopt, job, write_space, monkeypatch, capsys):
    run, others = module.run_recbole_compress, []
    tune = ["tune", *job, write_space("learning_rate choice [0.02]"), "--output_file=out/a.result"]

    def while_another_begins(**arguments):
        others.append(main([*tune, "--algo=random"]))
        return run(**arguments)

    monkeypatch.setattr(module, "run_recbole_compress", while_another_begins)
    assert main([*tune, "--algo=exhaustive"]) == 0
    assert others == [2]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert "output_file=out/a.result: another search is running there; wait, or" in line


def test_trials_of_a_quantized_model_are_quantized(hyperopt, job, write_space, monkeypatch):
    run, models = module.run_recbole_compress, []

    def watched(**arguments):
        result = run(**arguments)
        models.append((result["card"]["model"], result["card"]["choices"]["table_bits"]))
        return result

    monkeypatch.setattr(module, "run_recbole_compress", watched)
    quantized = ["--model=DFQCpRecGRU4Rec", *job[1:], "--quantization_recipe=ptq"]
    space = write_space("table_bits choice [2,8]")
    assert main(["tune", *quantized, space, "--algo=exhaustive"]) == 0
    assert sorted(models) == [("DFQCpRecGRU4Rec", 2), ("DFQCpRecGRU4Rec", 8)]


@pytest.mark.parametrize("algo", ["random", "bayes"])
def test_drawing_repeats_with_the_seed_and_goes_on(hyperopt, job, write_space, algo):
    space = write_space("learning_rate loguniform -7,-4", "hidden_size quniform 16,48,16")
    tune = ["tune", *job, space, f"--algo={algo}"]
    assert main([*tune, "--max_evals=2", "--output_file=a.result"]) == 0
    assert main([*tune, "--max_evals=3", "--output_file=a.result"]) == 0
    assert main([*tune, "--max_evals=3", "--output_file=b.result"]) == 0

    def outcome(path):
        return [(t["settings"], t["score"], t["test"]) for t in search_of(path)["trials"]]

    assert len(outcome("a.json")) == 3
    assert outcome("a.json") == outcome("b.json")


def test_failing_trials_are_reported_and_skipped(hyperopt, job, write_space, capsys):
    space = write_space("learning_rate choice [0.01,1e30]", "n_item_blocks choice [2,500]")
    assert main(["tune", *job, space, "--algo=exhaustive", "--output_file=a.result"]) == 0
    trials = search_of("a.json")["trials"]
    failed = [trial for trial in trials if trial["status"] == "failed"]
    assert len(trials) == 4 and 2 <= len(failed) <= 3
    assert any("n_item_blocks=500" in trial["error"] for trial in failed)
    assert capsys.readouterr().out.count("skipped: ") == len(failed)
    assert len(re.findall("Valid result", Path("a.result").read_text())) == 4 - len(failed)


@pytest.mark.parametrize(
    "model, line, error",
    [
        (
            "SASRec",
            "hidden_act choice [nothing]",
            "ConfigError: model=SASRec: cannot be made with these settings: there is no",
        ),
        (
            "NARM",
            "dropout_probs choice [[0.1]]",
            "ConfigError: model=NARM: cannot be made with these settings: ",
        ),
        ("NextItNet", "dilations choice [[a]]", "TypeError: "),
    ],
)
def test_however_a_stock_model_refuses_a_value_the_trial_alone_fails(
    hyperopt, job, write_space, capsys, model, line, error
):
    tune = ["tune", f"--model={model}", *job[1:], write_space(line), "--algo=exhaustive"]
    assert main(tune) == 2
    assert f"none of 1 trials finished; the first: {error}" in capsys.readouterr().err


def test_a_loss_that_is_no_number_fails_its_trial_alone(hyperopt, job, write_space, monkeypatch):
    from recbole_compress.models import CpRecGRU4Rec

    loss = CpRecGRU4Rec.calculate_loss

    def calculate_loss(self, interaction):
        scale = float("nan") if self.backbone.gru.hidden_size == 48 else 1.0
        return loss(self, interaction) * scale

    monkeypatch.setattr(CpRecGRU4Rec, "calculate_loss", calculate_loss)
    space = write_space("hidden_size choice [16,48]")
    assert main(["tune", *job, space, "--algo=exhaustive", "--output_file=a.result"]) == 0
    status = {t["settings"]["hidden_size"]: t for t in search_of("a.json")["trials"]}
    assert status[16]["status"] == "finished"
    assert status[48]["status"] == "failed" and "loss is nan" in status[48]["error"]


def test_a_trial_without_a_validation_score_is_a_failed_one(hyperopt, job, write_space, capsys):
    """Of three items one is read, one learned and one tested: nothing that settings could tell."""
    short = [[f"i{(u + step) % 41}" for step in range(3)] for u in range(60)]
    write_interactions(Path("tiny").parent, "tiny", short)
    assert main(["tune", *job, write_space(RATES), "--algo=exhaustive"]) == 2
    printed = capsys.readouterr()
    assert re.search("none of 2 trials finished.*the validation score is -inf", printed.err)
    assert printed.out.count("skipped: the validation score is -inf") == 2


def test_all_trials_failing_is_an_error(hyperopt, job, write_space, capsys):
    space = write_space("n_item_blocks choice [400,500]")
    assert main(["tune", *job, space]) == 2
    assert re.search(
        "none of 2 trials finished; the first: .*n_item_blocks", capsys.readouterr().err
    )


def test_what_every_trial_would_fail_at_ends_the_search(hyperopt, job, write_space, capsys):
    space = write_space(RATES)
    assert main(["tune", *job[:2], "--data_path=nowhere", *job[3:], space]) == 2
    printed = capsys.readouterr()
    assert "no folder" in printed.err
    assert "trial 1" not in printed.out


def test_our_models_have_a_space_and_fixed_keys_leave_it(hyperopt, job, capsys):
    fixed = ["--learning_rate=0.01", "--hidden_size=24"]
    assert main(["tune", *job, *fixed, "--max_evals=1", "--output_file=a.result"]) == 0
    (trial,) = search_of("a.json")["trials"]
    assert "item_head" in trial["settings"]
    assert not {"learning_rate", "hidden_size"} & set(trial["settings"])
    assert yaml.safe_load(Path("a.yaml").read_text())["hidden_size"] == 24


def test_what_the_given_choices_do_not_read_leaves_the_models_own_space(hyperopt, job, capsys):
    dense = ["--item_embedding=dense", "--item_head=tied", "--tt_ratio=20", "--max_evals=1"]
    assert main(["tune", *job, *dense, "--output_file=a.result"]) == 0
    (trial,) = search_of("a.json")["trials"]
    assert set(trial["settings"]) == {"learning_rate", "embedding_dropout_prob", "hidden_size"}
    printed = capsys.readouterr().out
    assert re.search("n_item_blocks is not read with item_embedding=dense.*: left out", printed)
    assert "tt_ratio is not read" in printed and "20 changes nothing" in printed


def test_a_key_that_some_trials_do_not_read_is_told_of(hyperopt, job, write_space, capsys):
    space = write_space("item_embedding choice [blockwise,low_rank]", "low_rank_dim choice [4,8]")
    assert main(["tune", *job, space, "--algo=exhaustive", "--output_file=a.result"]) == 0
    printed = capsys.readouterr().out
    assert "low_rank_dim is not read with item_embedding=blockwise:" in printed
    scores = [trial["score"] for trial in search_of("a.json")["trials"]]
    equals = scores.count(max(scores))
    assert ("the first of 2 trials with this score" in printed) == (equals == 2)


@pytest.mark.parametrize("model", ["CpRecGRU4Rec", "CpRecNextItNet", "CpRecSASRec", "TTSASRec"])
def test_the_spaces_that_come_with_models_are_read(model, capsys):
    config = Config(model, "ml-100k")
    space = read_space(hyper_file(model))
    assert without_unread(config, space, of_the_user=True) == space
    assert not capsys.readouterr().out


def test_a_stock_model_with_a_space_of_the_users(hyperopt, job, write_space):
    stock = ["tune", "--model=GRU4Rec", *job[1:], write_space(RATES)]
    assert main([*stock, "--algo=exhaustive", "--output_file=a.result"]) == 0
    assert len(search_of("a.json")["trials"]) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "--model=GRU4Rec",
            "GRU4Rec: has no search space of its own; add --params_file=FILE.hyper",
        ),
        ("--algo=bays", "algo='bays'.*did you mean 'bayes'"),
        ("--max_evals=0", "max_evals=0: expected a number of at least 1"),
        ("--max_evals=many", "max_evals='many'.*expected int"),
        ("--max_eval=3", "--max_eval: did you mean --max_evals"),
        ("--lerning_rate=3", "lerning_rate .*'learning_rate'"),
        ("--tool=ray", "tool='ray'.*did you mean 'Ray'"),
        ("--cpus_per_trial=2", "works with --tool=Ray only"),
        ("--params_file=no.hyper", "no such file"),
        ("--params_file=unknown.hyper", "unknown.hyper, line 2.*did you mean 'hidden_size'"),
        ("--params_file=range.hyper", "tide.*range.hyper, line 1.*did you mean 'tied'"),
        ("--params_file=samples.hyper", "samples.hyper, line 1: RecBole refuses these settings"),
        ("--output_file=a.json", "that is where the json file goes"),
        ("--resume=x.pth", "repeat the same tune command"),
        ("--epochs=0", "epochs=0: nothing is validated.*choose 1 or more"),
        ("--eval_step=0", "eval_step=0: nothing is validated"),
        ("--eval_args={'split': {'LS': 'test_only'}}", "test_only.*nothing is validated"),
        ("--eval_args={'split': {'RS': [0.9,0,0.1]}}", "RS.*nothing is validated.*valid_and_test"),
        (
            "--params_file=unread.hyper",
            "unread.hyper, line 2: tt_ratio, low_rank_dim: not read with",
        ),
        ("--params_file=steps.hyper", "steps.hyper, line 1: eval_step=0: nothing is validated"),
    ],
)
def test_bad_input_gets_one_line_before_the_first_trial(hyperopt, job, wrong, message, capsys):
    Path("unknown.hyper").write_text("# sizes\nhiden_size choice [16,32]\n")
    Path("range.hyper").write_text("item_head choice [tide]\n")
    Path("samples.hyper").write_text(SAMPLES)
    Path("unread.hyper").write_text(
        f"{RATES}\ntt_ratio choice [20,40]\nlow_rank_dim choice [4,8]\n"
    )
    Path("steps.hyper").write_text("eval_step choice [1,0]\n")
    kept = [argument for argument in job if argument.split("=")[0] != wrong.split("=")[0]]
    assert main(["tune", *kept, wrong]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert re.search(message, line), line
    assert "trial" not in printed.out
    assert not os.path.exists("saved")


@pytest.mark.parametrize("tool, advice", [("Hyperopt", "hyperopt==0.2.5"), ("Ray", r"ray\[tune\]")])
def test_without_the_tool_one_line_says_how_to_get_it(job, monkeypatch, capsys, tool, advice):
    name = tool.lower()
    for loaded in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["tune", *job, f"--tool={tool}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"pip install .*{advice}", line)


def test_help_names_the_command(capsys):
    assert main(["help"]) == 0
    assert "tune --model" in capsys.readouterr().out


def test_searches_of_another_default_are_other_searches():
    def search(**more):
        given = {"MAX_ITEM_LIST_LENGTH": 6, "recipe": "distillation", **more}
        return _search(Config("CpRecGRU4Rec", "tiny", config_dict=given), [])

    assert search()["kd_contrastive_weight"] == search()["kd_predictive_weight"] == 0.0
    assert search()["kd_soft_target_weight"] == 0.4
    assert search(kd_contrastive_weight=0.2)["kd_contrastive_weight"] == 0.2
    assert "kd_contrastive_weight" not in search(recipe="cross_entropy")


def test_a_default_counts_where_only_some_trials_read_it(write_space):
    config = Config("CpRecGRU4Rec", "tiny", config_dict={"MAX_ITEM_LIST_LENGTH": 6})
    write_space("item_embedding choice [dense,tensor_train]")
    assert "tt_item_order" not in _search(config, [])
    assert _search(config, read_space("space.hyper"))["tt_item_order"] == "scattered"


def test_a_search_goes_on_when_a_default_of_its_own_is_said_or_becomes_another(
    hyperopt, job, write_space, monkeypatch, capsys
):
    tune = ["tune", *job, write_space("learning_rate choice [0.02]"), "--output_file=a.result"]
    train = ["--item_embedding=tensor_train", "--item_head=tied", "--tt_ratio=2"]
    assert main([*tune, *train]) == 0
    assert "trial 1" in capsys.readouterr().out
    was = {"hidden_size": ChangedDefault(32, "hidden_size", is_read=lambda config: True)}
    monkeypatch.setattr(changed_defaults, "CHANGED_DEFAULTS", {**CHANGED_DEFAULTS, **was})
    for more in ([], ["--tt_item_order=scattered"]):
        assert main([*tune, *train, *more]) == 0
        assert "trial 1" not in capsys.readouterr().out
    message = "tt_item_order was 'scattered', is 'by_id'"
    assert message in refusal(capsys, [*tune, *train, "--tt_item_order=by_id"])
