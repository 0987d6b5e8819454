"""The keys that say something only of a model that is quantized."""

from __future__ import annotations

from recbole_compress.config.properties_folder import overall_yaml
from recbole_compress.config.schema import declared_in
from recbole_compress.trainers.quantization_settings import SPEC_KEYS

__all__ = ["KEYS_OF_QUANTIZATION"]

KEYS_OF_QUANTIZATION = {
    *SPEC_KEYS,
    *("quantization_recipe", "quantization_max_bytes"),
    *("full_precision_path", "calibration_sequences"),
    *(key for key in declared_in(overall_yaml()) if key.startswith("df_")),
}
