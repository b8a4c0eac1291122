"""What a message advises can be done: each call and command that one names is made here.

Tests elsewhere that follow an advice are named, so that a message with a new one is found.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from ablations import ablation
from advice import ROOT, arguments, commands, named
from typer.testing import CliRunner

import valuebias
from valuebias import ValueBiasError, schema
from valuebias.cli.app import app
from valuebias.preference_data.preferences import check_disjoint

pytestmark = pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")

QUICK: dict[str, Any] = {"draws": 10, "tune": 10, "chains": 2, "seed": 1, "progress": False}
SHELL = ("--draws", "10", "--tune", "10", "--chains", "2", "--seed", "1")
FOLLOWED: dict[tuple[str, str], str] = {}


def follows(file: str, *calls: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say which calls of a file's messages a test makes."""

    def register(test: Callable[..., None]) -> Callable[..., None]:
        for call in calls:
            FOLLOWED[file, call] = test.__name__
        return test

    return register


ELSEWHERE = {
    ("valuebias/fitting/choice_fit.py", "fit.loo()"): (
        "tests/fitting/test_choices.py::test_hierarchical_fits"
    ),
    (
        "valuebias/scoring/choosing.py",
        "valuebias.score(models, prompts=task.prompts, lexicon=task.labels)",
    ): "tests/scoring/test_choosing.py::test_rewards_choose_as_well",
    ("valuebias/scoring/choosing.py", "valuebias.bandit_task(..., labels=...)"): (
        "tests/scoring/test_choosing.py::test_labels_that_begin_alike_are_refused"
    ),
    ("analysis/ablation/layout.py", "share_remaining(base_gap=...)"): (
        "tests/ablation/test_fitting.py::test_shares_left"
    ),
    ("analysis/auditing/alike_prompts.py", "dataset.drop_sel(prompt={})"): (
        "tests/analysis/auditing/test_alike_prompts.py::"
        "test_scores_that_do_not_depend_on_the_prompt_are_refused"
    ),
    ("analysis/auditing/alike_prompts.py", "valuebias.audit(dataset)"): (
        "tests/analysis/auditing/test_alike_prompts.py::"
        "test_a_column_under_two_prompts_is_refused_by_name"
    ),
    (
        "valuebias/schema/spelling.py",
        "dataset.assign_coords({}=('model', [{}.get(name, name) for name in "
        "dataset[{}].values.tolist()]))",
    ): "tests/fitting/test_bases.py::test_bases_that_differ_in_spelling_are_mended_by_the_line",
    ("analysis/auditing/reading.py", "Model(..., reward_at='last')"): (
        "tests/models/test_reading.py::test_a_class_that_reads_by_another_rule_is_refused"
    ),
    ("analysis/design/formula.py", "dataset.assign_coords({{}: ({}, values)})"): (
        "tests/fitting/test_bases.py::test_what_adds_a_coordinate_is_said"
    ),
    ("analysis/design/random_terms.py", "dataset.assign_coords({}=dataset[{}].astype(str))"): (
        "tests/fitting/test_bases.py::test_bases_are_named_in_words"
    ),
    ("analysis/design/unscored.py", "dataset.drop_sel(category=[{}])"): (
        "tests/fitting/test_shapes.py::test_the_advice_on_what_was_not_scored_works"
    ),
    ("analysis/design/unscored.py", 'dataset.isel(prompt=dataset["framing"] != "{}")'): (
        "tests/fitting/test_shapes.py::test_the_advice_on_what_was_not_scored_works"
    ),
    **dict.fromkeys(
        (
            ("valuebias/schema/validation.py", "valuebias.contrast_statistics(scores)"),
            ("valuebias/schema/validation.py", "valuebias.fit(scores)"),
        ),
        "tests/fitting/test_items.py::test_what_takes_words_says_what_takes_contrast_sets",
    ),
    ("valuebias/training/bradley_terry.py", "valuebias.ablation.temporal_coherence(...)"): (
        "tests/training/test_coherence.py::test_the_head_is_the_optimum_of_the_formula"
    ),
    ("valuebias/ablation/study.py", "valuebias.ablation.fit_head(..., coherence=...)"): (
        "tests/training/test_coherence.py::test_the_head_is_the_optimum_of_the_formula"
    ),
    ("valuebias/plots/statistics.py", "valuebias.contrast_statistics(...)"): (
        "tests/plots/test_statistics.py::test_one_set_alone_and_shares_around_one_half"
    ),
    ("backends/heads.py", "head.float()"): (
        "tests/backends/test_heads.py::test_modules_of_the_users"
    ),
    ("valuebias/scoring/request.py", "Model(..., reference='org/model')"): (
        "tests/scoring/test_policies.py::test_without_a_reference"
    ),
    ("valuebias/scoring/request.py", "valuebias.implicit(..., method='log_ratio')"): (
        "tests/scoring/test_policies.py::test_vocabularies_have_a_way_of_their_own"
    ),
    ("valuebias/scoring/request.py", "valuebias.Judge(template=..., verdicts=...)"): (
        "tests/scoring/test_judges.py::test_what_messages_advise_can_be_done"
    ),
    ("valuebias/instruments/judges.py", "valuebias.judge('a-or-b', against='…')"): (
        "tests/scoring/test_judges.py::test_what_messages_advise_can_be_done"
    ),
    ("valuebias/schema/verdicts.py", "valuebias.judge('a-or-b', against='…')"): (
        "tests/scoring/test_judges.py::test_what_messages_advise_can_be_done"
    ),
    ("valuebias/schema/verdicts.py", "valuebias.score(..., kind='judged')"): (
        "tests/scoring/test_judges.py::test_what_messages_advise_can_be_done"
    ),
    ("valuebias/_core/frames.py", "table.collect()"): (
        "tests/schema/test_shapes_of_others.py::test_rows_that_are_not_there_yet_are_asked_for"
    ),
    ("valuebias/_core/sums.py", "valuebias check"): (
        "tests/checking/test_checking.py::test_every_piece_of_a_store_is_named_and_made_again_alone"
    ),
    ("valuebias/checking/check.py", "valuebias ablate STUDY --out {}"): (
        "tests/ablation/test_damage.py::test_what_is_damaged_is_made_again_alone"
    ),
    ("valuebias/checking/check.py", "valuebias.inject_words(..., store={})"): (
        "tests/logprobs/test_injection.py::test_what_is_damaged_is_named_and_made_again_alone"
    ),
    ("valuebias/models/bases.py", "Model(..., base='google/gemma-2-2b-it')"): (
        "tests/models/test_bases.py::test_models_without_a_base_are_named_once"
    ),
    ("valuebias/models/chat.py", "Model(prefix='generation')"): (
        "tests/models/test_templates.py::"
        "test_a_template_without_answers_can_be_read_at_its_generation_prompt"
    ),
    ("valuebias/posterior/leave_out.py", "dataset.dropna({}, subset=['score'])"): (
        "tests/posterior/test_leaving_out.py::"
        "test_of_an_incomplete_crossing_the_advice_makes_a_complete_one"
    ),
    ("valuebias/schema/validation.py", "ds.transpose({})"): (
        "tests/schema/test_shapes_of_others.py::test_the_advice_on_dims_works"
    ),
    ("valuebias/schema/validation.py", "ds.isel({}=0)"): (
        "tests/schema/test_shapes_of_others.py::test_the_advice_on_dims_works"
    ),
    **{
        ("valuebias/schema/validation.py", call): (
            "tests/schema/test_shapes_of_others.py::"
            "test_what_xarray_joins_is_taken_or_refused_with_advice_that_works"
        )
        for call in (
            "ds.assign(membership=ds['membership'].isel({}=0))",
            "xr.concat([...], dim={}, data_vars='minimal')",
            "valuebias.schema.concat([...])",
        )
    },
    ("valuebias/schema/validation.py", "valuebias.schema.concat([...], join='outer')"): (
        "tests/schema/test_shapes_of_others.py::test_words_that_some_lack_are_joined_by_the_advice"
    ),
    **{
        (file, "valuebias.score(...)"): (
            "tests/checking/test_checking.py::"
            "test_every_piece_of_a_store_is_named_and_made_again_alone"
        )
        for file in (
            "valuebias/_core/zarr_records.py",
            "valuebias/scoring/store.py",
            "valuebias/scoring/vocabulary.py",
            "valuebias/io/files.py",
        )
    },
    ("valuebias/_core/zarr_records.py", "valuebias check"): (
        "tests/checking/test_checking.py::test_every_piece_of_a_store_is_named_and_made_again_alone"
    ),
    ("valuebias/checking/check.py", "valuebias score … --store {}"): (
        "tests/checking/test_checking.py::test_every_piece_of_a_store_is_named_and_made_again_alone"
    ),
    **{
        ("valuebias/schema/validation.py", call): (
            "tests/logprobs/test_alignment.py::test_whole_vocabularies_are_to_be_joined_first"
        )
        for call in (
            "valuebias.align({}, merge='space', lexicon='agency-communion')",
            "valuebias.write(aligned, 'aligned.nc')",
        )
    },
    ("valuebias/logprobs/alignment.py", "valuebias.read_vocabulary(path)"): (
        "tests/models/test_names.py::test_any_name_stays_in_its_store"
    ),
    ("valuebias/cli/scoring.py", "valuebias explain MODELS"): (
        "tests/cli/test_explaining.py::test_a_table_and_advice"
    ),
    ("valuebias/io/files.py", "valuebias.read_vocabulary({})"): (
        "tests/models/test_names.py::test_any_name_stays_in_its_store"
    ),
}
"""Advice that the tests of a module follow."""

