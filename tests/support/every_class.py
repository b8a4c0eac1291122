"""Every causal and sequence-classification class of transformers, small and with factors set.

    python tests/support/every_class.py                     # tells of each class what became of it
    python tests/support/every_class.py granite bert        # of these
    python tests/support/every_class.py --out tests/backends/every_class.md       # for the record

Whatever in a configuration looks like a factor, a scale or a soft cap is set to what it is not by
default, so that one that is forgotten between token ids and logits changes the numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# What makes a configuration small, under the names that the architectures have for it.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("vocab_size",), 160),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "lru_width", "embedding_dim"), 64),
    **dict.fromkeys(("word_embed_proj_dim", "embedding_size", "mamba_d_ssm", "emb_dim"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "ffn_hidden_size", "d_inner"), 96),
    **dict.fromkeys(("decoder_ffn_dim", "intermediate_size_mlp", "dff"), 96),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("decoder_layers", "num_blocks", "expand"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "mamba_n_heads", "mamba_num_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("head_dim", "d_head", "v_head_dim", "mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "mamba_d_state", "state_size"), 16),
    **dict.fromkeys(("chunk_size", "ssm_state_size"), 16),
    **dict.fromkeys(("rotary_dim", "qk_rope_head_dim", "qk_nope_head_dim"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_num_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 128),
    **dict.fromkeys(("attention_window_size", "sliding_window", "attention_chunk_size"), 32),
    "moe_num_experts": 4,
    "num_experts_per_token": 2,
    "mamba_n_groups": 1,
    "n_groups": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": False,
    "tie_word_embeddings": False,
}
# What an architecture needs besides, since its defaults fit a large model only.
LATENT = (
    *("axk1", "axk2", "bailing_hybrid", "deepseek_v2", "deepseek_v3", "deepseek_v32"),
    *("dots3_note_text", "glm4_moe_lite", "glm_moe_dsa", "kimi_linear", "minicpm3"),
    *("mistral4", "sarvam_mla", "youtu"),
)
SPECIAL: dict[str, dict[str, Any]] = {
    **{key: {"num_key_value_heads": 4, "head_dim": 8} for key in LATENT},
    **{key: {"mamba_n_heads": 8, "mamba_d_head": 16} for key in ("bamba", "granitemoehybrid")},
    "cohere_compass_text": {"layer_types": ["full_attention"] * 2},
    "ernie4_5_moe": {"moe_k": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8},
    "reformer": {"axial_pos_shape": (8, 16), "axial_pos_embds_dim": (32, 32)},
    "xmod": {"default_language": "en_XX"},
}
FACTOR = re.compile(
    r"multiplier|scal(e|ing)|soft_?cap|logit|factor|residual|dim_model_base|mup|cap$"
)
NO_FACTOR = re.compile(
    r"initiali[sz]er|init_|rope|layer_scale|capacity|loss|aux|router|quant|dropout"
)
HEADS = re.compile("lm_head|embed|wte|output|score|decoder.weight")
KINDS = {"logprob": "Language models", "reward": "Models with a classification head"}
VOCABULARY = 160
LARGEST = 50e6
SECONDS = 60
CONVERSATIONS = np.random.default_rng(0).integers(3, VOCABULARY, (4, 11)).tolist()


class NotBuilt(Exception):
    """Says why there is no small model of a class."""


@dataclasses.dataclass(frozen=True)
class Made:
    """A small model."""

    model: Any
    factors: dict[str, Any]


def classes(kind: str) -> dict[str, str]:
    """Give the classes of a kind by model type."""
    from transformers.models.auto import modeling_auto as auto

    names = {
        "logprob": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "reward": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }[kind]
    return {key: name if isinstance(name, str) else name[0] for key, name in names.items()}


def make(model_type: str, kind: str, *, decoder: bool = False) -> Made:
    """Build a small model with random weights, or say why there is none."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto: Any = {"logprob": AutoModelForCausalLM, "reward": AutoModelForSequenceClassification}
    config, factors = _configuration(model_type, decoder=decoder)
    with _blamed("the class"), torch.device("meta"):
        n = sum(weight.numel() for weight in auto[kind].from_config(config).parameters())
    if n > LARGEST:
        raise NotBuilt(f"{n / 1e6:.0f} million parameters at the smallest")
    torch.manual_seed(0)
    with _blamed("the class"):
        model = auto[kind].from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # As large as in trained models, so that a soft cap caps.
            if weight.ndim == 2 and HEADS.search(name):
                weight.copy_(torch.randn(weight.shape, generator=generator))
    with _blamed("a run of it"), torch.no_grad():
        model(input_ids=torch.tensor(CONVERSATIONS[:1]))
    return Made(model, factors)


