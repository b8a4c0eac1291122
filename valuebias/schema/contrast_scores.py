"""Scores of contrast sets: how they are laid out, and the check that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError, did_you_mean, few
from valuebias.schema.building import assemble
from valuebias.schema.contract import DIMS, NEUTRAL, SCHEMA, check_unique
from valuebias.schema.validation import check_scores, no_dataset, validate

__all__ = [
    "CONTRAST_DIMS",
    "CONTRAST_SCHEMA",
    "absent",
    "as_contract",
    "build_contrasts",
    "contrast_coords",
    "from_contract",
    "is_contrasts",
    "is_marked",
    "item_table",
    "marked_as_contrasts",
    "present",
    "scores_of_set",
    "validate_contrasts",
]

CONTRAST_SCHEMA = "valuebias-contrasts/1"
CONTRAST_DIMS = ("model", "item", "variant")
TEXTS = ("prompt", "response")
_MARK = "layout"
_TO_CONTRACT = {"item": "prompt", "variant": "response"}
_STORED = {
    name: f"{name}_text"
    for name in ("prompt", "response", "category", "text", "framing", "membership")
}
"""What coords are called in the contract, in which these names have a meaning of their own."""


def is_contrasts(ds: object) -> bool:
    """Tell whether a dataset has the scores of a contrast set.

    Examples
    --------
    >>> is_contrasts(xr.Dataset())
    False
    """
    return isinstance(ds, xr.Dataset) and "item" in ds.dims and "variant" in ds.dims


def build_contrasts(
    score: npt.ArrayLike,
    *,
    models: pd.DataFrame,
    contrasts: Any,
    kind: str = "reward",
    provenance: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Put scores, models and a contrast set together as a dataset.

    Parameters
    ----------
    score : array_like, shape (model, item, variant)
        In the order of `models`, ``contrasts.items`` and ``contrasts.variants``. NaN = not scored.
    models : pandas.DataFrame
        One row per model, as :func:`valuebias.schema.build` takes it.
    contrasts : ContrastSet
        What was scored.
    kind : {"reward", "logprob", "implicit", "judged"}
        What was measured.
    provenance : mapping, optional
        How the scores came about; kept as JSON.

    Returns
    -------
    xarray.Dataset
        A dataset that passes :func:`validate_contrasts`.

    Raises
    ------
    ValueBiasError
        If names are missing or repeated, or :func:`validate_contrasts` objects.

    Examples
    --------
    >>> from valuebias import contrast_set
    >>> sums = contrast_set({"q1": {"prompt": "2 + 2?", "answers": {"right": "4", "wrong": "5"}}})
    >>> models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/a"])
    >>> ds = build_contrasts([[[2.0, 1.0]]], models=models, contrasts=sums)
    >>> ds["score"].dims, str(ds["response"].sel(item="q1", variant="wrong").values)
    (('model', 'item', 'variant'), '5')
    """
    ds = assemble(
        np.asarray(score),
        models=models,
        prompts=item_table(contrasts),
        responses=list(contrasts.variants),
        kind=kind,
        provenance=provenance,
    )
    return from_contract(ds.assign_coords(contrast_coords(contrasts)))


def item_table(contrasts: Any) -> pd.DataFrame:
    """Give the items as prompts: what the first variant of each is asked."""
    first = contrasts.table["prompt"].groupby(level="item", sort=False).first()
    return pd.DataFrame(
        {"text": first.to_numpy(dtype=object), "framing": NEUTRAL},
        index=pd.Index(first.index.to_numpy(dtype=object), dtype=object, name="prompt"),
    )


Coords = dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]


def contrast_coords(contrasts: Any) -> Coords:
    """Give the texts and coordinates of a contrast set as coords of a dataset in the contract."""
    return {
        _STORED.get(name, name): (tuple(_TO_CONTRACT[dim] for dim in dims), values)
        for name, (dims, values) in _coords_of(contrasts).items()
    }


def scores_of_set(ds: xr.Dataset, contrasts: Any, items: Sequence[str]) -> xr.Dataset:
    """Take the scores of one set from those of several that were scored as one, by its items."""
    own = ds.sel(item=list(items), variant=list(contrasts.variants)).drop_vars(TEXTS)
    own = own.assign_coords({"item": list(contrasts.items), **_coords_of(contrasts)})
    if "token" in own.dims:
        # Longer answers are in other sets.
        of_tokens = own["token_reward" if "token_reward" in own else "token_logprob"]
        own = own.isel(token=slice(int(of_tokens.notnull().any(CONTRAST_DIMS).sum())))
    return validate_contrasts(own)