_TUNED = "what a fine-tuned model gives; tests/logprobs/test_injection.py makes one"
_SCORED = "takes models; the tests of scoring make the call"
_LARGE = "takes models of 8 billion parameters"
_SHARDS = "of shards; tests/scoring/test_shards.py makes the call"
_ADAPTERS = "of adapters; tests/models/test_adapters.py gives the model so"
EXCUSED = {
    ("valuebias/cli/scoring.py", "valuebias merge STORES"): _SHARDS,
    ("valuebias/cli/explaining.py", "valuebias merge"): _SHARDS,
    ("valuebias/cli/explaining.py", "valuebias plan"): _SCORED,
    ("valuebias/io/files.py", "valuebias.merge(stores, out=...)"): _SHARDS,
    ("valuebias/scoring/merging.py", "valuebias.score(...)"): _SHARDS,
    ("valuebias/scoring/merging.py", "valuebias.score(..., shard=...)"): _SHARDS,
    ("valuebias/scoring/merging.py", "valuebias.score(..., shard=({}, {}), store={})"): _SHARDS,
    ("valuebias/scoring/sharing.py", 'valuebias.merge(stores, out="scores.zarr")'): _SHARDS,
    ("valuebias/scoring/vocabulary.py", "valuebias.merge(stores, out=...)"): _SHARDS,
    (
        "valuebias/models/adapters.py",
        "Model(location='the base', adapter='the adapter')",
    ): _ADAPTERS,
    ("valuebias/models/resolve.py", "Model(location='the base', adapter='the adapter')"): _ADAPTERS,
    ("valuebias/models/weights.py", "Model('the base', adapter='the adapter')"): _ADAPTERS,
    ("valuebias/posterior/idata.py", "fit.loo()"): "only where the scores would fill gigabytes",
    ("valuebias/models/weights.py", "save_pretrained(folder)"): "a method of transformers",
    ("valuebias/shaping/heads.py", "save_pretrained(folder)"): "a method of transformers",
    ("valuebias/shaping/axes.py", "valuebias.direction(..., held_out=0.5)"): (
        "tests/shaping/test_lab.py::test_what_a_direction_has_seen_is_no_evidence"
    ),
    ("valuebias/shaping/shape.py", "valuebias.direction(...)"): (
        "tests/shaping/test_shape.py::test_rewards_are_those_of_projected_hidden_states"
    ),
    ("valuebias/shaping/sides.py", "valuebias.lexicon(..., threshold=...)"): (
        "tests/shaping/test_direction.py::test_weights_of_words_are_turned_into_marks_by_the_advice"
    ),
    ("valuebias/scoring/plan.py", "Model(..., family='…')"): "a field as any; read from files, too",
    ("valuebias/checking/check.py", "valuebias reproduce … --out {}"): "takes the released data",
    ("valuebias/reproduction/items.py", "valuebias.validate_implicit(logprobs)"): (
        "takes log-probs of two models; its own tests make the call"
    ),
    (
        "valuebias/reproduction/items.py",
        "valuebias score christian2026-rms --lexicon vocabulary --store rewards",
    ): _LARGE,
    (
        "valuebias/reproduction/sources.py",
        "valuebias score {} --kind logprob --lexicon vocabulary --store logprobs",
    ): _LARGE,
    ("valuebias/logprobs/injection/report.py", "ds.drop_vars('raised')"): _TUNED,
    ("valuebias/logprobs/injection/report.py", "valuebias.inject_words(...)"): _TUNED,
    ("valuebias/logprobs/injection/run.py", "valuebias.LoraSettings(...)"): _TUNED,
    ("valuebias/logprobs/validation.py", "ds.drop_vars('raised')"): _TUNED,
    ("valuebias/logprobs/vocabularies.py", 'valuebias.score(..., kind="logprob")'): _SCORED,
    (
        "valuebias/schema/validation.py",
        "valuebias.score(..., lexicon='agency-communion')",
    ): _SCORED,
    ("valuebias/schema/contrast_scores.py", "valuebias.score_contrasts(...)"): _SCORED,
    ("analysis/along/readings.py", "valuebias.score_contrasts(..., read='all')"): _SCORED,
    ("valuebias/fitting/along.py", "valuebias.score_contrasts(..., read='all')"): _SCORED,
    ("valuebias/cli/sources.py", "valuebias score {} --store scores"): _SCORED,
    ("valuebias/cli/sources.py", "valuebias ablate {} --out ablation"): _SCORED,
    ("valuebias/io/files.py", "valuebias score"): _SCORED,
}
"""Advice that is not followed in tests, and why."""


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return valuebias.simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=12, seed=1)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command in a folder of its own; give what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str, fails: bool = False) -> str:
        done = CliRunner().invoke(app, list(arguments), prog_name="valuebias")
        assert (done.exit_code == 1) == fails, done.output
        return " ".join((done.output if fails else done.stdout).split())

    return run


