"""The commands that score models: ``score``, ``plan`` and ``backends``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from valuebias._core.text import visible
from valuebias.cli.completing import judge_names, lexicon_names, model_names, prompt_names
from valuebias.cli.output import AsJson, explained_stop, is_terminal, print_json, print_table
from valuebias.cli.sources import CategoryOf, Threshold, check_writable, restricted
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    from valuebias.backends import Backend as Engine
    from valuebias.instruments import Judge

__all__ = ["backends", "engine_of", "judge_of", "merge", "plan", "score"]

_PROMPTS, _LEXICON = "superlatives", "agency-communion"
Kind = Literal["reward", "logprob", "implicit", "judged"]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODELS...",
        help="A YAML or CSV table of models, the name of a bundled table, hub ids, folders, GGUF "
        "or ONNX files.",
        autocompletion=model_names,
    ),
]
Prompts = Annotated[
    str, typer.Option(help="A named prompt set, or a file.", autocompletion=prompt_names)
]
Lexicon = Annotated[
    str,
    typer.Option(
        help="A named lexicon, a file, or 'vocabulary' for every token.",
        autocompletion=lexicon_names,
    ),
]
KindOption = Annotated[
    Kind,
    typer.Option(
        help="Rewards; log-probs of language models; implicit rewards of policies, each against "
        "the 'reference' that the table of models gives it; or what language models judge words to "
        "be, see [bold]--judge[/bold]."
    ),
]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="Of [bold]--kind judged[/bold], what the models are asked: rating, yes-no, a-or-b, or "
        "a YAML file with 'template' and 'verdicts'.",
        autocompletion=judge_names,
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against", help="The answer that [bold]--judge a-or-b[/bold] compares each word with."
    ),
]
Contrasts = Annotated[
    str | None,
    typer.Option(
        "--contrasts",
        help="In place of prompts and words, a contrast set: a .jsonl or .csv file of items with "
        "their variants.",
    ),
]
Backend = Annotated[
    str, typer.Option(help="The backend that runs the models; see [bold]valuebias backends[/bold].")
]
Device = Annotated[
    str | None,
    typer.Option(help="The device, such as 'cpu' or 'cuda:1'; the backend's choice if not given."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="The address of the server of [bold]--backend vllm[/bold], such as "
        "http://127.0.0.1:8000."
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; the backend's choice if not given.")
]
TokensAs = Annotated[
    Literal["text", "ids"],
    typer.Option(help="Rewards of a vocabulary: each token's text, or its bare id."),
]
BatchTokens = Annotated[
    int | None, typer.Option(min=1, help="Tokens per pack; the backend's choice if not given.")
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Only the I-th of N parts, such as 3/8; see [bold]valuebias merge[/bold].",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The scheduler of a Dask cluster whose workers compute, such as tcp://10.0.0.1:8786.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Allow a table of models to run the code that comes with a model.",
    ),
]


def score(
    models: Models,
    store: Annotated[
        Path, typer.Option(help="Output: a .zarr folder. An unfinished one is continued.")
    ],
    prompts: Prompts = _PROMPTS,
    lexicon: Lexicon = _LEXICON,
    threshold: Threshold = None,
    category: CategoryOf = None,
    contrasts: Contrasts = None,
    kind: KindOption = "reward",
    judge: JudgeOption = None,
    against: AgainstOption = None,
    backend: Backend = "torch",
    device: Device = None,
    threads: Threads = None,
    address: Address = None,
    shard: Shard = None,
    scheduler: Scheduler = None,
    pooling: Annotated[
        Literal["sum", "mean"], typer.Option(help="Of the log-probs of a word's tokens.")
    ] = "sum",
    tokens_as: TokensAs = "text",
    read: Annotated[
        Literal["last", "all"],
        typer.Option(
            help="Where rewards of a contrast set are read: all, also at every token of an answer."
        ),
    ] = "last",
    batch_tokens: BatchTokens = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Score words as answers to prompts, with reward models or language models.

    Example: [bold]valuebias score models.yaml --store scores.zarr[/bold], then
    [bold]valuebias fit scores.zarr[/bold]. Stop it at any time: the same command continues.
    Several machines share it by [bold]--shard 1/8[/bold], [bold]--shard 2/8[/bold] and so on, or
    as workers of one [bold]--scheduler[/bold].
    """
    import valuebias

    part = _shard(shard)
    # A finished store is only read, which a full or read-only disk allows.
    if not store.exists():
        check_writable(store, suffixes=(".zarr",), folder=True)
    from valuebias.scoring.cluster_client import connected
    from valuebias.scoring.sharing import say_finished

    with (
        explained_stop("Nothing was scored."),
        nullcontext() if scheduler is None else connected(scheduler) as client,
    ):
        chosen = models[0] if len(models) == 1 else models
        settings: dict[str, Any] = {
            "kind": kind,
            "judge": judge_of(judge, against),
            "backend": engine_of(
                backend, {"device": device, "threads": threads, "address": address}
            ),
            "store": store,
            "shard": part,
            "client": client,
            "pooling": pooling,
            "batch_tokens": batch_tokens,
            "trust_remote_code": trust_remote_code,
            "progress": is_terminal(),
        }
        scores: Any
        if contrasts is not None:
            _check_alone(prompts, lexicon)
            scores = valuebias.score_contrasts(chosen, contrasts, read=read, **settings)
        elif read == "all":
            raise ValueBiasError(
                "--read all is of a contrast set, in whose answers rewards are read at every "
                "token: give --contrasts, or leave --read out."
            )
        else:
            words = restricted(lexicon, threshold, category)
            settings |= {"prompts": prompts, "lexicon": words, "tokens_as": tokens_as}
            scores = valuebias.score(chosen, **settings)
    if part is not None:
        if as_json:
            about = {"shard": [scores.index, scores.n], "blocks": scores.n_blocks}
            print_json({"store": str(store), "kind": kind, **about, "scores": scores.n_scores})
            return
        how = "valuebias merge STORES... -o scores.zarr"
        typer.echo(visible(say_finished(scores, how)), err=True)
        typer.echo(visible(store))
        return
    groups = list(scores.children.values()) if "score" not in scores else [scores]
    if as_json:
        sizes = [{dim: int(n) for dim, n in group.sizes.items()} for group in groups]
        print_json({"store": str(store), "kind": kind, "sizes": sizes})
        return
    typer.echo(visible(store))


