"""From scores of options to choices, with models that are run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tiny_models import missing, tiny

import valuebias
from valuebias import ValueBiasError

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def task() -> valuebias.BanditTask:
    return valuebias.bandit_task(trials=2, tasks=2, seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> valuebias.Model:
    folder = tiny("llama", "logprob", tmp_path_factory.mktemp("lm") / "m")
    return valuebias.Model(folder, name="tiny", family="T", base="t")


@pytest.fixture(scope="module")
def scores(model: valuebias.Model, task: valuebias.BanditTask) -> xr.Dataset:
    return valuebias.score(
        model, prompts=task.prompts, lexicon=task.labels, kind="logprob", progress=False
    )


def test_choices_are_a_softmax_of_the_options_offered(
    scores: xr.Dataset, task: valuebias.BanditTask
) -> None:
    made = valuebias.choices(scores, task)
    cube = scores["score"]
    for _, row in task.trials.iterrows():
        pair = cube.sel(model="tiny", prompt=row["prompt"],
                        response=[row["first_label"], row["second_label"]])  # fmt: skip
        p = np.exp(pair.to_numpy().astype(float))
        found = made.sel(model="tiny", task=row["task"], trial=row["trial"])
        assert float(found["chose_first"]) == pytest.approx(p[0] / p.sum(), rel=1e-9)
        assert float(found["p_offered"]) == pytest.approx(p.sum(), rel=1e-9)
        assert str(found["first"].item()) == row["first"]
    assert made.attrs["how"] == "expected"
    assert made["family"].item() == "T"
    assert valuebias.fit_choices(made).fit_statistics()["n"].tolist() == [24]


def test_temperature_and_samples(scores: xr.Dataset, task: valuebias.BanditTask) -> None:
    plain, cold = (valuebias.choices(scores, task, temperature=t) for t in (1.0, 0.5))
    odds = [np.log(each["chose_first"] / (1 - each["chose_first"])) for each in (plain, cold)]
    np.testing.assert_allclose(odds[1], 2 * odds[0], rtol=1e-6)
    drawn = [valuebias.choices(scores, task, sample=seed) for seed in range(300)]
    assert set(np.unique(drawn[0]["chose_first"])) <= {0.0, 1.0}
    share = np.mean([each["chose_first"].to_numpy() for each in drawn], axis=0)
    assert np.abs(share - plain["chose_first"]).max() < 4.5 * 0.5 / np.sqrt(300)
    assert drawn[0].attrs["how"] == "sampled"


def test_rewards_choose_as_well(task: valuebias.BanditTask, tmp_path: Path) -> None:
    folder = tiny("llama", "reward", tmp_path / "rm")
    scored = valuebias.score(
        valuebias.Model(folder, name="rm", family="T", base="t"), prompts=task.prompts,
        lexicon=task.labels, kind="reward", store=tmp_path / "rewards.zarr", progress=False,
    )  # fmt: skip
    made = valuebias.choices(scored, task)
    assert "p_offered" not in made
    row = task.trials.iloc[3]
    first, second = (
        float(scored["score"].sel(prompt=row["prompt"], response=row[f"{s}_label"]).item())
        for s in ("first", "second")
    )
    found = float(made["chose_first"].sel(task=row["task"], trial=row["trial"]).item())
    assert found == pytest.approx(1 / (1 + np.exp(second - first)), rel=1e-6)
    again = valuebias.choices(valuebias.read(tmp_path / "rewards.zarr"), task)
    assert again["chose_first"].identical(made["chose_first"])


def test_labels_of_one_token_cost_no_token_more(model: valuebias.Model) -> None:
    """All labels are read at one place, so that options that are not offered take no work."""
    from valuebias.backends.packing import pack_targets
    from valuebias.models.resolve import resolve
    from valuebias.models.tokenizer import Tokenizer

    tokenizer = Tokenizer(resolve(model, kind="logprob"))
    text = str(valuebias.bandit_task(trials=2).prompts.table["text"].iloc[-1])
    sizes = []
    for labels in (["F", "J"], ["F", "J", "K", "M", "P", "Q"]):
        sequences, first = tokenizer.targets(text, labels)
        packs = list(pack_targets(sequences, np.asarray(first), batch_tokens=10**6))
        sizes.append(sum(len(each.pack) for each in packs))
    assert sizes[0] == sizes[1]


def test_labels_that_begin_alike_are_refused(model: valuebias.Model) -> None:
    alike = valuebias.bandit_task(trials=1, labels=["box-1", "box-2", "cup", "jar"], seed=1)
    scored = valuebias.score(
        model, prompts=alike.prompts, lexicon=alike.labels, kind="logprob", progress=False
    )
    with pytest.raises(ValueBiasError) as raised:
        valuebias.choices(scored, alike)
    said = str(raised.value)
    assert "'box-1' and 'box-2' begin with the same token to 'tiny'" in said
    apart = valuebias.bandit_task(trials=1, labels=["one", "box", "cup", "jar"], seed=1)
    scored = valuebias.score(
        model, prompts=apart.prompts, lexicon=apart.labels, kind="logprob", progress=False
    )
    assert valuebias.choices(scored, apart).sizes["trial"] == 10


def test_what_is_refused(scores: xr.Dataset, task: valuebias.BanditTask) -> None:
    other = valuebias.bandit_task(trials=2, tasks=2, seed=2)
    longer = valuebias.bandit_task(trials=3, tasks=2, seed=1)
    holes = scores.assign(score=scores["score"].where(scores["response"] != "F"))
    for given, said in (
        ((scores, "bandit"), "of type str"),
        ((scores, other), "have another text in the scores than in the task"),
        ((scores, longer), "The scores lack the prompts"),
        ((scores.drop_sel(response="F"), task), "The scores lack the responses 'F'"),
        ((holes, task), "Some options have no score"),
        ((scores.assign_attrs(kind="implicit"), task), "The scores are of kind 'implicit'"),
    ):
        with pytest.raises(ValueBiasError) as raised:
            valuebias.choices(*given)  # type: ignore[arg-type]
        assert said in str(raised.value), said
    with pytest.raises(ValueBiasError, match="temperature is 0"):
        valuebias.choices(scores, task, temperature=0)