def told(function: Callable[..., Any], *given: Any, **named: Any) -> str:
    """Give what an error says."""
    with pytest.raises(ValueBiasError) as caught:
        function(*given, **named)
    return str(caught.value)


def filled(message: str, call: str, **known: Any) -> Any:
    """Evaluate the expression of a message that begins as given."""
    start = message.index(call)
    depth = 0
    for end, sign in enumerate(message[start:], start):
        depth += (sign in "([") - (sign in ")]")
        if depth == 0 and sign == ")" and not re.match(r"\.\w", message[end + 1 :]):
            break
    expression = message[start : end + 1]
    names = {"valuebias": valuebias, "xr": xr, "pandas": pd, **known}
    return eval(expression, names)  # noqa: S307 - the advice of our own message


def test_every_advice_is_followed_somewhere() -> None:
    found = set(named())
    known = {*FOLLOWED, *ELSEWHERE, *EXCUSED}
    assert not found - known, "no test follows what these messages advise"
    assert not known - found, "no message advises this any more"
    for place in ELSEWHERE.values():
        path, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), place


def test_what_messages_name_exists() -> None:
    known = commands()
    for (file, call), text in named().items():
        where = f"{file}: {call}"
        if call.startswith("valuebias "):
            words = call.split()[1:]
            name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
            assert name in known, where
            assert set(re.findall(r"--[a-z-]+", call)) <= known[name], where
        elif call.startswith("valuebias."):
            path, _, inside = call.partition("(")
            target: Any = valuebias
            for part in path.split(".")[1:]:
                target = getattr(target, part)
            asked = set(re.findall(r"(?:^|, )(\w+)=", inside))
            assert asked <= set(inspect.signature(target).parameters), f"{where} in {text}"


