"""Whatever an architecture does between token ids and its results, the scores are transformers'."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import every_class
import pytest
import tiny_models
from every_class import Outcome, outcome

RECORD = Path(__file__).parent / "every_class.md"
FEWEST = {"logprob": 150, "reward": 52}
"""How many classes are to be compared at least."""
REFUSALS = (
    "is an encoder",
    "no classification head called 'score'",
    # Its heads read several streams of hidden states.
    "ProphetNetForCausalLM as its configuration has it cannot be run",
)

pytestmark = [
    pytest.mark.skipif(tiny_models.missing() is not None, reason="torch is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="ends what takes too long by a signal"),
    # Other people's code warns of itself.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.parametrize(
    ("architecture", "factor"),
    [
        ("granite", "logits_scaling"),
        ("cohere", "logit_scale"),
        ("gemma2", "final_logit_softcapping"),
        ("recurrent_gemma", "logits_soft_cap"),
        # The factor is one of the body's, and one of several in it.
        ("falcon_h1", "lm_head_multiplier"),
        ("minicpm3", "dim_model_base"),
        # The class names a body that it has not.
        ("llama4_text", "attn_scale"),
        # A dense layer and a norm come before the embeddings.
        ("modernbert-decoder", ""),
        # Norms and scales inside a feed-forward layer that looks like Llama's.
        ("dory", ""),
        # Asks for the dtype of a layer's weights before it calls the layer.
        ("hunyuan_v1_moe", ""),
        # Has two attentions of its own, and no other.
        ("falcon", ""),
    ],
)
def test_log_probs_are_those_of_the_models_own_code(architecture: str, factor: str) -> None:
    found = outcome(architecture, "logprob")
    assert found.what == "equal", found
    assert not factor or factor in found.factors


@pytest.mark.parametrize("architecture", ["gemma2", "dory", "deepseek_v2", "gpt2"])
def test_rewards_are_those_of_the_models_own_code(architecture: str) -> None:
    if architecture not in every_class.classes("reward"):
        pytest.skip(f"this transformers has no rewards of {architecture}")
    found = outcome(architecture, "reward")
    assert found.what == "equal", found


def test_an_encoder_is_refused_unless_it_is_configured_as_a_decoder() -> None:
    found = outcome("bert", "logprob")
    assert found.what == "refused"
    assert "BertLMHeadModel is an encoder" in found.why
    assert outcome("bert", "logprob", decoder=True).what == "equal"


def test_what_passes_beside_the_attention_is_found_however_small_it_is() -> None:
    """Between branches of a tree, the convolutions of Falcon-H1 passed 3e-5 of a hidden state."""
    assert outcome("falcon_h1", "logprob").why.startswith("whole")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["logprob", "reward"])
def test_every_class_gives_what_transformers_gives(kind: str) -> None:
    found = list(every_class.every(kind))
    assert not [one for one in found if one.what in ("differs", "broke")]
    refused = [one for one in found if one.what == "refused"]
    assert not [one for one in refused if not re.search("|".join(REFUSALS), one.why)]
    equal = [one for one in found if one.what == "equal"]
    not_built = {(one.kind, one.model_type): one.why for one in found if one.what == "not built"}
    assert len(equal) >= FEWEST[kind], not_built
    assert sum(bool(one.factors) for one in equal) >= FEWEST[kind] // 4
    import transformers

    version, known = every_class.recorded(RECORD)
    if version == transformers.__version__:
        # Whichever is built no longer is a gap in what is compared.
        assert not_built.keys() <= known


def test_the_record_lists_what_was_not_built(tmp_path: Path) -> None:
    some = [
        Outcome("a", "logprob", "equal", factors=("scale",)),
        Outcome("b", "logprob", "not built", "too | large"),
        Outcome("b", "reward", "refused", "is an encoder"),
        Outcome("c", "reward", "not built", "no vocabulary"),
    ]
    text = every_class.record(some)
    assert "equal: 1.** a (scale)." in text
    assert every_class.recorded(RECORD)[1]
    path = tmp_path / "record.md"
    path.write_text(text)
    assert every_class.recorded(path)[1] == {("logprob", "b"), ("reward", "c")}
