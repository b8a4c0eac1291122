"""What choices show by themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy import stats

import valuebias
from valuebias import ValueBiasError


@pytest.fixture(scope="module")
def task() -> valuebias.BanditTask:
    return valuebias.bandit_task(trials=15, tasks=12, seed=2)


def means(choices: xr.Dataset) -> dict[str, float]:
    table = valuebias.choice_measures(choices)
    return dict(zip(table["measure"], table["mean"], strict=True))


def test_relative_choice_tells_relative_from_absolute_choosers(task: valuebias.BanditTask) -> None:
    steep = {"inverse_temperature": 30.0, "learning_rate": 0.1}
    found = {
        value: means(valuebias.simulate_choices(task, value=value, parameters=steep, expected=True))
        for value in ("absolute", "relative")
    }
    assert found["absolute"]["relative choice"] < 0.2
    assert found["absolute"]["transfer accuracy"] > 0.85
    assert found["relative"]["relative choice"] > 0.7
    for measures in found.values():
        assert measures["training accuracy"] > 0.6
        assert abs(measures["first option"] - 0.5) < 0.05


def test_measures_are_counted_by_hand() -> None:
    small = valuebias.bandit_task(trials=2, tasks=2, seed=3)
    choices = valuebias.simulate_choices(small, n_models=2, seed=4)
    table = valuebias.choice_measures(choices).set_index(["model", "measure"])
    value, relative = small.options["value"], small.options["relative_value"]
    for m, model in enumerate(choices["model"].to_numpy()):
        counted: dict[str, list[float]] = {"training accuracy": [], "transfer accuracy": [],
                                           "relative choice": []}  # fmt: skip
        for (_, rows), chose in zip(
            small.trials.groupby("task"), choices["chose_first"].to_numpy()[m], strict=True
        ):
            for (_, row), y in zip(rows.iterrows(), chose, strict=True):
                chosen, other = row["first"], row["second"]
                if not y:
                    chosen, other = other, chosen
                counted[f"{row['phase']} accuracy"].append(value[chosen] > value[other])
                apart = (value[chosen] - value[other]) * (relative[chosen] - relative[other])
                if row["phase"] == "transfer" and apart < 0:
                    counted["relative choice"].append(relative[chosen] > relative[other])
        for name, each in counted.items():
            assert table.loc[(model, name), "mean"] == np.mean(each)
            assert table.loc[(model, name), "n"] == len(each)


def test_standard_errors_are_those_of_clusters(task: valuebias.BanditTask) -> None:
    choices = valuebias.simulate_choices(task, seed=4)
    row = valuebias.choice_measures(choices).set_index("measure").loc["first option"]
    chose = choices["chose_first"].to_numpy()[0]
    groups = np.repeat(np.arange(len(chose)), chose.shape[1])
    fitted = sm.OLS(chose.ravel(), np.ones(chose.size)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "df_correction": True}
    )
    # statsmodels multiplies by (n − 1) / (n − k), which is one here.
    assert row["se"] == pytest.approx(float(fitted.bse[0]), rel=1e-9)


def test_values_are_learned_from_outcomes_where_they_are_not_known(
    task: valuebias.BanditTask,
) -> None:
    choices = valuebias.simulate_choices(task, seed=4)
    unknown = choices.assign_coords(
        first_value=choices["first_value"] * np.nan, second_value=choices["second_value"] * np.nan
    )
    known, learned = (means(each) for each in (choices, unknown))
    assert known["first option"] == learned["first option"]
    assert abs(known["training accuracy"] - learned["training accuracy"]) < 0.1


def test_groups(task: valuebias.BanditTask) -> None:
    choices = valuebias.simulate_choices(task, n_models={"A": 2, "B": 1}, seed=4)
    table = valuebias.choice_measures(choices, by=("family", "style"))
    assert list(table.columns[:2]) == ["family", "style"]
    assert set(table["family"]) == {"A", "B"}
    single = valuebias.choice_measures(choices.sel(model=["A-1", "A-2"]), by="style")
    assert table[table["family"] == "A"]["mean"].tolist() == single["mean"].tolist()


def test_what_is_refused(task: valuebias.BanditTask) -> None:
    choices = valuebias.simulate_choices(task, seed=4)
    without = valuebias.simulate_choices(valuebias.bandit_task(trials=4, transfer=False))
    assert set(valuebias.choice_measures(without)["measure"]) == {
        "training accuracy", "first option",
    }  # fmt: skip
    for given, said in (
        ({"by": "families"}, "Did you mean 'family'?"),
        ({"prob": 1.0}, "prob is 1.0"),
        ({"measures": ["accuracy"]}, "There is no measure 'accuracy'"),
    ):
        with pytest.raises(ValueBiasError) as raised:
            valuebias.choice_measures(choices, **given)  # type: ignore[arg-type]
        assert said in str(raised.value)
    with pytest.raises(ValueBiasError, match="of the transfer phase, and the choices have none"):
        valuebias.choice_measures(without, measures=["relative choice"])


def test_tasks_that_all_agree_leave_room_for_others_that_do_not() -> None:
    rows = [
        {"model": "m", "task": str(task), "trial": trial, "first": "A", "second": "B",
         "first_outcome": 1, "second_outcome": 0, "choice": "A"}
        for task in range(3) for trial in range(1, 7)
    ]  # fmt: skip
    table = valuebias.choice_measures(valuebias.read_choices(pd.DataFrame(rows)))
    expected = stats.binomtest(3, 3).proportion_ci(0.9, method="exact")
    assert table["mean"].tolist() == [1.0, 1.0]
    assert table["lower"].to_numpy() == pytest.approx(expected.low)
    assert table["upper"].to_numpy() == pytest.approx(1.0)