OTHERS = {
    **dict.fromkeys(("subset", "response", "dim", "data_vars", "item", "variant"), "xarray's"),
    "index": "pandas'",
    "sep": "a line of a CSV file",
    "level": "pandas'",
    "style": "HTML of notebooks",
    **dict.fromkeys(("pad_token_id", "transformers_weights"), "transformers', in a config.json"),
    **dict.fromkeys(
        ("init_lora_weights", "path_initial_model_for_weight_conversion", "peft_type"),
        "peft's, in an adapter_config.json",
    ),
    **dict.fromkeys(("asynchronous", "n_workers", "processes", "threads_per_worker"), "Dask's"),
    "enable_prefix_caching": "vLLM's, in what it says of itself",
    **dict.fromkeys(("device", "attention"), "of backends, which are loaded where they run"),
}
"""Arguments that are not the package's own."""


def parameters() -> Iterator[str]:
    """Name what public functions, classes and methods take."""
    for name in valuebias.__all__:
        value = getattr(valuebias, name)
        inside = [getattr(value, entry) for entry in getattr(value, "__all__", [])]
        for one in inside if inspect.ismodule(value) else [value]:
            methods = inspect.getmembers(one, callable) if inspect.isclass(one) else []
            for each in (one, *(method for key, method in methods if key[0] != "_")):
                with contextlib.suppress(TypeError, ValueError):
                    yield from inspect.signature(each).parameters


def test_arguments_that_messages_name_exist() -> None:
    known = {*parameters(), *OTHERS}
    assert len(arguments()) > 50
    assert {name: file for name, file in arguments().items() if name not in known} == {}


@follows(
    "analysis/ablation/layout.py",
    "ds.assign_coords({})", "ds.assign_coords(base=('model', [...]))", "valuebias.fit(ds)",
)  # fmt: skip
def test_models_of_no_ablation() -> None:
    ds = ablation(1, n_pairs=(8_000, 16_000), seeds=2, n_words=10)
    bare = ds.drop_vars(["source", "n_pairs"])
    said = told(valuebias.fit_ablation, bare)
    assert "no coordinate 'source' and 'n_pairs'" in said
    text = said.replace("source=('model', [...])", "source=('model', sources)").replace(
        "n_pairs=('model', [...])", "n_pairs=('model', pairs)"
    )
    known = {"sources": ds["source"].to_numpy(), "pairs": ds["n_pairs"].to_numpy()}
    again = filled(text, "ds.assign_coords", ds=bare, **known)
    whole = valuebias.fit_ablation(again, **QUICK)
    assert whole.slope()["name"].tolist() == ["Gemma − Llama"]
    assert filled(said, "valuebias.fit(ds)", ds=bare).contrasts()["name"][0] == "Gemma − Llama"
    nameless = ds.assign_coords(base=("model", [""] * ds.sizes["model"]))
    said = told(valuebias.fit_ablation, nameless).replace("[...]", "bases")
    given = filled(said, "ds.assign_coords", ds=nameless, bases=ds["base"].to_numpy())
    assert valuebias.fit_ablation(given, **QUICK).slope()["name"].tolist() == ["Gemma − Llama"]


@follows("analysis/ablation/notes.py", "valuebias.fit_ablation(dataset)")
@follows(
    "valuebias/posterior/ablation/word_changes.py",
    "word_changes()", "valuebias.fit_ablation(dataset)",
)  # fmt: skip
@follows("valuebias/plots/gaps.py", "valuebias.fit_ablation(dataset)")
def test_an_ablation_is_fitted_as_one() -> None:
    dataset = ablation(1, n_pairs=(8_000, 16_000), seeds=2, n_words=10)
    plain = valuebias.fit(dataset, **QUICK)
    (note,) = [one for one in plain.notes if one.code == "training averaged over"]
    assert "valuebias.fit_ablation(dataset)" in note.text
    assert "valuebias.fit_ablation(dataset)" in told(valuebias.plots.plot_gaps, plain)
    fit = valuebias.fit_ablation(dataset, **QUICK)
    assert valuebias.plots.plot_gaps(fit).axes
    rows = [
        (family, n, step, category, 700 + sign * (40 - n / 1000 + noise))
        for family, sign in (("A", 1), ("B", -1))
        for n, noise in ((1000, 1.0), (2000, -2.0), (4000, 1.5), (8000, 0.5))
        for step in (1, 2)
        for category, sign in (("agency", sign), ("communion", -sign))
    ]
    table = pd.DataFrame(
        rows, columns=["family", "n_pairs", "checkpoint", "category", "median_rank"]
    ).assign(base=lambda t: t["family"], source="s")
    table["median_rank"] += np.random.default_rng(1).normal(size=len(table))
    medians = valuebias.fit_ablation_medians(table, seed=1)
    assert "valuebias.fit_ablation(dataset)" in told(medians.word_changes)
    assert len(fit.word_changes())


@follows("analysis/auditing/checks.py", "dataset.assign_coords(base=('model', [...]))")
def test_models_without_a_base(ds: xr.Dataset) -> None:
    dataset = ds.assign_coords(base=("model", [""] * 4)).assign_attrs(provenance="{}")
    (said,) = [t for t in valuebias.audit(dataset).findings["detail"] if "have no base" in t]
    given = filled(
        said.replace("[...]", "bases"), "dataset.assign_coords", dataset=dataset, bases=list("abcd")
    )
    assert not any("have no base" in t for t in valuebias.audit(given).findings["detail"])


