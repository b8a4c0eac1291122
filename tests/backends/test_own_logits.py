"""Log-probs through the public call, of models that do something to their logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import tiny_models

import valuebias
from valuebias import ValueBiasError

pytestmark = [
    pytest.mark.skipif(tiny_models.missing() is not None, reason="torch is not installed"),
    pytest.mark.filterwarnings("ignore"),  # transformers on its own slow paths
]

PROMPT = "What, in one word, is the greatest thing ever?"
WORDS = ["love", "power", "freedom"]
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16} | SPECIAL


def write(folder: Path, name: str, scale: float, **settings: Any) -> Path:
    import torch
    import transformers

    tiny_models.write_tokenizer(folder)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    auto = transformers.AutoConfig.for_model(name, vocab_size=size, **settings)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(auto)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(scale)
    model.save_pretrained(folder)
    return folder


def scored(folder: Path, **options: Any) -> np.ndarray:
    model = valuebias.Model(str(folder), name="m", template="plain")
    made = valuebias.score(
        model,
        prompts=valuebias.prompts({"p": PROMPT}, framing="positive"),
        lexicon=WORDS,
        progress=False,
        **{"kind": "logprob", **options},
    )
    return made["score"].to_numpy().ravel()


def by_transformers(folder: Path) -> list[float]:
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(folder)
    before = encode(f"{PROMPT}\n")["input_ids"]
    whole = [encode(f"{PROMPT}\n{word}")["input_ids"] for word in WORDS]
    assert all(ids[: len(before)] == before for ids in whole)
    found = naive.logprobs(folder, whole, [len(before)] * len(whole))
    return [float(np.sum(some)) for some in found]


@pytest.mark.parametrize(
    ("name", "scale", "settings"),
    [
        (
            "falcon_h1",
            40.0,
            {"lm_head_multiplier": 0.039, "mamba_d_ssm": 64, "mamba_n_heads": 4}
            | {"mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1},
        ),
        ("recurrent_gemma", 20.0, {"logits_soft_cap": 3.0, "lru_width": 64}),
        (
            "llama4_text",
            1.0,
            {"num_local_experts": 2, "num_experts_per_tok": 1, "intermediate_size_mlp": 48},
        ),
        ("granite", 20.0, {"logits_scaling": 7.0, "residual_multiplier": 0.3}),
        # Its layers differ in the size of their heads, which the whole configuration will not say.
        (
            "gemma4_text",
            20.0,
            {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
            | {"global_head_dim": 32, "sliding_window": 8, "final_logit_softcapping": 3.0}
            | {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 512}
            | {"num_kv_shared_layers": 0},
        ),
    ],
)
def test_log_probs_are_the_models_own(
    tmp_path: Path, name: str, scale: float, settings: dict[str, Any]
) -> None:
    layers = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    folder = write(tmp_path, name, scale, **layers, **SMALL, **settings)
    np.testing.assert_allclose(scored(folder), by_transformers(folder), rtol=0, atol=1e-4)


def test_rewards_of_an_architecture_without_a_class_for_them_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    folder = write(tmp_path, "llama4_text", 1.0, **layers, **SMALL, num_local_experts=2)
    weights = load_file(folder / "model.safetensors")
    save_file(
        weights | {"score.weight": weights["lm_head.weight"][:1].clone()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueBiasError, match="no model with a classification head for Llama4Text"):
        scored(folder, kind="reward")


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    folder = write(tmp_path, "bert", 1.0, **layers, num_attention_heads=4, pad_token_id=0)
    with pytest.raises(ValueBiasError, match=r"\(BertLMHeadModel\) is an encoder: each of its"):
        scored(folder)
