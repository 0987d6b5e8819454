"""RecBole's precedence, RecBole's defaults, and nothing passed over in silence."""

from __future__ import annotations

import os
import pickle

import pytest
import yaml
from recbole.config import Config as RecBoleConfig
from recbole.utils.argument_list import dataset_arguments

from recbole_compress.config import Config
from recbole_compress.config.parsed_files import parsed
from recbole_compress.config.values import PlainLoader
from recbole_compress.errors import ConfigError
from recbole_compress.models import CpRecNextItNet


def make(*command_line, model="SASRec", dataset="ml-100k", **kwargs):
    return Config(model, dataset, command_line=list(command_line), **kwargs)


def refusal(*command_line, **kwargs):
    with pytest.raises(ConfigError) as error:
        make(*command_line, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def files(tmp_path):
    for name, text in {
        "weak.yaml": "epochs: 1\nseed: 1\nstopping_step: 1\neval_step: 1\n",
        "strong.yaml": "seed: 2\nstopping_step: 2\neval_step: 2\n",
        "my file.yaml": "eval_step: 9\n",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_files_then_dict_then_command_line(files):
    config = make(
        "--eval_step=4",
        config_file_list=[str(files / "weak.yaml"), files / "strong.yaml"],
        config_dict={"stopping_step": 3, "eval_step": 3},
    )
    keys = ("epochs", "seed", "stopping_step", "eval_step")
    assert [config[key] for key in keys] == [1, 2, 3, 4]


def test_config_files_on_the_command_line_come_after_the_list(files, monkeypatch):
    monkeypatch.chdir(files)
    config = make("--config_files=strong.yaml", config_file_list="weak.yaml")
    assert (config["epochs"], config["seed"]) == (1, 2)
    assert make("--config_files=weak.yaml strong.yaml")["seed"] == 2
    assert make("--config_files=['my file.yaml']")["eval_step"] == 9
    assert make(config_dict={"config_files": "strong.yaml"})["seed"] == 2
    assert "no such file" in refusal("--config_files=absent.yaml")


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BERT4Rec", "CpRecNextItNet"])
def test_the_defaults_are_recboles(model):
    ours = make(model=model)
    theirs = RecBoleConfig(model, "ml-100k", config_dict={"train_neg_sample_args": None})
    different = {
        key
        for key, value in theirs.final_config_dict.items()
        if ours[key] != value and key != "device"
    }
    assert not different
    assert ours["training_targets"] == "all"


def test_cross_entropy_needs_no_extra_argument():
    assert make(model="GRU4Rec")["train_neg_sample_args"]["distribution"] == "none"
    sampled = make("--loss_type=BPR", model="GRU4Rec")["train_neg_sample_args"]
    assert sampled["distribution"] == "uniform"
    assert "train_neg_sample_args" in refusal(
        "--train_neg_sample_args={'distribution': 'uniform'}", model="GRU4Rec"
    )
    with pytest.raises(ValueError, match="train_neg_sample_args"):  # RecBole's own is as it was
        RecBoleConfig("GRU4Rec", "ml-100k")


def test_model_and_dataset_from_anywhere(files):
    (files / "run.yaml").write_text("model: SASRec\ndataset: ml-100k\n")
    config = Config(config_file_list=[files / "run.yaml"], command_line=["--model=GRU4Rec"])
    assert (config["model"], config["dataset"]) == ("GRU4Rec", "ml-100k")
    config = make(model=CpRecNextItNet)
    assert (config["model"], config.model_class) == ("CpRecNextItNet", CpRecNextItNet)
    config = Config("SASRec", command_line=["--dataset=2019"])
    assert config["dataset"] == "2019"


def test_a_missing_or_unknown_model_or_dataset():
    assert "--model=" in refusal(model=None)
    assert "--dataset=" in refusal(dataset=None)
    assert "did you mean 'SASRec'" in refusal(model="sasrec")
    assert "'CpRecNextItNet'" in refusal(model="CpRecNextitNett")
    assert "lightgbm" not in refusal(model="NoSuchModel")
    assert "expected" in refusal(model=3)
    assert "expected" in refusal(dataset=3)


def test_texts_are_never_evaluated(in_tmp):
    attack = "__import__('pathlib').Path('broken').touch()"
    for kwargs in ({"config_dict": {"wandb_project": attack}}, {}):
        arguments = [] if kwargs else [f"--wandb_project={attack}"]
        assert make(*arguments, **kwargs)["wandb_project"] == attack
    assert "expected float" in refusal("--learning_rate=1/0")
    assert not list(in_tmp.iterdir())


def test_values_from_the_command_line():
    config = make(
        "--learning_rate=1e-4",
        "--metrics=['NDCG','Hit']",
        "--topk=5,10",
        "--valid_metric=NDCG@10",
        "--eval_args={'split': {'LS': 'valid_and_test'}, 'order': 'TO', 'mode': 'uni100'}",
        "--user_inter_num_interval=[5,10]",
        "--checkpoint_dir=a=b",
        "--gpu_id=0,1",
        "--shuffle=false",
    )
    assert config["learning_rate"] == 1e-4
    assert config["metrics"] == ["NDCG", "Hit"] and config["topk"] == [5, 10]
    assert config["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}
    assert config["user_inter_num_interval"] == "[5,10]"
    assert config["checkpoint_dir"] == "a=b"
    assert config["gpu_id"] == "0,1"
    assert config["shuffle"] is False


def test_config_dict_is_read_as_hyper_tuning_writes_it_and_left_alone():
    settings = {"eval_step": "3", "metrics": "['NDCG']", "valid_metric": "NDCG@10"}
    config = make(config_dict=settings)
    assert config["eval_step"] == 3 and config["metrics"] == ["NDCG"]
    assert settings == {"eval_step": "3", "metrics": "['NDCG']", "valid_metric": "NDCG@10"}
    assert "dict of settings" in refusal(config_dict=["epochs=3"])


def test_the_source_of_a_fault_is_named(files):
    (files / "typo.yaml").write_text("epoch: 3\nseed: one\n")
    path = str(files / "typo.yaml")
    assert path in refusal(config_file_list=[path])
    assert "(config_dict)" in refusal(config_dict={"epoch": 3})
    assert "(command line)" in refusal("--epoch=3")
    # a weaker source's fault is not laid at a stronger one's door
    assert "(command line)" in refusal("--seed=two", "--epoch=3", config_dict={"seed": "one"})


def test_the_command_line_of_the_process_is_left_alone(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest", "--epochs=77", "--no-such-key=1"])
    assert make()["epochs"] == 300


@pytest.mark.parametrize(
    "argument, fault",
    [
        ("--metrics=ndgc", "did you mean 'ndcg'"),
        ("--metrics=[NDCG, 3]", "metrics: 3"),
        ("--topk=5", "valid_metric='MRR@10'"),
        ("--topk=[]", "topk=[]: name at least one"),
        ("--metrics=[]", "metrics=[]: name at least one"),
        ("--eval_args={'split': {'RS': [0.8, 0.2]}}", "split={'RS': [0.8, 0.2]}: choose"),
        ("--eval_args={'split': {'LS': 'all'}}", "split={'LS': 'all'}"),
        ("--eval_args={'split': {'XX': [1]}}", "split={'XX': [1]}"),
        ("--eval_args={'split': 'RS'}", "split=RS"),
        ("--eval_args={'group_by': 'foo'}", "group_by='foo'"),
        ("--seed=-1", "seed=-1"),
        ("--initializer_range=-1", "initializer_range=-1"),
        ("--learner=adamm", "learner='adamm'"),
        ("--user_inter_num_interval=5", "user_inter_num_interval='5': expected [5,inf)"),
        ("--item_inter_num_interval=[5,inf", "item_inter_num_interval='[5,inf'"),
        ("--topk=-1", "topk must be"),
        ("--eval_args={'mode': 'best'}", "mode='best': choose full, labeled"),
        ("--eval_args={'mode': 'labeled'}", "are of ranks, which rows with labels"),
        ("--eval_args={'mode': {'valid': 'full', 'test': 'uni'}}", "mode='uni': choose full"),
        ("--repeatable=False", "repeatable"),
        ("--metrics=['NDCG','AUC']", "same time"),
        ("--learning_rate=-0.1", "learning_rate=-0.1: choose a number above 0"),
        ("--train_batch_size=0", "train_batch_size=0: choose 1 or more"),
        ("--hidden_dropout_prob=1.5", "hidden_dropout_prob=1.5: choose a number from 0 to 1"),
        ("--MAX_ITEM_LIST_LENGTH=0", "MAX_ITEM_LIST_LENGTH=0: choose 1 or more"),
        ("--epochs=-1", "epochs=-1: choose 0 or more"),
    ],
)
def test_recboles_own_complaints_come_as_one_line(argument, fault):
    assert fault in refusal(argument)


def test_use_gpu_decides_the_device(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert make("--use_gpu=False")["device"].type == "cpu"
    assert make("--use_gpu=True")["device"].type == "cuda"


def test_gpus_are_named_before_anybody_asks_for_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    seen = []

    def asked():
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
        return False

    monkeypatch.setattr("torch.cuda.is_available", asked)
    make("--gpu_id=1")
    assert set(seen) == {"1"}


def test_eval_args_without_an_order_keep_that_of_sequences():
    """RecBole fills in a random order and then refuses it."""
    whole = make("--eval_args={'mode': 'uni100'}")["eval_args"]
    assert whole["order"] == "TO" and whole["split"] == {"LS": "valid_and_test"}
    assert whole["mode"] == {"valid": "uni100", "test": "uni100"}
    split = make("--eval_args={'split': {'RS': [8, 1, 1]}}")["eval_args"]
    assert split["order"] == "TO" and split["split"] == {"RS": [8, 1, 1]}
    # With an order it is a whole of RecBole's, whose split is another.
    assert make("--eval_args={'order': 'TO'}")["eval_args"]["split"] == {"RS": [0.8, 0.1, 0.1]}


def test_it_pickles_and_holds_what_recboles_holds():
    config = make("--epochs=3")
    twin = pickle.loads(pickle.dumps(config))
    assert type(twin) is Config and twin.final_config_dict == config.final_config_dict
    assert twin["epochs"] == 3 and "epochs" in twin and twin.epochs == 3 and str(twin)
    assert set(vars(config)) == set(vars(RecBoleConfig("Pop", "ml-100k")))


def test_one_run_leaves_no_trace_in_the_next(tmp_path):
    before = list(dataset_arguments)
    resolvers = len(yaml.SafeLoader.yaml_implicit_resolvers.get("1", []))
    Config("CpRecNextItNet", "tmall", config_dict={"data_path": str(tmp_path)})
    make()
    assert dataset_arguments == before
    assert len(yaml.SafeLoader.yaml_implicit_resolvers.get("1", [])) == resolvers


def test_relative_data_paths_stay_relative(in_tmp):
    assert make(dataset="tmall")["data_path"] == "dataset/tmall"


def test_files_of_defaults_are_parsed_once_and_again_when_they_change(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("topk: [5]\n")
    first = parsed(file, PlainLoader)
    first["topk"].append(10)
    assert parsed(file, PlainLoader) == {"topk": [5]}
    file.write_text("topk: [5, 20]\n")
    assert parsed(file, PlainLoader) == {"topk": [5, 20]}