def _configuration(model_type: str, *, decoder: bool) -> tuple[Any, dict[str, Any]]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise NotBuilt("no configuration of that name")
    with _blamed("the default configuration"):
        default = CONFIG_MAPPING[model_type]()
    if getattr(default, "is_encoder_decoder", False) and not decoder:
        raise NotBuilt("an encoder and a decoder")
    senses = ("vision_config", "audio_config", "image_token_id", "image_token_index")
    if any(getattr(default, key, None) is not None for key in senses):
        raise NotBuilt("not for text alone")
    if not hasattr(default, "vocab_size"):
        raise NotBuilt("no vocabulary")
    small = {key: value for key, value in SMALL.items() if key in default.to_dict()}
    small["num_labels"] = 1
    small |= SPECIAL.get(model_type, {})
    if decoder:
        small["is_decoder"] = True
        if hasattr(default, "causal"):
            small["causal"] = True
        if getattr(default, "is_encoder_decoder", False):
            small["is_encoder_decoder"] = False
    kinds = list(dict.fromkeys(getattr(default, "layer_types", None) or ()))
    tries: list[dict[str, Any]] = [small]
    if kinds and "layer_types" not in small:
        tries.insert(0, small | {"layer_types": (kinds * 2)[:2]})
    config = None
    for settings in tries:
        with _blamed("a small configuration") as blame:
            config = type(default)(**settings)
        if config is not None:
            break
    if config is None:
        raise blame.error
    factors: dict[str, Any] = {}
    for key, value in _factors(default).items():
        # One by one: what a configuration does not take is left as it is.
        with contextlib.suppress(Exception):
            config = type(default)(**settings, **factors, **{key: value})
            factors[key] = value
    return config, factors


def _factors(config: Any) -> dict[str, Any]:
    """Give what looks like a factor another value than it has by default."""
    found: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        if not FACTOR.search(key) or NO_FACTOR.search(key) or isinstance(value, str | dict):
            continue
        if isinstance(value, bool):
            found[key] = not value
        elif re.search(r"cap(ping)?$", key):
            found[key] = 4.0
        elif value is None or value in (0, 1):
            found[key] = 0.7
        elif isinstance(value, int):
            found[key] = value + 1
        elif isinstance(value, float):
            found[key] = 0.8 * value
        elif isinstance(value, list | tuple) and all(isinstance(v, float | int) for v in value):
            found[key] = [0.8 * v + 0.1 for v in value]
    return found


class _Blame:
    error = NotBuilt("nothing was tried")


@contextlib.contextmanager
def _blamed(what: str) -> Iterator[_Blame]:
    """Turn whatever goes wrong into a reason."""
    blame = _Blame()
    try:
        yield blame
    except Exception as error:
        said = " ".join(str(error).split())[:100]
        blame.error = NotBuilt(f"{what}: {type(error).__name__}: {said}")
        if what != "a small configuration":
            raise blame.error from error


