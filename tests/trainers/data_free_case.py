"""A teacher and a quantized student on a small data set, for the tests of data-free training."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch

from recbole_compress.config import Config
from recbole_compress.data.train_sequences import train_sequences
from recbole_compress.datafree import Sequences
from recbole_compress.quantization import QuantizationSpec, quantize_
from recbole_compress.quick_start.host_models import dataset_class
from recbole_compress.trainers.adversarial_trainer import AdversarialTrainer
from recbole_compress.trainers.noise_trainer import NoiseTrainer
from recbole_compress.trainers.qat_trainer import QATTrainer
from recbole_compress.trainers.quantization_job import QuantizationJob
from recbole_compress.trainers.self_sample_trainer import SelfSampleTrainer

__all__ = ["ALONE", "Case"]

SETTINGS = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": 8,
    "df_sequences": 60,
    "df_valid_sequences": 100,
    "df_batch_size": 20,
    "df_epochs": 4,
    "df_learning_rate": 0.003,
    "df_grid_rate": 0.02,
    "df_ranking_items": 5,
    "df_similarity_items": 20,
    "df_student_steps": 2,
}
SMALL = {
    "SASRec": {"hidden_size": 16, "inner_size": 16},
    "BERT4Rec": {"hidden_size": 16, "inner_size": 16},
    "GRU4Rec": {"hidden_size": 16, "embedding_size": 16},
}
# Trainers that no data reach.
ALONE = [SelfSampleTrainer, NoiseTrainer, AdversarialTrainer]


class Case:
    """A teacher and a student of 2 bits."""

    def __init__(self, path, model="SASRec", **settings):
        settings = {**SETTINGS, **SMALL.get(model, {}), "data_path": path, **settings}
        self.config = Config(model, "tiny", config_dict=settings)
        self.split = dataset_class(self.config)(self.config).build()[0]
        torch.manual_seed(0)
        self.teacher = self.config.model_class(self.config, self.split).eval()
        with torch.no_grad():
            for parameter in self.teacher.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        self.student = copy.deepcopy(self.teacher)
        quantize_(self.student, QuantizationSpec(2, 2, activation_bits=8, learn_steps=True))

    def trainer(self, kind, **arguments):
        if kind is QATTrainer:
            arguments["real"] = Sequences(*train_sequences(self.split, 8))
        return kind(self.config, self.student, self.teacher, **arguments)

    def drawn_again(self):
        return self.config.model_class(self.config, self.split)

    def job(self, model, spec):
        loader = SimpleNamespace(_dataset=self.split)
        return QuantizationJob(model, spec, self.config, lambda: loader, self.drawn_again)