def _coords_of(contrasts: Any) -> Coords:
    items = {name: i for i, name in enumerate(contrasts.items)}
    variants = {name: i for i, name in enumerate(contrasts.variants)}
    rows = np.array([items[name] for name in contrasts.table.index.get_level_values("item")])
    columns = np.array([variants[n] for n in contrasts.table.index.get_level_values("variant")])
    size = {"item": len(items), "variant": len(variants)}
    at = {"item": rows, "variant": columns}
    coords: Coords = {}
    dims_of = dict.fromkeys(TEXTS, ("item", "variant")) | dict(contrasts.coords)
    for name, dims in dims_of.items():
        values = contrasts.table[name].to_numpy()
        filled = _blank(values, tuple(size[dim] for dim in dims))
        filled[tuple(at[dim] for dim in dims)] = values
        as_text = filled.astype("U") if filled.dtype == object else filled
        coords[name] = (tuple(dims), as_text)
    return coords


def _blank(values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Give room for a column, with what stands for nothing where an item lacks a variant."""
    if values.dtype == object:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=bool) if values.dtype == bool else np.full(shape, np.nan)


def marked_as_contrasts(ds: xr.Dataset) -> xr.Dataset:
    """Note in a dataset in the contract that its words are variants."""
    return ds.assign_attrs({_MARK: CONTRAST_SCHEMA})


def is_marked(ds: xr.Dataset) -> bool:
    """Tell whether the words of a dataset in the contract are variants."""
    return ds.attrs.get(_MARK) == CONTRAST_SCHEMA and "item" not in ds.dims


def absent(ds: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Tell which variants an item lacks, as far as texts say so; (item, variant) or ()."""
    name, dims = ("response", CONTRAST_DIMS[1:]) if is_contrasts(ds) else ("", ())
    if is_marked(ds):
        name, dims = _STORED["response"], DIMS[1:]
    if name not in ds.coords or set(ds[name].dims) != set(dims):
        return np.zeros((), dtype=bool)
    return np.asarray(ds[name].transpose(*dims).to_numpy() == "")


def from_contract(ds: xr.Dataset) -> xr.Dataset:
    """Lay a dataset in the contract, whose words are variants, out as scores of a contrast set."""
    ds = ds.drop_vars(("membership", "category", "text", "framing"), errors="ignore")
    ds = ds.assign_attrs({name: value for name, value in ds.attrs.items() if name != _MARK})
    ds.attrs.pop(_MARK, None)
    ds = ds.rename({old: new for new, old in _TO_CONTRACT.items()})
    ds = ds.rename({stored: name for name, stored in _STORED.items() if stored in ds.variables})
    if ds.attrs.get("kind") == "reward" and "token_logprob" in ds.variables:
        # As they are stored: of each token the reward at it, and where in the answer it ends.
        both = ds["token_logprob"]
        ds = ds.drop_vars("token_logprob").drop_dims("token", errors="ignore")
        ends = both[..., 1::2].fillna(-1).astype(np.int32)
        ds = ds.assign(token_reward=both[..., ::2], token_end=ends)
    return validate_contrasts(ds.assign_attrs(schema=CONTRAST_SCHEMA))


def as_contract(ds: xr.Dataset, by: str | None = None) -> xr.Dataset:
    """Lay scores of a contrast set out in the contract: items as prompts, variants as words.

    Categories are the values of a coordinate of variants; without one, there are none.
    """
    validate_contrasts(ds)
    names = {name: stored for name, stored in _STORED.items() if name in ds.variables}
    ds = ds.rename(names).rename(_TO_CONTRACT)
    texts = ds["prompt_text"] if "prompt_text" in ds.variables else None
    first = ds["prompt"].to_numpy() if texts is None else _first_text(texts)
    ds = ds.assign_coords(
        text=("prompt", np.asarray(first, dtype="U")),
        framing=("prompt", np.full(ds.sizes["prompt"], NEUTRAL)),
    )
    categories: list[str] = []
    member = np.zeros((ds.sizes["response"], 0), dtype=bool)
    if by is not None:
        stored = _TO_CONTRACT.get(by, _STORED.get(by, by))
        values = [str(value) for value in ds[stored].to_numpy().tolist()]
        categories = list(dict.fromkeys(values))
        member = np.array([[value == category for category in categories] for value in values])
    ds = ds.assign_coords(category=("category", np.array(categories, dtype="U")))
    ds = ds.assign(membership=(("response", "category"), member))
    return validate(ds.assign_attrs(schema=SCHEMA))


def _first_text(texts: xr.DataArray) -> list[str]:
    rows = texts.transpose("prompt", "response").to_numpy().tolist()
    return [next((text for text in row if text), "") for row in rows]


def validate_contrasts(ds: xr.Dataset) -> xr.Dataset:
    """Check the scores of a contrast set against their layout.

    Parameters
    ----------
    ds : xarray.Dataset
        ``score`` (model, item, variant), float32, NaN = not scored; the coords of models as
        :func:`valuebias.schema.validate` wants them; the texts ``prompt`` and ``response`` (item,
        variant), which may be absent; any further coords on item, variant or both. Attributes as in
        the contract, ``schema`` "valuebias-contrasts/1".

    Returns
    -------
    xarray.Dataset
        The same object.

    Raises
    ------
    ValueBiasError
        Naming the first dim, coord or cell that is not as expected.

    Examples
    --------
    >>> validate_contrasts(xr.Dataset())
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The attribute 'schema' is None; expected 'valuebias-contra...
    """
    if not isinstance(ds, xr.Dataset):
        raise _no_scores(ds)
    version = ds.attrs.get("schema")
    if version != CONTRAST_SCHEMA:
        raise ValueBiasError(
            f"The attribute 'schema' is {version!r}; expected {CONTRAST_SCHEMA!r}. Make datasets "
            "with valuebias.score_contrasts(...) or valuebias.schema.build_contrasts(...)."
        )
    for dim in CONTRAST_DIMS:
        if dim not in ds.dims:
            raise ValueBiasError(
                f"The dim {dim!r} is missing; found {tuple(ds.dims)}. "
                f"{did_you_mean(dim, [str(d) for d in ds.dims])}"
            )
        if dim not in ds.coords:
            raise ValueBiasError(f"The coord {dim!r} is missing: each {dim} needs a name.")
        check_unique(list(map(str, ds[dim].to_numpy().tolist())), dim)
    if "score" not in ds.data_vars or ds["score"].dims != CONTRAST_DIMS:
        found = ds["score"].dims if "score" in ds.data_vars else "no such variable"
        raise ValueBiasError(
            f"'score' has the dims {found}; expected {CONTRAST_DIMS}. Make datasets with "
            "valuebias.score_contrasts(...) or valuebias.schema.build_contrasts(...)."
        )
    if ds.sizes["variant"] < 2:
        raise ValueBiasError("There is one variant only, which is in contrast to nothing.")
    _validate_rest(ds)
    return ds


def _no_scores(given: Any) -> ValueBiasError:
    """Say what to give instead, of several sets one."""
    if isinstance(given, Mapping) and given and all(map(is_contrasts, given.values())):
        name = next(iter(given))
        return ValueBiasError(
            f"These are the scores of {len(given)} contrast sets, {few(map(str, given))}; expected "
            f"those of one: scores[{name!r}]."
        )
    return no_dataset(given)


def _validate_rest(ds: xr.Dataset) -> None:
    """Check kinds, units, models and scores, which are those of the contract."""
    if ds["score"].dtype.kind == "f":
        check_scores(ds, CONTRAST_DIMS, "item and variant")
    plain = xr.Dataset(
        {"score": (DIMS, ds["score"].to_numpy())},
        coords={
            "model": ds["model"].to_numpy(),
            "prompt": [f"item {name}" for name in ds["item"].to_numpy().tolist()],
            "response": [f"variant {name}" for name in ds["variant"].to_numpy().tolist()],
            "category": np.empty(0, dtype="U1"),
            "text": ("prompt", [f"item {name}" for name in ds["item"].to_numpy().tolist()]),
            "framing": ("prompt", [NEUTRAL] * ds.sizes["item"]),
            **{
                str(n): (("model",), c.to_numpy())
                for n, c in ds.coords.items()
                if c.dims == ("model",) and n != "model"
            },
        },
        attrs={**ds.attrs, "schema": SCHEMA},
    )
    empty = np.zeros((ds.sizes["variant"], 0), dtype=bool)
    validate(plain.assign(membership=(("response", "category"), empty)))


def present(contrasts: Any) -> npt.NDArray[np.bool_]:
    """Tell which items have which variants, shape (item, variant)."""
    names: Sequence[str] = contrasts.variants
    found = pd.Series(True, index=contrasts.table.index).unstack("variant", fill_value=False)
    wide = found.reindex(index=list(contrasts.items), columns=list(names))
    return np.asarray(wide.to_numpy(), dtype=bool)