def plain(folder: Path, kind: str) -> np.ndarray:
    """Compute with transformers alone: log-probs after each conversation, or rewards."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto: Any = {"logprob": AutoModelForCausalLM, "reward": AutoModelForSequenceClassification}
    model = auto[kind].from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    out = []
    with torch.no_grad():
        for ids in CONVERSATIONS:
            logits = model.eval()(input_ids=torch.tensor([ids])).logits[0].double()
            out.append(logits[-1].log_softmax(-1) if kind == "logprob" else logits[:1])
    return torch.stack(out).numpy()


def scored(folder: Path, kind: str) -> tuple[np.ndarray, str]:
    """Compute with the package's backend, and say how."""
    from valuebias.backends import Source
    from valuebias.backends.testing.samples import lay_out
    from valuebias.backends.torch_backend import TorchBackend

    source = Source(name=folder.name, folder=folder, kind=kind, labels=1)  # type: ignore[arg-type]
    loaded = TorchBackend(device="cpu").load(source)
    pack, output = lay_out(CONVERSATIONS)
    made = loaded.forward(pack)[output].astype(float)
    return made.reshape(len(CONVERSATIONS), -1), str(loaded.details()["attention"])


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a class: "equal", "differs", "broke", "refused" or "not built", and why."""

    model_type: str
    kind: str
    what: str
    why: str = ""
    factors: tuple[str, ...] = ()


def outcome(model_type: str, kind: str, *, decoder: bool = False) -> Outcome:
    """Build, score both ways and compare."""
    from valuebias import ValueBiasError

    name = f"{model_type} as a decoder" if decoder else model_type
    try:
        with _in_time():
            made = make(model_type, kind, decoder=decoder)
    except NotBuilt as error:
        return Outcome(name, kind, "not built", str(error))
    with tempfile.TemporaryDirectory() as folder, _in_time():
        try:
            with _blamed("saving"):
                made.model.save_pretrained(folder)
                expected = plain(Path(folder), kind)
        except NotBuilt as error:
            return Outcome(name, kind, "not built", str(error))
        try:
            found, how = scored(Path(folder), kind)
        except ValueBiasError as error:
            said = str(error).partition(": ")[2]
            return Outcome(name, kind, "refused", said, tuple(made.factors))
        except NotBuilt as error:
            return Outcome(name, kind, "not built", str(error))
        except Exception as error:  # noqa: BLE001 -- what the package should have refused
            return Outcome(name, kind, "broke", repr(error), tuple(made.factors))
    worst = float(np.abs(found - expected).max())
    size = 1.0 if kind == "logprob" else max(1.0, float(np.abs(expected).max()))
    what = "equal" if worst <= 1e-4 * size else "differs"
    return Outcome(name, kind, what, f"{how}, {worst:.1e}", tuple(made.factors))


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise NotBuilt(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def every(kind: str, only: Sequence[str] = ()) -> Iterator[Outcome]:
    """Give what becomes of each class of a kind; encoders are tried as decoders, too."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for model_type in classes(kind):
        if only and model_type not in only:
            continue
        yield outcome(model_type, kind)
        if kind == "logprob" and can_decode(model_type):
            yield outcome(model_type, kind, decoder=True)


def main() -> None:
    """Say of each class what became of it."""
    import argparse
    import warnings

    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="model types")
    parser.add_argument("--out", type=Path, help="write a record here, too")
    args = parser.parse_args()
    found = []
    for kind in KINDS:
        for one in every(kind, args.only):
            row = (one.kind, one.model_type, one.what, one.why, ", ".join(one.factors))
            sys.stdout.write(" | ".join(row) + "\n")
            sys.stdout.flush()
            found.append(one)
    if args.out:
        args.out.write_text(record(found), encoding="utf-8")


def record(found: Sequence[Outcome]) -> str:
    """Lay out what became of every class."""
    import transformers

    lines = [
        f"Classes of transformers {transformers.__version__}, small and with what looks like a "
        "factor set: the package's scores beside transformers' own, by\n"
        "`python tests/support/every_class.py`. "
        "In brackets the factors.",
    ]
    for kind, title in KINDS.items():
        of_kind = [one for one in found if one.kind == kind]
        for what in ("equal", "differs", "broke"):
            some = [one for one in of_kind if one.what == what]
            if some:
                names = "; ".join(
                    one.model_type + (f" ({', '.join(one.factors)})" if one.factors else "")
                    for one in some
                )
                lines.append(f"**{title}, {what}: {len(some)}.** {names}.")
        rows = [one for one in of_kind if one.what in ("refused", "not built")]
        lines.append(
            f"| {title} | | why |\n|---|---|---|\n"
            + "\n".join(f"| {one.model_type} | {one.what} | {_cell(one.why)} |" for one in rows)
        )
    return "\n\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/")


def recorded(path: Path) -> tuple[str, set[tuple[str, str]]]:
    """Read of which version a record is, and which classes it says were not built."""
    text = path.read_text(encoding="utf-8")
    version = text.split()[3].rstrip(",")
    found, kind = set(), ""
    titles = {title: kind for kind, title in KINDS.items()}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3:
            kind = titles.get(cells[0], kind)
            if cells[1] == "not built":
                found.add((kind, cells[0]))
    return version, found


def can_decode(model_type: str) -> bool:
    """Tell whether it is an encoder unless its configuration says ``is_decoder``."""
    from transformers.models.auto import modeling_auto as auto

    seq2seq = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return model_type in {*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *seq2seq}


if __name__ == "__main__":
    main()