@follows(
    "analysis/classical/medians.py",
    "valuebias.lexicon(..., threshold=0.5)",
    "dataset.assign(membership=dataset['membership'] >= 0.5)",
)
def test_words_with_weights_in_the_papers_analysis(
    ds: xr.Dataset, shell: Callable[..., str]
) -> None:
    weights = ds["membership"] * np.linspace(0.4, 1.0, 12)[:, None]
    dataset = ds.assign(membership=(("response", "category"), weights.to_numpy()))
    said = told(valuebias.classical, dataset)
    marked = filled(said, "dataset.assign", dataset=dataset)
    expected = valuebias.classical(marked, n_permutations=9).table
    assert "valuebias.lexicon(..., threshold=0.5)" in said
    lexicon = valuebias.lexicon(schema.member_table(dataset), threshold=0.5)
    assert lexicon.membership(dataset["response"].to_numpy().tolist()).equals(
        schema.member_table(marked).rename_axis(None).rename_axis(None, axis=1)
    )
    valuebias.write(dataset, "scores.nc")
    assert "--threshold 0.5" in shell("classical", "scores.nc", fails=True)
    shown = shell("classical", "scores.nc", "--threshold", "0.5", "--n-permutations", "9", "--json")
    assert "headline" in shown
    assert len(expected)


@follows("analysis/design/units.py", "dataset.assign_coords({}=('model', [...]))")
def test_bases_that_nobody_named(ds: xr.Dataset) -> None:
    dataset = ds.assign_coords(base=("model", [""] * 4))
    said = told(valuebias.fit(dataset, **QUICK).loo, by="base", progress=False)
    given = filled(
        said.replace("[...]", "bases"), "dataset.assign_coords", dataset=dataset, bases=list("abcd")
    )
    valuebias.fit(given, **QUICK).loo(by="base", progress=False)


@follows(
    "analysis/design/unscored.py",
    "dataset.isel(prompt=dataset['framing'].to_numpy() != 'neutral')",
    "dataset.isel(prompt=dataset['framing'].to_numpy() == 'neutral')",
)
def test_neutral_prompts_beside_others(ds: xr.Dataset, shell: Callable[..., str]) -> None:
    framing = ["neutral", "neutral", *ds["framing"].to_numpy()[2:].tolist()]
    dataset = ds.assign_coords(framing=("prompt", framing))
    said = told(valuebias.fit, dataset)
    for begin, kept in (("!= 'neutral'", 2), ("== 'neutral'", 2)):
        start = said[: said.index(begin)].rindex("dataset.isel")
        part = filled(said[start:], "dataset.isel", dataset=dataset)
        assert valuebias.fit(part, **QUICK).data.sizes["prompt"] == kept
    valuebias.write(dataset, "scores.nc")
    assert "--framing signed, --framing neutral" in shell("fit", "scores.nc", fails=True)
    for framing in ("signed", "neutral"):
        shell("fit", "scores.nc", "--framing", framing, *SHELL)


@follows("analysis/estimands/cells.py", "comparisons({})")
@follows("analysis/estimands/diagnostics.py", "fit.summary()", "fit.priors()")
def test_questions_of_another_kind(ds: xr.Dataset) -> None:
    fit = valuebias.fit(ds, "~ family", **QUICK)
    said = told(fit.slopes, "family")
    assert len(filled(said, "comparisons", comparisons=fit.comparisons).table())
    sds = [name for name in fit.summary().index if str(name).startswith("sd[")]
    assert sds
    assert "sd[word]" in fit.priors().index


@follows("analysis/outcome.py", "valuebias data read")
@follows("valuebias/cli/data.py", "valuebias lexicons list")
@follows("valuebias/instruments/lexicons.py", "valuebias lexicons list", "valuebias.lexicons()")
@follows("valuebias/cli/data.py", "valuebias fit {}")
@follows("valuebias/cli/sources.py", "valuebias data read {} --out scores")
def test_scores_of_ones_own_in_a_shell(shell: Callable[..., str]) -> None:
    words = valuebias.lexicon().table
    chosen = [*words.index[words["agency"]][:6], *words.index[words["communion"]][:6]]
    rng = np.random.default_rng(1)
    Path("scores").mkdir()
    for model in ("org_a", "org_b", "org_c", "org_d"):
        table = pd.DataFrame(rng.normal(size=(12, 2)), index=pd.Index(chosen, name="word"))
        table.columns = ["best_ever_one", "bad_ever_one"]
        table.to_csv(f"scores/x_rewards_{model}.csv")
    Path("models.csv").write_text(
        "model,family,base,stage\n" + "".join(f"org/{m},{m > 'b'},{m},reward\n" for m in "abcd")
    )
    assert "valuebias data read scores --out scores.nc" in shell("fit", "scores", fails=True)
    read = ("data", "read", "scores", "--models", "models.csv")
    shell(*read, "--out", "scores.nc")
    assert "valuebias data read ... --lexicon" in shell("fit", "scores.nc", fails=True)
    listed = shell("lexicons", "list")
    assert "agency-communion" in listed
    unknown = (*read, "--lexicon", "agency-comunion", "--out", "other.nc")
    assert "'valuebias lexicons list'" in shell(*unknown, fails=True)
    assert "valuebias.lexicons()" in told(valuebias.lexicon, "agency-comunion")
    assert "agency-communion" in set(valuebias.lexicons()["name"])
    shell(*read, "--lexicon", "agency-communion", "--out", "scores.nc")
    said = shell("data", "read", "scores.nc", "--out", "other.nc", fails=True)
    command = shlex.split(said[said.index("valuebias fit") :])
    shell(*command[1:], *SHELL)


