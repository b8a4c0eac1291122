"""Backends are found by name; broken, doubled and misspelt ones are told apart and explained."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from naive_backend import NaiveBackend

from valuebias import ValueBiasError, ValueBiasWarning
from valuebias.backends import Backend, backend_names, get_backend, list_backends

BUILT_IN = ("torch", "onnx", "optimum", "vllm")
CODE = """
from valuebias.backends import Backend

class Working(Backend):
    name = {name!r}
    description = {package!r}
    def available(self):
        return None
    def load(self, source):
        raise AssertionError("not to be loaded")

class Missing(Working):
    extra = "gpu"
    def available(self):
        return "the fast library is not installed"
    def devices(self):
        raise AssertionError("not to be asked")

class Failing(Working):
    def __init__(self):
        raise RuntimeError("out of luck")

class Untold(Working):
    def available(self):
        raise OSError("no such device")

class Nameless(Backend):
    description = "no name"
    def available(self):
        return None
    def load(self, source):
        raise AssertionError("not to be loaded")

function = print
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a function that installs a package which offers a backend, as pip leaves it on disk."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, name: str, attribute: str = "Working", code: str = CODE) -> None:
        module = f"{package}_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(code.format(name=name, package=package))
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        entry = f"[valuebias.backends]\n{name} = {module}:{attribute}\n"
        (info / "entry_points.txt").write_text(entry)

    return install


# --- what is there -------------------------------------------------------------------------------


def test_the_built_in_ones_are_always_there() -> None:
    assert backend_names() == BUILT_IN
    table = list_backends().set_index("name")
    assert tuple(table.index) == BUILT_IN
    assert set(table["package"]) == {"valuebias"}
    # What can run says what it can use; what cannot says why not, and what to install.
    for name, row in table.iterrows():
        told = [bool(row["devices"]), bool(row["dtypes"]), not row["reason"]]
        assert told == [row["available"]] * 3, name
        # Of a server only the address is missing.
        if name == "vllm" and not row["available"]:
            assert "no server answers" in row["reason"]
            assert row["install"] == ""
            continue
        assert bool(row["install"]) != row["available"]
        if not row["available"]:
            assert row["install"] == f'pip install "valuebias[{name}]"'


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_one_is_given_or_explained(name: str) -> None:
    row = list_backends().set_index("name").loc[name]
    if row["available"]:
        assert get_backend(name).name == name
        return
    with pytest.raises(ValueBiasError) as caught:
        get_backend(name)
    assert row["reason"] in str(caught.value)
    if name != "vllm":
        assert f'pip install "valuebias[{name}]"' in str(caught.value)


def test_listing_loads_no_engine_that_cannot_run_and_no_other_package() -> None:
    code = (
        "import sys, valuebias\n"
        "valuebias.backends.backend_names()\n"
        "try: valuebias.backends.get_backend('x')\n"
        "except valuebias.ValueBiasError: pass\n"
        "print(*{'torch', 'transformers', 'onnxruntime', 'onnx'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_classes_and_instances_are_taken() -> None:
    class Here(NaiveBackend):
        def available(self) -> str | None:
            return None

    assert isinstance(get_backend(Here), Here)
    instance = Here()
    assert get_backend(instance) is instance


def test_what_cannot_run_is_an_error_however_it_is_given() -> None:
    class Elsewhere(NaiveBackend):
        extra = "gpu"

        def available(self) -> str | None:
            return "there is no such card"

    for given in (Elsewhere, Elsewhere()):
        with pytest.raises(ValueBiasError, match=r"'naive' cannot run here: there is no such card"):
            get_backend(given)


@pytest.mark.parametrize("given", [3, None, object, Path("torch"), ["torch"]])
def test_anything_else_is_an_error(given: object) -> None:
    with pytest.raises(ValueBiasError, match="takes a name, a class derived from Backend or an"):
        get_backend(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "meant"), [("troch", "torch"), ("ONNX", "onnx"), ("optimun", "optimum")]
)
def test_a_misspelt_name_is_explained(name: str, meant: str) -> None:
    with pytest.raises(ValueBiasError) as caught:
        get_backend(name)
    message = str(caught.value)
    assert message.startswith(f"There is no backend {name!r}.")
    assert f"Did you mean {meant!r}? Known: 'torch', 'onnx', 'optimum', 'vllm'." in message
    for missing in list_backends().query("not available")["install"]:
        assert missing in message


