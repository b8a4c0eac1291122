"""The command ``explain``: which backend scores which models, and what that takes."""

from __future__ import annotations

from typing import Annotated

import typer

from valuebias._core.text import visible
from valuebias.cli.completing import backend_names
from valuebias.cli.output import AsJson, print_json
from valuebias.cli.scoring import (
    Address,
    AgainstOption,
    JudgeOption,
    KindOption,
    Lexicon,
    Models,
    Prompts,
    TokensAs,
    Trust,
    engine_of,
    judge_of,
)
from valuebias.cli.sources import CategoryOf, Threshold, restricted
from valuebias.cli.spoken import spoken
from valuebias.errors import ValueBiasError

__all__ = ["explain"]

_OPTIONS = (
    *("prompts", "lexicon", "kind", "judge", "against", "backend", "address", "tokens_as"),
    "trust_remote_code",
)
_SERVER = "vllm"
_IN_PYTHON = {
    "(client=, pip install": "(--scheduler, pip install",
    "(shard=), which valuebias.merge puts": "(--shard), which 'valuebias merge' puts",
    "would take: valuebias.plan.": "would take: valuebias plan.",
}


def explain(
    models: Models,
    prompts: Prompts = "superlatives",
    lexicon: Lexicon = "agency-communion",
    threshold: Threshold = None,
    category: CategoryOf = None,
    kind: KindOption = "reward",
    judge: JudgeOption = None,
    against: AgainstOption = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="A backend to look at; may be given several times.",
            show_default="all",
            autocompletion=backend_names,
        ),
    ] = None,
    address: Address = None,
    tokens_as: TokensAs = "text",
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Say which backend can score which models, what that takes, and which one to use.

    Nothing is loaded, downloaded or installed. Example: [bold]valuebias explain models.yaml[/bold]
    """
    import valuebias
    from valuebias.backends import backend_names as known

    names = list(backend or known())
    if address is not None and _SERVER not in names:
        raise ValueBiasError(
            f"--address is of a server, and --backend names {', '.join(names)}. Add --backend "
            f"{_SERVER}, or leave --address out."
        )
    choice = valuebias.explain(
        models[0] if len(models) == 1 else models,
        prompts=prompts,
        lexicon=restricted(lexicon, threshold, category),
        kind=kind,
        backend=[
            engine_of(name, {"address": address}) if name == _SERVER else name for name in names
        ],
        judge=judge_of(judge, against),
        tokens_as=tokens_as,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        table = choice.to_frame().to_dict(orient="records")
        print_json({"headline": choice.headline, "models": table, "notes": choice.notes})
        return
    for line in str(choice).splitlines():
        said = spoken(line, _OPTIONS, "explain")
        for call, in_shell in _IN_PYTHON.items():
            said = said.replace(call, in_shell)
        typer.echo(visible(said))