def plan(
    models: Models,
    prompts: Prompts = _PROMPTS,
    lexicon: Lexicon = _LEXICON,
    threshold: Threshold = None,
    category: CategoryOf = None,
    contrasts: Contrasts = None,
    kind: KindOption = "reward",
    judge: JudgeOption = None,
    against: AgainstOption = None,
    backend: Backend = "torch",
    device: Device = None,
    address: Address = None,
    shard: Shard = None,
    tokens_as: TokensAs = "text",
    batch_tokens: BatchTokens = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Estimate the cost of scoring, in tokens, arithmetic and time, without scoring.

    Example: [bold]valuebias plan models.yaml --lexicon vocabulary[/bold]
    """
    import valuebias

    if contrasts is not None:
        _check_alone(prompts, lexicon)
    scoring_plan = valuebias.plan(
        models[0] if len(models) == 1 else models,
        prompts=prompts,
        lexicon=restricted(lexicon, threshold, category),
        kind=kind,
        judge=judge_of(judge, against),
        backend=engine_of(backend, {"device": device, "address": address}),
        shard=_shard(shard),
        contrasts=contrasts,
        tokens_as=tokens_as,
        batch_tokens=batch_tokens,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        table = scoring_plan.to_frame().reset_index()
        print_json({"models": table.to_dict(orient="records"), "notes": scoring_plan.notes})
        return
    for line in str(scoring_plan).splitlines():
        typer.echo(visible(line))


def merge(
    stores: Annotated[
        list[Path], typer.Argument(metavar="STORES...", help="The stores of all shards.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output: a .zarr folder, new.")],
    as_json: AsJson = False,
) -> None:
    """Put the shards of a request together, into the store that one process would have made.

    Example: [bold]valuebias merge shards/*.zarr -o scores.zarr[/bold]
    """
    import valuebias

    with explained_stop("Nothing was merged; the shards are as they were."):
        scores: Any = valuebias.merge(stores, out=out)
    groups = [scores] if "score" in scores else list(scores.children.values())
    if as_json:
        sizes = [{dim: int(n) for dim, n in group.sizes.items()} for group in groups]
        print_json({"store": str(out), "sizes": sizes})
        return
    typer.echo(visible(out))


def _check_alone(prompts: str, lexicon: str) -> None:
    """Refuse prompts and words beside a contrast set, which has its own."""
    for option, value, default in (
        ("--prompts", prompts, _PROMPTS),
        ("--lexicon", lexicon, _LEXICON),
    ):
        if value != default:
            raise ValueBiasError(
                f"--contrasts and {option} are given; a contrast set has prompts and answers of "
                f"its own. Leave one of the two out."
            )


def judge_of(name: str | None, against: str | None) -> str | Judge | None:
    """Read a judge that is given an answer to compare with; a name alone stays as it is."""
    if against is None:
        return name
    if name is None:
        raise ValueBiasError("--against is of a judge: give --judge a-or-b, or a YAML file.")
    from valuebias.instruments import judge

    return judge(name, against=against)


def _shard(text: str | None) -> tuple[int, int] | None:
    """Read I/N."""
    if text is None:
        return None
    index, _, n = text.partition("/")
    try:
        return int(index), int(n)
    except ValueError as error:
        raise ValueBiasError(
            f"--shard is {text!r}; expected I/N, the I-th of N shards, such as 3/8."
        ) from error


def engine_of(name: str, options: Mapping[str, str | int | None]) -> str | Engine:
    """Make a backend with the given options; its name where there are none."""
    chosen = {option: value for option, value in options.items() if value is not None}
    if not chosen:
        return name
    from valuebias.backends.registry import backend_class

    cls: Any = backend_class(name)
    known = inspect.signature(cls).parameters
    for option in chosen:
        if option not in known:
            raise ValueBiasError(
                f"The backend {name!r} has no option {option!r}; it has "
                f"{', '.join(map(repr, known)) or 'none'}. Leave --{option} out, or choose another "
                "backend."
            )
    engine: Engine = cls(**chosen)
    return engine


def backends(as_json: AsJson = False) -> None:
    """List the backends: what they compute, on which devices, and why any is unavailable."""
    from valuebias.backends import list_backends

    table = list_backends()
    if as_json:
        print_json(table.to_dict(orient="records"))
        return
    rows = table.to_dict(orient="records")
    for row in rows:
        available = "yes" if row["available"] else f"no: {row['reason']}"
        row["available"] = available + (f" ({row['install']})" if row["install"] else "")
    names = ["name", "description", "kinds", "devices", "dtypes", "available"]
    heads = ["name", "what", "scores", "devices", "dtypes", "available"]
    print_table(heads, [[row[name] for name in names] for row in rows])
    typer.echo("Which one scores your models, and what it takes: valuebias explain MODELS")
