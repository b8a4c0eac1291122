"""The report in a real browser: nothing runs, nothing is fetched, nothing is cut off."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import valuebias

pytestmark = [pytest.mark.browser, pytest.mark.once]

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
          "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--disable-dev-shm-usage")  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a headless Chromium whose console and network can be read."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver is installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    opened = webdriver.Chrome(options=options, service=service)
    yield opened
    opened.quit()


def show(browser: Any, path: Path, width: int, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (380, "light")])
def test_report_opens_clean(browser: Any, hostile_reports: Path, width: int, scheme: str) -> None:
    path = hostile_reports / "report.html"
    browser.get_log("performance")
    browser.get_log("browser")
    show(browser, path, width, scheme)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events
             if e["method"] == "Network.requestWillBeSent"]  # fmt: skip
    # The browser's own start page may still be loading.
    others = [url for url in asked if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))]
    assert others == [path.as_uri()]
    assert not [e for e in events if e["method"] == "Page.javascriptDialogOpening"]
    # The page itself never scrolls sideways; wide tables and figures do so on their own.
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")


def test_ground_and_ink_follow_the_scheme(browser: Any, hostile_reports: Path) -> None:
    def brightness(what: str) -> float:
        script = f"return getComputedStyle(document.body).{what}.match(/\\d+/g).map(Number)"
        red, green, blue = browser.execute_script(script)[:3]
        return float(red + green + blue) / 3

    for scheme, darker in (("light", "color"), ("dark", "backgroundColor")):
        show(browser, hostile_reports / "report.html", 1200, scheme)
        lighter = {"color": "backgroundColor", "backgroundColor": "color"}[darker]
        assert brightness(lighter) - brightness(darker) > 180


def test_words_are_text(
    browser: Any, hostile_reports: Path, hostile_words: tuple[str, ...]
) -> None:
    show(browser, hostile_reports / "report.html", 1200, "light")
    cells = browser.execute_script(
        "return [...document.querySelectorAll('#words ~ .table td')].map(e => e.textContent)"
    )
    assert "<script>alert(1)</script>" in cells
    assert r"\input{x}" in cells
    assert len(set(cells) & set(hostile_words)) >= 10
    for tag in ("script", "img", "b", "i", "iframe"):
        assert browser.execute_script(f"return document.querySelectorAll({tag!r}).length") == 0


def test_figures_are_drawn(browser: Any, hostile_reports: Path) -> None:
    show(browser, hostile_reports / "report.html", 1200, "light")
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('svg[role=img]')]"
        ".map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])"
    )
    assert len(sizes) == 8
    assert all(width > 400 and height > 60 for width, height in sizes)


@pytest.fixture(scope="module")
def ablation_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the report of the bundled study, whose tables are the widest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.ValueBiasWarning)
        fit = valuebias.fit_ablation(
            valuebias.datasets.load("demo"), draws=100, tune=150, chains=2, seed=1, progress=False
        )
    return fit.report(tmp_path_factory.mktemp("wide") / "report.html", progress=False)


_TOO_WIDE = (
    "return [...document.querySelectorAll('.scroll.table')]"
    ".filter(box => box.scrollWidth > box.clientWidth + 1)"
    ".map(box => box.getAttribute('aria-labelledby'))"
)


def test_tables_fit_a_window_and_paper_and_show_where_they_scroll(
    browser: Any, ablation_report: Path
) -> None:
    show(browser, ablation_report, 1100, "light")
    assert browser.execute_script(_TOO_WIDE) == []
    show(browser, ablation_report, 560, "light")
    assert "table-closing" in browser.execute_script(_TOO_WIDE)
    style = "return getComputedStyle(document.querySelector('.scroll.table'))"
    assert "gradient" in browser.execute_script(f"{style}.backgroundImage")
    # A4 less its margins; what is wider than paper is lost.
    show(browser, ablation_report, 658, "light")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.execute_script(_TOO_WIDE) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