@follows("valuebias/cli/sources.py", "valuebias data load {} --out {}")
@follows("valuebias/cli/fit_config.py", "valuebias settings FIT writes those of a saved fit")
@follows("valuebias/io/files.py", "valuebias report {} --out report", "valuebias.load(path)")
@follows(
    "valuebias/posterior/saved.py",
    "valuebias fit {} --out fit", "valuebias.fit(valuebias.read(path))",
)  # fmt: skip
def test_fits_and_scores_taken_for_one_another(ds: xr.Dataset, shell: Callable[..., str]) -> None:
    path = valuebias.write(ds, "scores.csv")
    said = told(valuebias.load, path)
    fit = valuebias.fit(valuebias.read(path), **QUICK)
    assert "valuebias.fit(valuebias.read(path))" in said
    Path("report.yaml").write_text("[]\n")
    assert "valuebias settings FIT" in shell(
        "fit", "scores.csv", "--config", "report.yaml", fails=True
    )
    assert "valuebias fit scores.csv --out fit.nc" in said
    shell("fit", "scores.csv", "--out", "fit.nc", *SHELL)
    assert "formula" in shell("settings", "fit.nc")
    said = told(valuebias.read, "fit.nc")
    assert "valuebias.load(path)" in said
    assert valuebias.load("fit.nc").contrasts().equals(fit.contrasts())
    command = said[said.index("valuebias report") :].partition(" writes")[0]
    shell(*shlex.split(command)[1:])
    assert Path("report.html").exists()
    shell("data", "load", "simulated", "--out", "simulated.csv")


class Unreadable:
    """A table of a library that gives no rows to others."""

    columns, schema = ("word",), None

    def __arrow_c_stream__(self, requested: object = None) -> object:
        raise ValueError("closed")

    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame({"word": ["win", "love"], "a": [True, False], "b": [False, True]})


@follows("valuebias/_core/frames.py", "table.to_pandas()")
def test_a_table_that_gives_no_rows() -> None:
    table = Unreadable()
    said = told(valuebias.lexicon, table)
    assert valuebias.lexicon(filled(said, "table.to_pandas", table=table)).words == ("win", "love")


@follows("valuebias/instruments/prompts.py", "valuebias.prompts(..., framing='neutral')")
def test_prompts_without_framing() -> None:
    texts = {"a": "What is it?", "b": "And that?"}
    said = told(valuebias.prompts, texts)
    assert "valuebias.prompts(..., framing='neutral')" in said
    assert len(valuebias.prompts(texts, framing="neutral").table) == 2


@follows(
    "valuebias/io/long_reading.py",
    "valuebias.read_scores({}, models='models.csv', prompts='prompts.csv', kind='reward')",
    "valuebias data read {} --models models",
)
@follows("valuebias/io/wide_sheets.py", "valuebias fit {} --kind reward",
         "valuebias.read({}, kind='reward')")  # fmt: skip
def test_long_tables(ds: xr.Dataset, shell: Callable[..., str]) -> None:
    cells = ds["score"].to_dataframe()["score"].reset_index()
    cells.to_csv("mine.csv", index=False)
    Path("models.csv").write_text(
        "model,family,base,stage\n"
        + "".join(f"{m},{m[10]},{m},reward\n" for m in ds["model"].to_numpy())
    )
    schema.prompt_table(ds)[["text", "framing"]].to_csv("prompts.csv", index_label="prompt")
    said = told(valuebias.read, "mine.csv", kind="reward")
    read = filled(said, "valuebias.read_scores")
    np.testing.assert_array_equal(
        read["score"].sel({dim: ds[dim] for dim in schema.DIMS}), ds["score"]
    )
    said = shell("fit", "mine.csv", "--kind", "reward", fails=True)
    shell(*shlex.split(said[said.index("valuebias data read") :])[1:])
    assert valuebias.read("scores.nc").sizes["model"] == 4
    whole = cells.merge(schema.model_table(ds).reset_index()).merge(
        schema.prompt_table(ds)[["text", "framing"]].reset_index()
    )
    whole["category"] = whole["response"].str.partition("_")[0]
    Path("folder").mkdir()
    whole.to_csv("folder/x_rewards_simulated_a-1.csv", index=False)
    whole.to_csv("folder/x_rewards_simulated_a-2.csv", index=False)
    about = {"models": "models.csv", "prompts": "prompts.csv", "partial": True}
    said = told(valuebias.read_scores, "folder", **about)
    assert filled(said, "valuebias.read").sizes["model"] == 4
    read = ("data", "read", "folder", "--models", "models.csv", "--prompts", "prompts.csv")
    said = shell(*read, "--partial", "--out", "again.nc", fails=True)
    shell(*shlex.split(said[said.index("valuebias fit") :])[1:], *SHELL)


@follows(
    "valuebias/io/naming.py",
    "pandas.DataFrame({'family': ['Gemma'], 'base': ['google/gemma-2-2b-it'], "
    "'stage': ['reward'], 'n_params': [2.6e9]}, index=['<org>/<name>'])",
    "read_scores({{}: {}, …}, …)",
)
@follows("valuebias/io/wide_sheets.py", "valuebias.schema.concat(..., join='outer')")
def test_wide_tables(tmp_path: Path) -> None:
    one, other = tmp_path / "scores_of_tiny.csv", tmp_path / "b_rewards_org_b.csv"
    one.write_text("word,best_ever_one,bad_ever_one\nwin,1,2\nlove,3,4\n")
    other.write_text("word,best_ever_one\nwin,1\nlove,3\n")
    said = told(valuebias.read_scores, one)
    models = filled(said.replace("<org>/<name>", "org/tiny"), "pandas.DataFrame")
    said = told(valuebias.read_scores, one, models=models)
    call = said[said.index("read_scores(") :].partition(", …}, …)")[0] + "}, models=models)"
    read = eval(call, {"read_scores": valuebias.read_scores, "models": models})  # noqa: S307
    assert read["model"].to_numpy().tolist() == ["org/tiny"]
    known = pd.concat([models, models.set_axis(["org/b"])])
    files = {"org/tiny": one, "org/b": other}
    said = told(valuebias.read_scores, files, models=known)
    assert "valuebias.schema.concat(..., join='outer')" in said
    parts = [valuebias.read_scores({name: file}, models=known) for name, file in files.items()]
    assert schema.concat(parts, join="outer").sizes["prompt"] == 2


