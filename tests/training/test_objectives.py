"""What reward models are trained for: losses as their papers have them, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import xarray as xr
from tiny_studies import bases, files, pairs, study

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.ablation import Objective, Study, TrainingSettings
from valuebias.training.common import without_futures

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("peft", reason="peft is not installed")

SHORT = TrainingSettings(
    learning_rate=1e-2, max_steps=3, batch_size=8, linear_checkpoints=0, log_checkpoints=0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bases(tmp_path_factory.mktemp("bases"))


def made(folder: Path, scratch: Path, objective: Objective, *, tuning: str = "lora") -> Any:
    """Make a trainer on eight pairs, whose answers differ in length."""
    from valuebias.training.features import find_base
    from valuebias.training.reward import PairTokens, make_trainer

    base = find_base(Model(str(folder)))
    tokens = PairTokens(base, 1024, starts=True).of(
        valuebias.preferences(pairs(8, long=2), progress=False)
    )
    with without_futures():
        trainer = make_trainer(
            base, tokens, scratch, tuning=tuning, settings=SHORT, objective=objective, seed=0,
            use_cpu=True,
        )  # fmt: skip
    return trainer, tokens


def batch_of(trainer: Any) -> dict[str, Any]:
    data = trainer.train_dataset
    return dict(trainer.data_collator([data[i] for i in range(len(data))]))


def test_a_term_is_of_the_answer_and_what_ends_it(folder: Path) -> None:
    from valuebias.training.features import find_base
    from valuebias.training.reward import PairTokens

    base = find_base(Model(str(folder / "llama")))
    table = valuebias.preferences(pairs(4), progress=False)
    tokens = PairTokens(base, 1024, starts=True).of(table)
    for side, place in (("chosen", 0), ("rejected", 1)):
        for ids, starts, answer in zip(
            getattr(tokens, side), tokens.starts, table.pairs[side], strict=True
        ):
            assert base.tokenizer.text(ids[starts[place] :].tolist()) == f"{answer}<|end|>\n"


def answer_log_prob(language: Any, hidden: Any, ids: Any, start: int) -> Any:
    """Sum log-probs of a conversation from `start` on, one token after the other."""
    logits = language.lm_head(hidden)
    cap = getattr(language.config, "final_logit_softcapping", None)
    if cap is not None:
        logits = cap * (logits / cap).tanh()
    rows = logits.double().log_softmax(-1)
    return sum(rows[t - 1, ids[t]] for t in range(start, len(ids)))


def reference(base: Any, body: Any, head: Any, tokens: Any, *, weight: float, beta: float,
              regulariser: str) -> Any:  # fmt: skip
    """Compute the loss of Yang et al. (2024) from its formula, pair by pair."""
    import torch

    total = 0.0
    for chosen, rejected, starts in zip(tokens.chosen, tokens.rejected, tokens.starts, strict=True):
        reward, now, before = [], [], []
        for ids, start in zip((chosen, rejected), starts, strict=True):
            whole = torch.from_numpy(ids)[None]
            hidden = body(whole).last_hidden_state[0]
            reward.append(head(hidden[-1])[0])
            now.append(answer_log_prob(base, hidden, ids, start))
            with torch.no_grad():
                old = base.model(whole).last_hidden_state[0]
                before.append(answer_log_prob(base, old, ids, start))
        z = {
            "sft": now[0],
            "reference-free": now[0] - now[1],
            "dpo": (now[0] - before[0]) - (now[1] - before[1]),
        }[regulariser]
        pull = torch.sigmoid(reward[0] - reward[1]).log()
        total = total - (1 - weight) * pull - weight * torch.sigmoid(beta * z).log()
    return total / len(tokens)


@pytest.mark.parametrize(
    ("architecture", "regulariser"),
    [("llama", "sft"), ("llama", "reference-free"), ("llama", "dpo"), ("gemma", "dpo")],
)
def test_the_loss_is_that_of_the_formula(
    folder: Path, tmp_path: Path, architecture: str, regulariser: str
) -> None:
    """Also with logits that are capped, and made with the embeddings."""
    import torch
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"weight": 0.3, "beta": 0.02, "regulariser": regulariser}
    place = folder / architecture
    trainer, tokens = made(place, tmp_path, Objective(kind="grm", **settings), tuning="full")
    base = AutoModelForCausalLM.from_pretrained(place).requires_grad_(False).eval()
    assert (getattr(base.config, "final_logit_softcapping", None) is None) == (
        architecture == "llama"
    )
    # Away from the beginning, where the log-ratio of "dpo" is 0.
    torch.manual_seed(1)
    for weight in trainer.model.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    body, head = copy.deepcopy(trainer.model.model), copy.deepcopy(trainer.model.score)

    batch = batch_of(trainer)
    assert not batch["attention_mask"].all()
    found = trainer.compute_loss(trainer.model, batch)
    expected = reference(base, body, head, tokens, **settings)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    term = trainer.terms.pop()
    assert abs(trainer.compute_loss(trainer.model, batch).item() - found.item()) > 0.01
    trainer.terms.append(term)

    found.backward()
    expected.backward()
    ours = dict(trainer.model.named_parameters())
    theirs = {f"model.{name}": weight for name, weight in body.named_parameters()}
    theirs |= {f"score.{name}": weight for name, weight in head.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        scale = float(theirs[name].grad.abs().max())
        gap = float((weight.grad - theirs[name].grad).abs().max())
        assert gap <= 1e-4 * scale + 1e-7, name


def test_the_term_reaches_the_adapter_and_neither_head(folder: Path, tmp_path: Path) -> None:
    import torch

    trainer, _ = made(folder / "llama", tmp_path, Objective(kind="grm", weight=0.5, beta=0.01))
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    (term,) = trainer.terms
    trainer.terms[:] = [lambda loss, batch: term(loss.detach() * 0, batch)]
    trainer.compute_loss(trainer.model.eval(), batch_of(trainer)).backward()
    moved = {n for n, p in trainer.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("lora_A" in name for name in moved)
    assert all("lora_" in name for name in moved)
    assert all(not p.requires_grad for p in term._language._own.parameters())


def trained(folder: Path, objective: Objective) -> tuple[list[float], dict[str, Any]]:
    from valuebias.training.features import find_base
    from valuebias.training.reward import PairTokens, train

    base = find_base(Model(str(folder)))
    tokens = PairTokens(base, 1024, starts=True).of(
        valuebias.preferences(pairs(24), progress=False)
    )
    kept: dict[str, Any] = {}
    losses = train(
        base, tokens, tuning="lora", settings=SHORT, objective=objective, seed=4, use_cpu=True,
        steps=[3], checkpoint=lambda step, model: kept.update(
            {name: weight.detach().clone() for name, weight in model.state_dict().items()}
        ),
    )  # fmt: skip
    return losses, kept


def test_without_weight_it_is_bradley_terry(folder: Path) -> None:
    import torch

    plain = trained(folder / "llama", Objective(head="mlp", width=16))
    none = trained(folder / "llama", Objective(kind="grm", width=16, weight=0))
    hardly = trained(folder / "llama", Objective(kind="grm", width=16, weight=1e-12))
    some = trained(folder / "llama", Objective(kind="grm", width=16, weight=0.5))
    assert len(plain[0]) == 3
    assert plain[0] == none[0]
    np.testing.assert_allclose(plain[0], hardly[0], rtol=1e-6)
    assert abs(plain[0][0] - some[0][0]) > 0.01
    for name, weight in plain[1].items():
        assert torch.equal(weight, none[1][name])
        torch.testing.assert_close(weight, hardly[1][name], rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(weight, some[1][n]) for n, weight in plain[1].items())


def coherent_reference(
    body: Any, head: Any, tokens: Any, *, value: float, smoothness: float
) -> Any:
    """Compute the loss of TCRM, as we read it, from its formula, answer by answer."""
    import torch

    pull = terms = 0.0
    for chosen, rejected, starts in zip(tokens.chosen, tokens.rejected, tokens.starts, strict=True):
        final = []
        for ids, start in zip((chosen, rejected), starts, strict=True):
            r = head(body(torch.from_numpy(ids)[None]).last_hidden_state[0])[start:, 0]
            estimates = ((r[:-1] - r[-1].detach()) ** 2).mean()
            terms = terms + value * estimates + smoothness * ((r[1:] - r[:-1]) ** 2).mean()
            final.append(r[-1])
        pull = pull - torch.sigmoid(final[0] - final[1]).log()
    return pull / len(tokens) + terms / (2 * len(tokens))


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("llama", {"value_weight": 0.3, "smoothness_weight": 0.0}),
        ("llama", {"value_weight": 0.0, "smoothness_weight": 0.7}),
        ("gemma", {"value_weight": 0.2, "smoothness_weight": 0.1, "head": "mlp", "width": 16}),
    ],
)
def test_the_loss_of_coherence_is_that_of_the_formula(
    folder: Path, tmp_path: Path, architecture: str, settings: dict[str, Any]
) -> None:
    import torch

    objective = Objective(kind="tcrm", **settings)
    trainer, tokens = made(folder / architecture, tmp_path, objective, tuning="full")
    torch.manual_seed(1)
    for weight in trainer.model.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    body, head = copy.deepcopy(trainer.model.model), copy.deepcopy(trainer.model.score)
    batch = batch_of(trainer)
    assert not batch["attention_mask"].all()
    found = trainer.compute_loss(trainer.model, batch)
    expected = coherent_reference(
        body, head, tokens, value=settings["value_weight"],
        smoothness=settings["smoothness_weight"],
    )  # fmt: skip
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    term = trainer.terms.pop()
    assert found.item() - trainer.compute_loss(trainer.model, batch).item() > 1e-4
    trainer.terms.append(term)
    found.backward()
    expected.backward()
    ours = dict(trainer.model.named_parameters())
    theirs = {f"model.{name}": weight for name, weight in body.named_parameters()}
    theirs |= {f"score.{name}": weight for name, weight in head.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        scale = float(theirs[name].grad.abs().max())
        gap = float((weight.grad - theirs[name].grad).abs().max())
        assert gap <= 1e-4 * scale + 1e-7, name


def test_without_weights_coherence_is_bradley_terry(folder: Path) -> None:
    import torch

    none = {"value_weight": 0, "smoothness_weight": 0}
    plain = trained(folder / "llama", Objective())
    nothing = trained(folder / "llama", Objective(kind="tcrm", **none))
    hardly = trained(
        folder / "llama", Objective(kind="tcrm", value_weight=1e-12, smoothness_weight=0)
    )
    some = trained(folder / "llama", Objective(kind="tcrm", value_weight=2))
    assert plain[0] == nothing[0]
    np.testing.assert_allclose(plain[0], hardly[0], rtol=1e-6)
    assert some[0][0] > plain[0][0] + 1e-3
    for name, weight in plain[1].items():
        assert torch.equal(weight, nothing[1][name])
    # The adapter and the head, which is trained whole, are both moved by the terms.
    moved = {name for name, weight in plain[1].items() if not torch.equal(weight, some[1][name])}
    assert any("lora_" in name for name in moved)
    assert any("score" in name for name in moved)


def test_answers_of_one_token_have_no_coherence(folder: Path, tmp_path: Path) -> None:
    from valuebias.training.features import find_base
    from valuebias.training.reward import TokenPairs, make_trainer

    base = find_base(Model(str(folder / "llama")))
    ids = np.arange(5, 10)
    single = TokenPairs([ids, ids], [ids, ids], [(4, 4), (4, 4)])
    several = TokenPairs([ids, ids], [ids, ids], [(4, 4), (4, 3)])
    options: dict[str, Any] = {
        "tuning": "full", "settings": SHORT, "objective": Objective(kind="tcrm"), "seed": 0,
        "use_cpu": True,
    }  # fmt: skip
    with pytest.raises(ValueBiasError, match="None of the 4 answers has two tokens or more"):
        make_trainer(base, single, tmp_path, **options)
    with without_futures():
        trainer = make_trainer(base, several, tmp_path, **options)
    loss = trainer.compute_loss(trainer.model, batch_of(trainer))
    trainer.terms.clear()
    plain = trainer.compute_loss(trainer.model, batch_of(trainer))
    assert loss.isfinite()
    assert loss > plain


def arms(folder: Path, **changes: Any) -> Study:
    asked: dict[str, Any] = {
        "bases": [
            Model(str(folder / "llama"), family="Llama", base="L"),
            Model(str(folder / "gemma"), family="Gemma", base="G"),
        ],
        "n_pairs": [16],
        "training": SHORT,
        "objective": ["bradley-terry", {"kind": "grm", "weight": 0.1, "width": 16}],
    }
    return study(folder, **asked | changes)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "out"


@pytest.fixture(scope="module")
def scores(folder: Path, out: Path) -> xr.Dataset:
    return arms(folder).run(out, progress=False)


def test_objectives_are_arms_of_a_study(folder: Path, out: Path, scores: xr.Dataset) -> None:
    table = valuebias.schema.model_table(scores)
    assert table.groupby(["base", "objective"])["step"].apply(list).to_dict() == {
        (base, objective): [0, 3] for base in ("G", "L") for objective in ("bradley-terry", "grm")
    }
    assert [name for name in table.index if "grm" in name] == [
        name for name, objective in table["objective"].items() if objective == "grm"
    ]
    assert np.isfinite(scores["score"]).all()
    about = json.loads(scores.attrs["provenance"])
    assert about["objectives"]["grm"] == {
        "kind": "grm", "head": "mlp", "width": 16, "weight": 0.1, "beta": 0.1,
        "regulariser": "sft",
    }  # fmt: skip
    runs = arms(folder).runs()
    assert runs["objective"].tolist() == ["bradley-terry", "grm"] * 2


def test_what_is_finished_is_kept_and_what_is_lost_is_made_again(
    folder: Path, out: Path, scores: xr.Dataset
) -> None:
    before = files(out)
    xr.testing.assert_identical(
        arms(folder).run(out, progress=False).drop_attrs(), scores.drop_attrs()
    )
    assert files(out) == before
    # A study of one of them finds its runs under the same names.
    alone = arms(folder, objective="bradley-terry").run(out, progress=False)
    assert files(out) == before
    assert alone.sizes["model"] == 4
    for done in out.glob("runs/*/done.json"):
        done.unlink()
        next(iter(sorted(done.parent.glob("step-*.npz"), reverse=True))).unlink()
    again = arms(folder).run(out, progress=False)
    xr.testing.assert_identical(again.drop_attrs(), scores.drop_attrs())


def test_settings_name_the_runs(folder: Path, tmp_path: Path) -> None:
    from valuebias.ablation.design import Design, Run, instrument
    from valuebias.ablation.trained_runs import RunTrainer
    from valuebias.backends.registry import get_backend
    from valuebias.instruments import lexicon, prompts
    from valuebias.training.features import find_base
    from valuebias.training.reward import PairTokens

    asked = study(folder)
    base = find_base(asked.models()[0])
    words = instrument(prompts(asked.prompts), lexicon(asked.lexicon))
    design = Design(asked, tmp_path, get_backend("torch"), False, asked.split(), words)

    def digest(**settings: Any) -> str:
        run = Run(base, "plain", 24, 0, Objective(**settings))
        return RunTrainer(design, run, PairTokens(base, 1024), [])._digest()

    kinds: list[dict[str, Any]] = [
        {}, {"head": "mlp"}, {"kind": "grm"}, {"kind": "grm", "head": "linear"},
        {"kind": "grm", "width": 8}, {"kind": "grm", "weight": 0.02}, {"kind": "grm", "beta": 0.2},
        {"kind": "grm", "regulariser": "dpo"}, {"kind": "tcrm"},
        {"kind": "tcrm", "value_weight": 0.2}, {"kind": "tcrm", "smoothness_weight": 0.2},
    ]  # fmt: skip
    names = [digest(**settings) for settings in kinds]
    assert len(set(names)) == len(names)
    assert digest(name="another") == names[0]


def test_a_plan_has_the_arms(folder: Path) -> None:
    objective = ["bradley-terry", {"kind": "grm", "regulariser": "dpo"}]
    plan = arms(folder, objective=objective).plan()
    rows = plan.table.loc["llama"]
    assert rows.index.tolist() == [
        "plain · bradley-terry", "plain · grm", "plain · grm, before training", "checkpoints"
    ]  # fmt: skip
    plain, grm, before, scored = (row for _, row in rows.iterrows())
    assert plain["tokens"] == grm["tokens"] > before["tokens"] * 1.4
    assert before["conversations"] == 2 * 16
    assert grm["seconds"] > plain["seconds"]
    assert scored["steps"] == 4
    assert "language-model head stays in memory" in str(plan)
    assert len(plan.runs) == 4
    alone = arms(folder, objective="bradley-terry").plan()
    assert "language-model head" not in str(alone)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "gmr"}, "Did you mean 'grm'"),
        ({"weight": 0.1}, "weight is 0.1, but this is the objective 'bradley-terry'"),
        ({"width": 8}, "width is 8, but this is the head 'linear'"),
        ({"kind": "grm", "weight": 1}, "weight is 1; expected a number, 0 or more and below 1"),
        ({"kind": "grm", "weight": -0.1}, "weight is -0.1"),
        ({"kind": "grm", "weight": float("nan")}, "weight is nan"),
        ({"kind": "grm", "weight": "1e-2"}, "weight is '1e-2'.*Write it as 1.0e-2"),
        ({"kind": "grm", "weight": True}, "weight is True"),
        ({"kind": "grm", "beta": 0}, "beta is 0; expected a number above 0"),
        ({"kind": "grm", "beta": float("inf")}, "beta is inf"),
        ({"kind": "grm", "regulariser": "stf"}, "Did you mean 'sft'"),
        ({"kind": "grm", "width": 0}, "width is 0"),
        ({"kind": "grm", "width": 10**9}, "width is 1000000000; expected a whole number from 1 to"),
        ({"head": "deep"}, "head is 'deep'"),
        (
            {"kind": "tcrm", "value_weight": -0.1},
            "value_weight is -0.1; expected a number, 0 or mo",
        ),
        ({"kind": "tcrm", "smoothness_weight": float("inf")}, "smoothness_weight is inf"),
        ({"kind": "tcrm", "value_weight": "1e-1"}, "value_weight is '1e-1'.*Write it as 1.0e-2"),
        ({"kind": "tcrm", "weight": 0.1}, "weight is 0.1, but this is the objective 'tcrm'.*grm"),
        ({"value_weight": 0.1}, "value_weight is 0.1, but this is the obj.*give kind: tcrm"),
        ({"name": " "}, "name of the objective is ' '"),
    ],
)
def test_bad_objectives(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        Objective(**settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": ["grm", "grm"]}, "Two objectives are called 'grm'"),
        ({"objective": []}, "expected one or more"),
        ({"objective": 3}, "objective has 3"),
        ({"objective": {"kind": "grm", "betta": 1}}, "Did you mean 'beta'"),
        (
            {"tuning": "head", "training": None, "objective": "grm"},
            "keeps the base frozen. Its term .* would change nothing",
        ),
        ({"tuning": "head", "training": None, "objective": {"head": "mlp"}}, "head of one layer"),
        (
            {"tuning": "head", "training": None, "objective": "tcrm"},
            r"end of answers only.*valuebias\.ablation\.fit_head\(\.\.\., coherence=\.\.\.\)",
        ),
        (
            {"tuning": "head", "training": None,
             "objective": ["bradley-terry", {"name": "other"}]},
            "all of them give the same models",
        ),
    ],
)  # fmt: skip
def test_bad_studies(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        study(folder, **changes)


def test_a_reward_model_has_no_language_model_head(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = tiny_models.tiny("llama", "reward", tmp_path / "rm")
    with pytest.raises(ValueBiasError, match=r"'rm' has no language-model head \(it is a rew"):
        made(place, tmp_path, Objective(kind="grm"))
    lost = tiny_models.tiny("llama", "logprob", tmp_path / "lost")
    weights = load_file(lost / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, lost / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueBiasError, match=r"'lost' has no .* lack 'lm_head\.weight'.*bradley"):
        made(lost, tmp_path, Objective(kind="grm"))
    made(lost, tmp_path, Objective(kind="grm", weight=0))


def test_a_study_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        """
bases: {org/a: {family: A}, org/b: {family: B}}
sources: {mine: pairs.jsonl}
n_pairs: [16]
tuning: lora
objective:
  - bradley-terry
  - {kind: grm, weight: 0.01, beta: 0.1}
""",
        encoding="utf-8",
    )
    asked = Study.read(tmp_path / "study.yaml")
    assert asked.objective == (Objective(), Objective(kind="grm"))
    assert asked.objective[1].regulariser == "sft"
