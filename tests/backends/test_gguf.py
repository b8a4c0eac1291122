"""GGUF files give what the model that they were made of gives, or are refused by what they lack."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gguf_models
import numpy as np
import pytest
import small_models
from gguf_models import sizes

from valuebias.backends.base import Source
from valuebias.backends.testing.samples import lay_out
from valuebias.backends.torch_backend import TorchBackend
from valuebias.errors import ValueBiasError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module", autouse=True)
def _names_once() -> Iterator[None]:
    """Make gguf's names of an architecture's weights once: transformers asks for each module.

    For the 62 layers of a model that was nine tenths of this file's time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map))
        yield


VOCABULARY = 97
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
YARN_ENTRIES = {
    "rope.freq_base": 1e4, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 128,
}  # fmt: skip
LINEAR_ENTRIES = {
    "rope.freq_base": 3e4, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 3e4, "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip
SHORT, LONG = [1.0, 1.1, 1.2, 1.3], [2.0, 2.5, 3.0, 4.0]
LAYERS_3 = {**SHAPE, "num_hidden_layers": 4}
GEMMA = {**SHAPE, "num_hidden_layers": 7, "head_dim": 256}

Made = tuple[Any, str, dict[str, Any], dict[str, np.ndarray]]


def factors(config: Any) -> np.ndarray:
    """What frequencies are divided by, from transformers' own function."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    dim = config.head_dim
    plain = 1 / config.rope_parameters["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    return plain / scaled.double().numpy()


def of(name: str, config: Any, arch: str, entries: dict[str, Any], **extra: Any) -> Made:
    return (getattr(transformers, name)(config), arch, {**sizes(config), **entries}, extra)


def llama(entries: dict[str, Any] = {}, **changed: Any) -> Made:  # noqa: B006
    config = transformers.LlamaConfig(**{**SHAPE, **changed})
    return of(
        "LlamaForCausalLM", config, "llama", {"rope.dimension_count": config.head_dim, **entries}
    )


def llama3(theta: float = 5e5, **changed: Any) -> Made:
    rope = {**LLAMA3, "rope_theta": theta, **changed}
    made = llama({"rope.freq_base": theta}, head_dim=64, rope_parameters=rope)
    made[3]["rope_freqs.weight"] = factors(made[0].config)
    return made


def gemma2() -> Made:
    config = transformers.Gemma2Config(
        **GEMMA, sliding_window=8, attn_logit_softcapping=20.0, final_logit_softcapping=5.0
    )
    entries = {
        "attention.sliding_window": 8, "attn_logit_softcapping": 20.0,
        "final_logit_softcapping": 5.0,
    }  # fmt: skip
    return of("Gemma2ForCausalLM", config, "gemma2", entries)


def gemma2_27b() -> Made:
    config = transformers.Gemma2Config(
        **{**SHAPE, "num_hidden_layers": 46}, head_dim=16, query_pre_attn_scalar=8, sliding_window=8
    )
    return of("Gemma2ForCausalLM", config, "gemma2", {"attention.sliding_window": 8})


def gemma3(**changed: Any) -> Made:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
    }
    config = transformers.Gemma3TextConfig(**GEMMA, sliding_window=8, rope_parameters=rope)
    entries = {
        "attention.sliding_window": 8, "rope.freq_base": 1e6, "rope.freq_base_swa": 2e4,
        "rope.scaling.type": "linear", "rope.scaling.factor": 8.0, **changed,
    }  # fmt: skip
    return of("Gemma3ForCausalLM", config, "gemma3", entries)


def gemma3_27b() -> Made:
    kinds = ["full_attention", "sliding_attention"] * 31
    config = transformers.Gemma3TextConfig(
        **{**SHAPE, "num_hidden_layers": 62}, head_dim=16, query_pre_attn_scalar=8,
        sliding_window=8, final_logit_softcapping=7.0, layer_types=kinds,
    )  # fmt: skip
    entries = {
        "attention.sliding_window": 8, "rope.freq_base": 1e6, "final_logit_softcapping": 7.0,
        "attention.sliding_window_pattern": [kind.startswith("s") for kind in kinds],
    }  # fmt: skip
    return of("Gemma3ForCausalLM", config, "gemma3", entries)


def gemma3_without_windows() -> Made:
    config = transformers.Gemma3TextConfig(**GEMMA, layer_types=["full_attention"] * 7)
    return of("Gemma3ForCausalLM", config, "gemma3", {"rope.freq_base": 1e6})


def phi3(longest: int) -> Made:
    rope = {
        "rope_type": "longrope", "rope_theta": 2e4, "partial_rotary_factor": 0.5,
        "short_factor": SHORT, "long_factor": LONG,
    }  # fmt: skip
    config = transformers.Phi3Config(
        **{**SHAPE, "hidden_size": 64}, sliding_window=6, rope_parameters=rope,
        original_max_position_embeddings=longest,
    )  # fmt: skip
    entries = {
        "rope.freq_base": 2e4, "rope.dimension_count": 8, "attention.sliding_window": 6,
        "rope.scaling.original_context_length": longest,
        "rope.scaling.attn_factor": math.sqrt(1 + math.log(512 / longest) / math.log(longest)),
    }  # fmt: skip
    made = of("Phi3ForCausalLM", config, "phi3", entries)
    made[3]["rope_factors_long.weight"] = np.array(LONG)
    made[3]["rope_factors_short.weight"] = np.array(SHORT)
    return made


def stablelm(*, parallel: bool) -> Made:
    config = transformers.StableLmConfig(
        **SHAPE, use_qkv_bias=True, use_parallel_residual=parallel, layer_norm_eps=1e-3,
        rope_parameters={"rope_theta": 3e4, "partial_rotary_factor": 0.5, "rope_type": "default"},
    )  # fmt: skip
    entries = {
        "rope.freq_base": 3e4, "rope.dimension_count": 4, "use_parallel_residual": parallel,
        "attention.layer_norm_epsilon": 1e-3,
    }  # fmt: skip
    return of("StableLmForCausalLM", config, "stablelm", entries)


def experts(name: str, arch: str, **changed: Any) -> Made:
    config = getattr(transformers, f"{name}Config")(
        **SHAPE, moe_intermediate_size=24, num_experts=4, num_experts_per_tok=2, **changed
    )
    entries = {
        "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 24,
        "rope.freq_base": 1e4,
    }  # fmt: skip
    return of(f"{name}ForCausalLM", config, arch, entries)


def nemotron() -> Made:
    config = transformers.NemotronConfig(
        **SHAPE, head_dim=8, norm_eps=1e-3, mlp_bias=True, attention_bias=True,
        rope_parameters={**LINEAR, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    entries = {**LINEAR_ENTRIES, "rope.dimension_count": 4, "attention.layer_norm_epsilon": 1e-3}
    return of("NemotronForCausalLM", config, "nemotron", entries)


def lfm2() -> Made:
    kinds = ["conv", "full_attention"] * 2
    config = transformers.Lfm2Config(
        **LAYERS_3, layer_types=kinds, conv_L_cache=3, block_auto_adjust_ff_dim=False,
        rope_parameters={"rope_type": "default", "rope_theta": 3e4}, norm_eps=1e-3,
    )  # fmt: skip
    entries = {
        "attention.head_count_kv": [0, 2, 0, 2], "rope.freq_base": 3e4, "shortconv.l_cache": 3,
        "attention.layer_norm_rms_epsilon": 1e-3,
    }  # fmt: skip
    return of("Lfm2ForCausalLM", config, "lfm2", entries)


def qwen35() -> Made:
    rope = {"rope_theta": 3e4, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}
    config = transformers.Qwen3_5TextConfig(
        **LAYERS_3, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=6,
        linear_key_head_dim=8, linear_value_head_dim=4, rope_parameters=rope,
    )  # fmt: skip
    entries = {
        "rope.freq_base": 3e4, "rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0],
        "full_attention_interval": 4, "ssm.conv_kernel": 4, "ssm.state_size": 8,
        "ssm.group_count": 2, "ssm.time_step_rank": 6, "ssm.inner_size": 24,
    }  # fmt: skip
    return of("Qwen3_5ForCausalLM", config, "qwen35", entries)


def mamba() -> Made:
    config = transformers.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, layer_norm_epsilon=1e-3,
        state_size=5, time_step_rank=3,
    )  # fmt: skip
    entries = {
        "context_length": 2**20, "embedding_length": 32, "block_count": 3, "ssm.dt_b_c_rms": False,
        "feed_forward_length": 0, "attention.head_count": 0, "ssm.conv_kernel": 4,
        "attention.layer_norm_rms_epsilon": 1e-3, "ssm.inner_size": 64, "ssm.state_size": 5,
        "ssm.time_step_rank": 3,
    }  # fmt: skip
    return transformers.MambaForCausalLM(config), "mamba", entries, {}


def older(name: str, arch: str, config: Any) -> Made:
    """Of models that call their sizes by other names."""
    width = config.hidden_size
    entries = {
        "context_length": 64, "embedding_length": width, "block_count": config.num_hidden_layers,
        "feed_forward_length": 4 * width, "attention.head_count": config.num_attention_heads,
        "attention.layer_norm_epsilon": 1e-3,
    }  # fmt: skip
    return getattr(transformers, name)(config), arch, entries, {}


MODELS: dict[str, Callable[[], Made]] = {
    "llama": lambda: llama(
        {"rope.freq_base": 3e4}, rope_parameters={"rope_type": "default", "rope_theta": 3e4}
    ),
    "llama-linear": lambda: llama(LINEAR_ENTRIES, rope_parameters=LINEAR),
    "llama-factor-alone": lambda: llama(
        {"rope.freq_base": 3e4, "rope.scale_linear": 4.0}, rope_parameters=LINEAR
    ),
    "llama-idle-entries": lambda: llama(
        {"rope.freq_base": 3e4, "rope.scaling.type": "none", "rope.scaling.factor": 4.0,
         "rope.scaling.attn_factor": 1.0, "rope.scaling.yarn_ext_factor": 0.0,
         "rope.scaling.yarn_beta_fast": 20.0},
        rope_parameters={"rope_type": "default", "rope_theta": 3e4},
    ),
    "llama-yarn": lambda: llama(
        {**YARN_ENTRIES, "rope.scaling.yarn_attn_factor": 1.3, "rope.scaling.yarn_beta_fast": 20.0,
         "rope.scaling.yarn_beta_slow": 2.0},
        rope_parameters={**YARN, "attention_factor": 1.3, "beta_fast": 20.0, "beta_slow": 2.0},
    ),
    "llama3": llama3,
    "llama3-other-factors": lambda: llama3(
        theta=1e4, factor=8.0, low_freq_factor=2.0, high_freq_factor=9.0,
        original_max_position_embeddings=256,
    ),
    "llama-biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "llama-wide-heads": lambda: llama(head_dim=16, tie_word_embeddings=True),
    "qwen2-yarn": lambda: of(
        "Qwen2ForCausalLM", transformers.Qwen2Config(**SHAPE, rope_parameters=YARN), "qwen2",
        YARN_ENTRIES,
    ),
    "qwen3": lambda: of(
        "Qwen3ForCausalLM",
        transformers.Qwen3Config(
            **SHAPE, head_dim=16, attention_bias=True, rope_parameters=LINEAR
        ),
        "qwen3",
        LINEAR_ENTRIES,
    ),
    "qwen2moe": lambda: experts("Qwen2Moe", "qwen2moe", shared_expert_intermediate_size=40),
    "qwen3moe": lambda: experts("Qwen3Moe", "qwen3moe", head_dim=16, norm_topk_prob=True),
    "qwen35": qwen35,
    "gemma2": gemma2,
    "gemma2-27b": gemma2_27b,
    "gemma3": gemma3,
    "gemma3-27b": gemma3_27b,
    "gemma3-without-windows": gemma3_without_windows,
    "phi3-short": lambda: phi3(100),
    "phi3-long": lambda: phi3(20),
    "stablelm": lambda: stablelm(parallel=False),
    "stablelm-parallel": lambda: stablelm(parallel=True),
    "starcoder2": lambda: of(
        "Starcoder2ForCausalLM",
        transformers.Starcoder2Config(**SHAPE, rope_parameters=LINEAR, norm_epsilon=1e-3),
        "starcoder2",
        {**LINEAR_ENTRIES, "attention.layer_norm_epsilon": 1e-3},
    ),
    "nemotron": nemotron,
    "lfm2": lfm2,
    "mamba": mamba,
    "gpt2": lambda: older(
        "GPT2LMHeadModel", "gpt2",
        transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=64,
            layer_norm_epsilon=1e-3, bos_token_id=1, eos_token_id=2,
        ),
    ),
    "bloom": lambda: older(
        "BloomForCausalLM", "bloom",
        transformers.BloomConfig(
            vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4, layer_norm_epsilon=1e-3
        ),
    ),
    "falcon": lambda: older(
        "FalconForCausalLM", "falcon",
        transformers.FalconConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
            layer_norm_epsilon=1e-3, bos_token_id=1, eos_token_id=2,
        ),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Initialise models alike whatever ran before: some of qwen35 lose five digits of float32."""
    torch.manual_seed(0)


def lively(model: Any, seed: int = 1) -> Any:
    """Move every weight, norms and biases too, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.15 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def written(made: Made, folder: Path, name: str = "model.gguf", **options: Any) -> Path:
    model, arch, entries, extra = made
    options.setdefault("extra", extra)
    return gguf_models.write(lively(model), folder / name, arch, entries, **options)


def conversations() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [[1, *rng.integers(3, VOCABULARY, n).tolist()] for n in (40, 36)]


def logprobs(path: Path, **options: Any) -> np.ndarray:
    pack, output = lay_out(conversations(), first=[20, 5])
    source = Source(name="mine", folder=path.parent, file=path.name, kind="logprob")
    found = TorchBackend(device="cpu", **options).load(source).forward(pack)
    return np.asarray(found)[output]


def expected(model: Any) -> np.ndarray:
    """The log-probs that a plain model of transformers gives, conversation by conversation."""
    made = []
    for ids, first in zip(conversations(), (20, 5), strict=True):
        with torch.no_grad():
            rows = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        made.append([rows[i - 1, ids[i]].item() for i in range(first, len(ids))])
    return np.concatenate(made)


QUICK = ("llama", "qwen2", "qwen3", "gemma", "phi3")
CASES = [n if n.startswith(QUICK) else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]


@pytest.mark.parametrize("name", CASES)
def test_a_file_gives_what_its_model_gives(name: str, tmp_path: Path) -> None:
    made = MODELS[name]()
    path = written(made, tmp_path)
    options = {"attention": "whole"} if name == "falcon" else {}
    np.testing.assert_allclose(logprobs(path, **options), expected(made[0]), atol=2e-5)


def test_every_architecture_is_compared() -> None:
    from valuebias.backends.gguf.archs import ARCHS

    assert {made.split("-")[0].replace("llama3", "llama") for made in MODELS} == set(ARCHS)


@pytest.mark.slow
@pytest.mark.parametrize("name", small_models.NAMES)
def test_published_files_give_what_transformers_alone_gives(name: str) -> None:
    reason = small_models.missing(name)
    if reason is not None:
        pytest.skip(reason)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        small_models.language_model(name), dtype=torch.float32
    )
    # Tokens drawn by chance have log-probs of -40, of which float32 keeps five digits here.
    found = logprobs(small_models.gguf(name))
    np.testing.assert_allclose(found, expected(model), rtol=1e-5, atol=1e-4)


# --- what is refused, and by what fact --------------------------------------------------------


def gemma3_of_unknown_size() -> Made:
    config = transformers.Gemma3TextConfig(**SHAPE, head_dim=16)
    return of("Gemma3ForCausalLM", config, "gemma3", {"rope.freq_base": 1e6})


def with_extra(made: Made, **extra: np.ndarray) -> Made:
    return made[0], made[1], made[2], {**made[3], **extra}


def with_entries(made: Made, entries: dict[str, Any]) -> Made:
    return made[0], made[1], {**made[2], **entries}, made[3]


ONES = np.ones(32)
ROPES = {
    "linear": LINEAR_ENTRIES, "yarn": YARN_ENTRIES, "no type": {},
    "none": {"rope.scaling.type": "none"},
}  # fmt: skip
ODD = {**LINEAR_ENTRIES, "rope.scaling.type": "odd"}
REFUSED: dict[str, tuple[Callable[[], Made], str]] = {
    "unknown architecture": (
        lambda: (llama()[0], "gemma4", {}, {}), r"of the architecture 'gemma4'\. Supported are"
    ),
    "logit scale": (lambda: llama({"logit_scale": 0.5}), r"the entry llama\.logit_scale = 0\.5"),
    "residual scale": (lambda: llama({"residual_scale": 0.22}), r"llama\.residual_scale = 0\.22"),
    "experts": (lambda: llama({"expert_count": 8}), r"the entry llama\.expert_count = 8"),
    "encoder": (lambda: llama({"attention.causal": False}), r"llama\.attention\.causal = False"),
    "window": (lambda: llama({"attention.sliding_window": 64}), r"attention\.sliding_window = 64"),
    "scaling": (lambda: llama(ODD), r"has rope\.scaling\.type = 'odd'"),
    "yarn without length": (
        lambda: llama({**YARN_ENTRIES, "rope.scaling.original_context_length": None}),
        r"'yarn' without the original context length",
    ),
    "yarn with a factor": (
        lambda: llama({**YARN_ENTRIES, "rope.scaling.yarn_ext_factor": 0.5}),
        r"rope\.scaling\.yarn_ext_factor = 0\.5",
    ),
    **{
        f"{entry} with {kind}": (
            lambda kind=kind, entry=entry, value=value: llama(  # type: ignore[misc]
                {**ROPES[kind], f"rope.scaling.{entry}": value}
            ),
            rf"rope\.scaling\.{entry} = {value:g} and {'' if ROPES[kind] else 'no '}rope\.scal",
        )
        for entry, value in {"attn_factor": 2.0, "yarn_ext_factor": 0.5}.items()
        for kind in ROPES
    },
    **{
        f"{entry} = {value:g}": (
            lambda entry=entry, value=value: llama({**YARN_ENTRIES, entry: value}),  # type: ignore[misc]
            re.escape(f"{entry} = {value!r}"),
        )
        for entry in ("rope.freq_base", "rope.scaling.factor", "rope.scaling.yarn_attn_factor")
        for value in (-4.0, math.inf, math.nan)
    },
    "negative factor": (lambda: llama({"rope.scale_linear": -4.0}), r"rope\.scale_linear = -4\.0"),
    "yarn that shortens": (
        lambda: llama({**YARN_ENTRIES, "rope.scaling.factor": 0.5}), r"yarn' by rope\.scaling\.fac"
    ),
    "linear yarn_attn_factor": (
        lambda: llama({**LINEAR_ENTRIES, "rope.scaling.yarn_attn_factor": 1.5}),
        r"rope\.scaling\.yarn_attn_factor = 1\.5 and rope\.scaling\.type = 'linear'",
    ),
    "Llama 3 and attn_factor": (
        lambda: with_entries(llama3(), {"rope.scaling.attn_factor": 2.0}),
        r"rope\.scaling\.attn_factor = 2 and no rope\.scaling\.type",
    ),
    "Llama 3 of an odd type": (
        lambda: with_entries(llama3(), {"rope.scaling.type": "odd"}), r"rope\.scaling\.type = 'odd'"
    ),
    "LongRoPE and a factor": (
        lambda: with_entries(phi3(128), {"rope.scaling.factor": 4.0}), r"LongRoPE and .* by 4"
    ),
    "other factors": (
        lambda: with_extra(llama(), **{"rope_freqs.weight": np.array([1.0, 3.0, 2.0, 5.0])}),
        r"rope_freqs\.weight that are not the factors of Llama 3",
    ),
    "part of a head": (
        lambda: llama({"rope.dimension_count": 4}), r"rope\.dimension_count = 4 for heads of 8"
    ),
    "heads by layer": (
        lambda: llama({"attention.head_count": [4, 4, 2]}), r"head_count that differs between l"
    ),
    "tensor": (
        lambda: with_extra(llama(), **{"blk.0.attn_q_norm.weight": ONES}),
        r"has the tensor blk\.0\.attn_q_norm\.weight",
    ),
    "some biases": (
        lambda: with_extra(llama(), **{"blk.1.attn_q.bias": ONES}),
        r"has attn_q\.bias in some layers only",
    ),
    "dense head": (
        lambda: with_extra(llama(), **{"cls.weight": np.eye(32)}), r"has the tensor cls\.weight"
    ),
    "no epsilon": (
        lambda: llama({"attention.layer_norm_rms_epsilon": None}),
        r"no entry llama\.attention\.layer_norm_rms_epsilon",
    ),
    "attention scale": (gemma3_of_unknown_size, r"query_pre_attn_scalar\), which for 3 layers"),
    "long factors": (
        lambda: with_extra(llama(), **{"rope_factors_long.weight": np.ones(4)}),
        r"has the tensor rope_factors_long",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fact", REFUSED)
def test_what_would_be_lost_is_refused_by_name(fact: str, tmp_path: Path) -> None:
    make, said = REFUSED[fact]
    model, arch, entries, extra = make()
    path = tmp_path / "model.gguf"
    if arch == "gemma4":
        writer = gguf.GGUFWriter(path, arch)
        writer.add_tensor("token_embd.weight", np.ones((4, 32), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    else:
        gguf_models.write(model, path, arch, entries, extra=extra)
    with pytest.raises(ValueBiasError, match=said) as caught:
        logprobs(path)
    assert "Score the model's own safetensors instead" in str(caught.value)


def test_weights_that_are_not_there_are_no_random_numbers(tmp_path: Path) -> None:
    path = written(llama(), tmp_path, drop=["blk.1.ffn_up.weight"])
    with pytest.raises(ValueBiasError, match=r"lack weights .*layers\.1\.mlp\.up_proj\.weight"):
        logprobs(path)


# --- reward models ----------------------------------------------------------------------------


def rewards(path: Path, label: int = 0, labels: int | None = 1) -> np.ndarray:
    pack, output = lay_out(conversations())
    source = Source(
        name="mine", folder=path.parent, file=path.name, kind="reward", label=label, labels=labels
    )
    return np.asarray(TorchBackend(device="cpu").load(source).forward(pack))[output]


@pytest.mark.parametrize(("labels", "bias"), [(1, False), (1, True), (3, True)])
def test_a_head_is_that_of_the_file(labels: int, bias: bool, tmp_path: Path) -> None:
    config = transformers.Qwen3Config(**SHAPE, head_dim=8, num_labels=labels)
    model = transformers.Qwen3ForSequenceClassification(config)
    added = np.linspace(0.5, 2, labels)
    entries = {**sizes(config), "pooling_type": 4, "rope.freq_base": 1e4}
    made = (model, "qwen3", entries, {"cls.output.bias": added} if bias else {})
    path = written(made, tmp_path)
    for label in range(labels):
        wanted = []
        for ids in conversations():
            with torch.no_grad():
                # One conversation without padding: the head reads its last token.
                wanted.append(model(torch.tensor([ids])).logits[0, label].item())
        expected = np.array(wanted) + (added[label] if bias else 0)
        np.testing.assert_allclose(rewards(path, label, labels), expected, atol=1e-5)


def test_a_language_model_has_no_head(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"score\.weight.*kind='logprob'"):
        rewards(written(llama(), tmp_path))


# --- parts ------------------------------------------------------------------------------------


def test_parts_are_loaded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEBIAS_CACHE", str(tmp_path / "cache"))
    made = llama3()
    written(made, tmp_path, max_tensors=12)
    files = sorted(path.name for path in tmp_path.glob("*.gguf"))
    assert files == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for file in (files[0], files[2]):
        np.testing.assert_allclose(logprobs(tmp_path / file), expected(made[0]), atol=2e-5)
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / files[1]).rename(tmp_path / "elsewhere")
    with pytest.raises(ValueBiasError, match=r"one of 3 parts .* beside it: model-00002-of-00003"):
        logprobs(tmp_path / files[0])


def test_a_part_under_another_name_is_refused(tmp_path: Path) -> None:
    written(llama(), tmp_path, max_tensors=16)
    (tmp_path / "model-00001-of-00002.gguf").rename(tmp_path / "model.gguf")
    with pytest.raises(ValueBiasError, match=r"says that it is part 1 of 2; expected part 1 of 1"):
        logprobs(tmp_path / "model.gguf")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = written(llama(), tmp_path)
    whole = path.read_bytes()
    for broken in (b"GGUF", whole[:200], whole[:-5000], b"no such file at all"):
        path.write_bytes(broken)
        with pytest.raises(ValueBiasError, match=r"is truncated or is not a GGUF file"):
            logprobs(path)