@follows("valuebias/logprobs/alignment.py", "valuebias.align(...)")
def test_scores_that_were_not_aligned(ds: xr.Dataset) -> None:
    assert "valuebias.align(...)" in told(valuebias.alignment_report, ds)
    score = ds["score"] - float(ds["score"].max()) - 1
    logprobs = ds.assign(score=score).assign_attrs(kind="logprob", units="nat")
    assert len(valuebias.alignment_report(valuebias.align(logprobs))) == 4


@follows("valuebias/plots/posterior_numbers.py", "valuebias.fit(dataset)")
def test_a_fit_of_other_scores(ds: xr.Dataset) -> None:
    dataset = ds.isel(model=[0, 2])
    fit = valuebias.fit(ds, **QUICK)
    said = told(valuebias.plots.plot_ranks, dataset, fit=fit)
    assert "valuebias.fit(dataset)" in said
    assert valuebias.plots.plot_ranks(dataset, fit=valuebias.fit(dataset, **QUICK)).axes


@follows("valuebias/posterior/placebo.py", "dataset.drop_sel(response=[...])")
def test_a_placebo_of_words_that_some_did_not_score(ds: xr.Dataset) -> None:
    score = ds["score"].to_numpy().copy()
    score[0, ds["framing"].to_numpy() == "positive", 3] = np.nan
    dataset = ds.assign(score=(ds["score"].dims, score))
    said = told(valuebias.fit(dataset, **QUICK).placebo, n=20, seed=1)
    word = str(ds["response"].to_numpy()[3])
    assert word in said
    fewer = filled(
        said.replace("[...]", "words"), "dataset.drop_sel", dataset=dataset, words=[word]
    )
    assert valuebias.fit(fewer, **QUICK).placebo(n=20, seed=1)


@follows("valuebias/preference_data/preferences.py", "split()")
def test_preferences_that_share_pairs() -> None:
    pairs = pd.DataFrame({"prompt": [f"p{i}" for i in range(8)], "chosen": "a", "rejected": "b"})
    whole = valuebias.preferences(pairs)
    train, test = whole.split(held_out=2, seed=1)
    other = whole.split(held_out=4, seed=2)[1]
    assert "Take both from one split()" in told(check_disjoint, train, other)
    check_disjoint(train, test)


@follows("valuebias/schema/joining.py", "ds.drop_vars({})")
def test_words_that_two_datasets_know_differently(ds: xr.Dataset) -> None:
    parts = [
        ds.isel(model=[2 * i, 2 * i + 1]).assign_coords(rarity=("response", np.arange(12.0) + i))
        for i in (0, 1)
    ]
    said = told(schema.concat, parts)
    parts[1] = filled(said, "ds.drop_vars", ds=parts[1])
    assert schema.concat(parts)["rarity"].to_numpy().tolist() == list(range(12))


def changes(ds: xr.Dataset) -> Iterator[tuple[str, xr.Dataset, dict[str, Any]]]:
    yield "ds.assign_coords", ds.drop_vars("stage"), {"given": ["reward"] * 4}
    yield "ds['score'].astype", ds.assign(score=ds["score"].astype(float)), {}
    silent = ds.assign(score=ds["score"].where(ds["model"] != "simulated/a-1"))
    yield "ds.drop_sel(model=", silent, {}
    even = ds.assign(score=ds["score"].where(ds["model"] != "simulated/a-1", 1.0))
    yield "ds.drop_sel(model=", even, {}
    none = ds["membership"].where(ds["category"] != "agency", False)
    yield "ds.drop_sel(category=", ds.assign(membership=none), {"given": ["agency"]}


@follows("valuebias/schema/choices.py", "valuebias.choices(scores, task)",
         "valuebias.read_choices(path)", "ds.sel(model=['name'])")  # fmt: skip
@follows("valuebias/scoring/choosing.py", "valuebias.bandit_task(...)")
@follows("valuebias/datasets/simulated_choices.py", "valuebias.bandit_task(...)")
@follows("valuebias/fitting/choice_fit.py", "fit.fit_statistics()", "fit.compare(other)",
         "valuebias.fit_choices(...)")  # fmt: skip
