"""The settings of ``fit`` as a YAML file: read, merged with options, and written from a fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from valuebias._core.text import as_number

if TYPE_CHECKING:
    from valuebias.fitting.ablation_result import AblationFit
    from valuebias.fitting.result import Fit

__all__ = ["merged", "read_config", "read_prior", "settings"]

_NUMBER, _TEXT, _NONE = (int,), (str,), (type(None),)
_KEYS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "formula": (_TEXT + _NONE, "a text such as '~ family', or null"),
    "words": (_TEXT + _NONE, "a text such as '~ length', or null"),
    "base": (_TEXT + _NONE, "the name of a coordinate, or null for none"),
    "spread": ((bool, *_NONE), "true, false or null"),
    "family": (_TEXT, "gaussian or student"),
    "residual": (_TEXT + _NONE, "model, or null"),
    "heavy_tails": ((list, *_NONE), "whose effects, such as [words]"),
    "ablation": ((bool, *_NONE), "true, false, or null for what the models call for"),
    "rope": ((int, float, *_NONE), "a number of zero or more, or null"),
    "framing": (_TEXT + _NONE, "signed, positive, negative, neutral, or null for all prompts"),
    "outcome": (_TEXT + _NONE, "normal, rank, z, scaled or raw"),
    "contrast": ((list, dict, *_NONE), "two categories, or a weight for each"),
    "variants_by": (_TEXT + _NONE, "a coordinate of a contrast set's variants, or null"),
    "prior": ((dict, *_NONE), "scales, such as {effect: 0.25, sd: {word: 0.5}}"),
    "draws": (_NUMBER, "a whole number"),
    "tune": (_NUMBER + _NONE, "a whole number, or null"),
    "chains": (_NUMBER, "a whole number"),
    "seed": (_NUMBER + _NONE, "a whole number, or null"),
    "sampler": (_TEXT, "hmc, nutpie or pymc"),
    "pair": ((list, *_NONE), "two levels, such as [Gemma, Llama]"),
    "by": ((list, *_NONE), "names of variables, such as [stage]"),
    "at": ((dict, *_NONE), "values of variables, such as {n_params: 8.0e+9}"),
}
"""What may stand in the file: types, and what is expected in words."""
_FRAMINGS = (None, "signed", "positive", "negative", "neutral")
_OPTIONS = {"base": ("base", "no_base"), "contrast": ("contrast", "weight")}


def read_config(path: Path) -> dict[str, Any]:
    """Read settings, each of a known name and of its type."""
    from valuebias._core.tables import read_yaml
    from valuebias.errors import ValueBiasError, did_you_mean, shown

    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise ValueBiasError(
            f"{str(path)!r} holds {shown(content)}; expected settings and their values, such as "
            "'formula: ~ family'. valuebias settings FIT writes those of a saved fit."
        )
    for name, value in content.items():
        if name not in _KEYS:
            raise ValueBiasError(
                f"{str(path)!r} has the setting {shown(name)}. {did_you_mean(name, sorted(_KEYS))}"
            )
        types, expected = _KEYS[name]
        wrong = type(value) not in types or (name == "framing" and value not in _FRAMINGS)
        if isinstance(value, list):
            wrong = not all(isinstance(entry, str) for entry in value)
            wrong |= len(value) != 2 and name in ("contrast", "pair")
        if wrong:
            raise ValueBiasError(f"{name} in {str(path)!r} is {shown(value)}; expected {expected}.")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }


def merged(
    config: Mapping[str, Any], options: Mapping[str, Any], context: typer.Context
) -> dict[str, Any]:
    """Put options that stand in the command line before the file, and the file before defaults."""

    def typed(name: str) -> bool:
        sources = map(context.get_parameter_source, _OPTIONS.get(name, (name,)))
        return any(source is not None and source.name == "COMMANDLINE" for source in sources)

    return {
        name: config[name] if name in config and not typed(name) else value
        for name, value in options.items()
    }


def read_prior(entries: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """Read ``effect=0.25`` and ``sd.word=0.5`` as the mapping that ``fit`` takes."""
    prior: dict[str, Any] = {}
    for name, text in entries:
        number = as_number(text)
        if number is None:
            raise typer.BadParameter(f"--prior {name}={text}: {text!r} is not a number.")
        first, dot, component = name.partition(".")
        if first == "sd" and not (dot and component):
            raise typer.BadParameter(
                f"--prior {name}={text}: sd is of a component; write sd.word={text}, say."
            )
        place = prior.setdefault("sd", {}) if first == "sd" else prior
        key = component if first == "sd" else name
        if key in place:
            raise typer.BadParameter(f"--prior names {name!r} twice; give it one scale.")
        place[key] = number
    return prior or None


def settings(
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="A saved fit (.nc or .zarr).")],
    out: Annotated[
        Path | None, typer.Option(help="Write them here, not to standard output.")
    ] = None,
) -> None:
    """Write the settings of a saved fit as YAML, for [bold]valuebias fit --config[/bold].

    With the same scores they give the same fit.

    Example: [bold]valuebias settings fit.nc --out fit.yaml[/bold]
    """
    import valuebias
    from valuebias._core.atomic import atomic_path
    from valuebias.cli.sources import check_writable

    if out is not None:
        check_writable(out, suffixes=(".yaml", ".yml"), folder=False)
    loaded = valuebias.load(fit)
    if isinstance(loaded, valuebias.AblationFit) and loaded.fit is None:
        raise typer.BadParameter("these settings are of a fit of scores; this is one of medians.")
    text = "".join(f"{name}: {_yaml(value)}\n" for name, value in _settings_of(loaded).items())
    if out is None:
        typer.echo(text, nl=False)
        return
    with atomic_path(out) as part:
        part.write_text(text, encoding="utf-8")


def _settings_of(loaded: Fit | AblationFit) -> dict[str, Any]:
    """Collect what gives this fit again; what stands in front of it, unless the data chose it."""
    from valuebias.fitting.ablation_result import AblationFit

    if isinstance(loaded, AblationFit):
        fit = cast("Fit", loaded.fit)
        usual = loaded.rope == 0.05 * fit.problem.crossing.scale
        names = ("outcome", "contrast", "draws", "tune", "chains", "seed")
        known = {
            **{name: fit.settings[name] for name in names},
            "formula": loaded.formula,
            "prior": fit.prior.to_dict(),
            "ablation": True,
            "rope": None if usual else float(loaded.rope),
        }
    else:
        fit = loaded
        focus = dict(fit.settings.get("focus") or {})
        # Another thing than --framing, which leaves prompts out.
        focus.pop("framing", None)
        if focus.pop("largest", False):
            focus.pop("pair", None)
        of_variants = {"variants_by": fit.settings.get("by")} if fit.of_items else {}
        known = {name: value for name, value in fit.settings.items() if name != "by"}
        known |= {"ablation": False, "prior": fit.prior.to_dict(), **of_variants, **focus}
        if fit.of_items:
            return {name: known[name] for name in _KEYS if name in known and name != "framing"}
    present = set(fit.data["framing"].to_numpy().tolist())
    # Of the same scores this keeps the prompts that the fit is of.
    known["framing"] = "signed" if len(present) > 1 else present.pop()
    return {name: known[name] for name in _KEYS if name in known}


def _yaml(value: Any) -> str:
    """Write plain data in YAML's form for a line, which is nearly that of JSON."""
    if isinstance(value, Mapping):
        entries = ", ".join(f"{_yaml(str(key))}: {_yaml(entry)}" for key, entry in value.items())
        return f"{{{entries}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    written = json.dumps(value, ensure_ascii=False)
    # YAML takes 1e-05 for a text.
    plain = isinstance(value, float) and "e" in written and "." not in written
    return written.replace("e", ".0e") if plain else written