# --- other packages ------------------------------------------------------------------------------


def test_another_package_is_found(install) -> None:
    install("zeta", "zeta-engine")
    install("alpha", "alpha-engine")
    assert backend_names() == (*BUILT_IN, "alpha-engine", "zeta-engine")
    assert get_backend("zeta-engine").description == "zeta"
    table = list_backends().set_index("name")
    assert table.loc["alpha-engine", "package"] == "alpha"
    assert table.loc["alpha-engine", "available"]
    with pytest.raises(ValueBiasError, match="Did you mean 'alpha-engine'"):
        get_backend("alpha-engin")


def test_one_that_cannot_run_says_what_its_package_needs(install) -> None:
    install("acme", "fast", "Missing")
    row = list_backends().set_index("name").loc["fast"]
    assert not row["available"]
    assert row["install"] == 'pip install "acme[gpu]"'
    with pytest.raises(
        ValueBiasError, match=r'library is not installed.*pip install "acme\[gpu\]"'
    ):
        get_backend("fast")


def test_a_name_offered_twice_warns_and_the_first_package_is_used(install) -> None:
    install("zenith", "fast")
    install("acme", "fast")
    with pytest.warns(
        ValueBiasWarning, match="more than once, by 'acme' and 'zenith'. That of 'ac"
    ):
        assert backend_names() == (*BUILT_IN, "fast")
    with pytest.warns(ValueBiasWarning, match="uninstall the others"):
        assert get_backend("fast").description == "acme"


def test_a_built_in_name_cannot_be_taken_silently(install) -> None:
    install("acme", "torch")
    with pytest.warns(ValueBiasWarning, match="'acme' offers a backend 'torch', which is the name"):
        assert backend_names() == BUILT_IN
    with pytest.warns(ValueBiasWarning, match="The built-in one is used"):
        here = list_backends().set_index("name").loc["torch", "available"]
    # The usual request looks at no package at all, so it has nothing to warn of.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if here:
            assert type(get_backend("torch")).__module__.startswith("valuebias.")
        else:
            with pytest.raises(ValueBiasError, match=r"valuebias\[torch\]"):
                get_backend("torch")


@pytest.mark.parametrize(
    ("attribute", "code", "reason"),
    [
        ("Working", "raise ImportError('libfast.so.2 is missing')", "ImportError: libfast.so.2"),
        ("Absent", CODE, "AttributeError: .*Absent"),
        ("function", CODE, "is not a class derived from valuebias.backends.Backend"),
        ("Nameless", CODE, "Nameless has no name"),
        ("Failing", CODE, "RuntimeError: out of luck"),
        ("Working", CODE.replace("{name!r}", "'slow'"), "calls itself 'slow', its entry point 'fa"),
    ],
)
def test_a_broken_package_is_left_out_with_a_warning(
    install,
    attribute: str,
    code: str,
    reason: str,
) -> None:
    install("acme", "fast", attribute, code)
    install("other", "good")
    with pytest.warns(ValueBiasWarning, match=f"'fast' of the package 'acme' is broken .*{reason}"):
        table = list_backends()
    assert tuple(table["name"]) == (*BUILT_IN, "good")
    with pytest.raises(ValueBiasError, match=f"'fast' of the package 'acme' is broken: .*{reason}"):
        get_backend("fast")
    assert issubclass(type(get_backend("good")), Backend)


def test_one_that_fails_to_say_whether_it_can_run_is_broken(install) -> None:
    install("acme", "fast", "Untold")
    with pytest.warns(ValueBiasWarning, match="OSError: no such device"):
        assert tuple(list_backends()["name"]) == BUILT_IN