@follows("valuebias/plots/choices.py", "fit.summary()")
@follows("analysis/learning/measures.py", "valuebias.bandit_task(..., transfer=True)")
def test_choices_and_learning_models(tmp_path: Path) -> None:
    task = valuebias.bandit_task(trials=6, transfer=False)
    assert "valuebias.bandit_task(...)" in told(valuebias.simulate_choices, "bandit")
    made = valuebias.simulate_choices(task, n_models=2)
    assert "valuebias.read_choices(path)" in told(valuebias.fit_choices, "choices.csv")
    rows = task.trials.assign(model="m", p_first=made["chose_first"].to_numpy()[0, 0])
    rows.to_csv(tmp_path / "choices.csv", index=False)
    valuebias.fit_choices(valuebias.read_choices(tmp_path / "choices.csv"))
    said = told(valuebias.choice_measures, made.isel(model=0))
    assert "ds.sel(model=['name'])" in said
    valuebias.choice_measures(made.sel(model=["model-1"]))
    assert "transfer=True" in told(
        lambda: valuebias.choice_measures(made, measures=["relative choice"])
    )
    further = valuebias.simulate_choices(valuebias.bandit_task(trials=6, transfer=True))
    valuebias.choice_measures(further, measures=["relative choice"])
    fit, other = (valuebias.fit_choices(made, value=v) for v in ("absolute", "relative"))
    assert "fit.compare(other)" in told(fit.compare)
    assert len(fit.compare(other)) == 2
    assert "fit.fit_statistics()" in told(fit.loo)
    assert len(fit.fit_statistics()) == 2
    assert "fit.summary()" in told(valuebias.plots.plot_learning, made)
    valuebias.plots.plot_learning(fit.summary())


@follows(
    "valuebias/schema/validation.py",
    "ds.assign_coords({}=({}, [...]))", "ds[{}].astype({})", "ds.drop_sel(model=[{}])",
    "ds.drop_sel(category=[...])", "Lexicon.select([...])", "valuebias.read(path)",
    "valuebias.read_scores(...)", "valuebias.schema.build(...)", "valuebias.datasets.load(name)",
)  # fmt: skip
def test_datasets_that_break_the_contract(ds: xr.Dataset, tmp_path: Path) -> None:
    for call, broken, known in changes(ds):
        said = told(schema.validate, broken).replace("[...]", "given")
        mended = filled(said, call, ds=broken, **known)
        mended = broken.assign(score=mended) if isinstance(mended, xr.DataArray) else mended
        assert schema.validate(mended) is mended
    assert valuebias.lexicon().select(["agency"]).categories == ("agency",)
    said = told(schema.validate, "scores.nc")
    assert "valuebias.read(path)" in said
    path = valuebias.write(ds, tmp_path / "scores.nc")
    for made in (
        valuebias.read(path),
        valuebias.datasets.load("simulated"),
        schema.build(
            ds["score"], models=schema.model_table(ds), prompts=schema.prompt_table(ds),
            lexicon=schema.member_table(ds),
        ),
    ):  # fmt: skip
        schema.validate(made)


@follows("valuebias/schema/weights.py", "valuebias.lexicon(..., threshold=...)",
         "valuebias.lexicon(...)")  # fmt: skip
def test_ratings_and_signed_weights(ds: xr.Dataset, shell: Callable[..., str]) -> None:
    ratings = pd.DataFrame({"a": [8.5, 2.0], "b": [1.0, 7.0]}, index=["win", "love"])
    assert "valuebias.lexicon(..., threshold=...)" in told(valuebias.lexicon, ratings)
    assert valuebias.lexicon(ratings, threshold=5).table["a"].tolist() == [True, False]
    brought = valuebias.lexicon((ratings - 5) / 4)  # (rating − middle) / half of its range
    assert brought.table.loc["win", "a"] == 0.875
    ratings.to_csv("ratings.csv", index_label="word")
    assert "--threshold" in shell("lexicons", "show", "ratings.csv", fails=True)
    assert "a (1): win" in shell("lexicons", "show", "ratings.csv", "--threshold", "5").replace(
        "a (1) win", "a (1): win"
    )
    words = ds["response"].to_numpy().tolist()
    signed = pd.DataFrame({"moral": np.linspace(-1, 1, 12)}, index=words)

    def made(lexicon: Any) -> xr.Dataset:
        return schema.build(
            ds["score"], models=schema.model_table(ds), prompts=schema.prompt_table(ds),
            lexicon=lexicon,
        )  # fmt: skip

    for refused in (valuebias.fit, valuebias.classical):
        said = told(refused, made(signed))
        assert "valuebias.lexicon(...).poles('moral')" in said
    call = said[said.index("valuebias.lexicon") :].rstrip(".").replace("...", "signed", 1)
    poles = eval(call, {"valuebias": valuebias, "signed": signed})  # noqa: S307
    fit = valuebias.fit(made(poles), **QUICK)
    assert fit.contrasts()["category"][0] == "moral (positive) − moral (negative)"
    valuebias.write(made(signed), "scores.nc")
    assert "a lexicon with a column for each" in shell("fit", "scores.nc", fails=True)


@follows("valuebias/schema/contrast_scores.py", "valuebias.schema.build_contrasts(...)")
@follows(
    "valuebias/instruments/batteries.py",
    "valuebias.questions('arithmetic')", "valuebias.battery('answers', questions)",
)  # fmt: skip
def test_batteries_of_questions() -> None:
    said = told(valuebias.battery, "sycophancy")
    questions = filled(said, "valuebias.questions")
    assert len(valuebias.battery("sycophancy", questions)) == 100
    few = valuebias.QuestionSet("few", questions.table.iloc[:4])
    said = told(valuebias.battery, "sycophancy", few, baseline="scores.nc")
    answers = filled(said, "valuebias.battery", questions=few)
    models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/a"])
    scores = schema.build_contrasts([[[4.0, 3.0, 2.0, 1.0]] * 4], models=models, contrasts=answers)
    assert valuebias.battery("sycophancy", few, baseline=scores).items == few.items
    said = told(schema.contrast_scores.validate_contrasts, scores.drop_vars("score"))
    assert "valuebias.schema.build_contrasts(...)" in said
    said = told(valuebias.battery, "position", few, n_options=9)
    assert "n_options=4" in said
    assert valuebias.battery("position", few, n_options=4).about["n_options"] == 4
