"""Score contrast sets: ``valuebias.score_contrasts(models, contrasts)``."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, cast

import xarray as xr

from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError
from valuebias.instruments.contrast_sets import item_of, several_sets
from valuebias.schema.contrast_scores import scores_of_set
from valuebias.scoring.request import Kind, contrast_request
from valuebias.scoring.run import How, scored
from valuebias.scoring.sharing import ScoringShard

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["score_contrasts"]


def score_contrasts(
    models: Any,
    contrasts: Any,
    *,
    kind: Kind = "reward",
    backend: str | type[Backend] | Backend = "torch",
    store: str | PathLike[str] | None = None,
    shard: tuple[int, int] | None = None,
    client: Client | None = None,
    judge: Any = None,
    read: Literal["last", "all"] = "last",
    pooling: Literal["sum", "mean"] = "sum",
    batch_tokens: int | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> xr.Dataset | dict[str, xr.Dataset] | ScoringShard:
    """Score the conversations of a contrast set, with reward models or language models.

    What the conversations of an item share, such as the question, is computed once.

    Parameters
    ----------
    models : Model, str, path, mapping, DataFrame, or sequence of these
        What :func:`valuebias.read_models` takes.
    contrasts : ContrastSet, str, path, DataFrame, mapping or sequence
        What :func:`valuebias.contrast_set` takes; or a mapping from names to contrast sets or their
        files, all of which are scored in one pass, so that each model is loaded once.
    kind : {"reward", "logprob", "implicit", "judged"}
        As in :func:`valuebias.score`; of log-probs, those of the whole response.
    backend : str, type of Backend or Backend
        As in :func:`valuebias.score`.
    store : str or path, optional
        A folder that ends in ``.zarr``, written as the work goes on; the same call goes on where it
        was interrupted, and adds further models.
    shard : pair of int, optional
        ``(i, n)``: score the i-th of n parts only, as :func:`valuebias.score` does.
    client : distributed.Client, optional
        A client of a Dask cluster, whose workers compute.
    judge : str, path, Judge or mapping, optional
        Of kind "judged": what :func:`valuebias.judge` takes.
    read : {"last", "all"}
        Where rewards are read. "all": also at every token of the answer, from the same pass: the
        reward of a conversation that ended there (Nikulkov 2026).
    pooling : {"sum", "mean"}
        How the log-probs of a response's tokens become its score.
    batch_tokens : int, optional
        How many tokens a pack may have.
    trust_remote_code : bool, default False
        As in :func:`valuebias.score`.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    xarray.Dataset, dict or ScoringShard
        ``score`` (model, item, variant); variants that an item lacks are NaN. The texts ``prompt``
        and ``response`` and the columns of the contrast set are coords. With ``read="all"`` the
        variables ``token_reward`` and ``token_end`` (model, item, variant, token): the reward at
        each token of the answer and of what follows it, NaN beyond the last, and how many
        characters of the response have been read then; −1 beyond, or where that is not known.
        Of several sets, a dict with one such dataset each; a store holds them as one.

    Raises
    ------
    ValueBiasError
        As :func:`valuebias.score`; if a conversation is longer than a model takes; or if
        `contrasts` is no contrast set; or of several sets, a
        shard is asked for.

    Examples
    --------
    >>> import valuebias
    >>> sums = {"q1": {"prompt": "2 + 2?", "answers": {"right": "4", "wrong": "5"}}}
    >>> scores = valuebias.score_contrasts("org/model", sums)  # doctest: +SKIP
    """
    several = several_sets(contrasts)
    if several and shard is not None:
        raise ValueBiasError(
            "A shard is asked for, of several contrast sets; merged shards are one dataset. Score "
            "the sets one by one, each with a store of its own."
        )
    request = contrast_request(
        models,
        several or contrasts,
        kind=kind,
        judge=judge,
        read=read,
        pooling=pooling,
        trust_remote_code=trust_remote_code,
        batch_tokens=batch_tokens,
    )
    how: How = {"client": client, "batch_tokens": batch_tokens, "progress": progress}
    done = scored(request, backend=backend, store=store, shard=shard, how=how)
    if not several:
        return cast("xr.Dataset | ScoringShard", done)
    whole = cast("xr.Dataset", done)
    return {
        name: scores_of_set(whole, each, [item_of(name, item) for item in each.items])
        for name, each in several.items()
    }
