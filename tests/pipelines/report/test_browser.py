"""The report in a real browser: nothing fetched, nothing thrown, nothing wider than the screen, and the parts that move do."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.report.config import ReportConfig
from pipelines.report.page import write_report
from tests.pipelines.grading.test_grade import REPLIES, graded
from tests.pipelines.report.report_runs import HOSTILE, PROBLEMS, config, write_run

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="Chromium and chromedriver are not installed"
)
LIGHT_PAPER, DARK_PAPER = "rgb(254, 254, 254)", "rgb(20, 24, 29)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = [
        write_run(folder / "vanilla", config("vanilla"), solved_share=0.15),
        write_run(folder / "esamp", config("esamp"), solved_share=0.4, hostile=True),
    ]
    write_report(runs, folder / "report", ReportConfig())
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def open_page(browser: Any, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(page.as_uri())


def shown(browser: Any) -> int:
    return browser.execute_script("return [...document.querySelectorAll('.problem')].filter(p => !p.hidden).length")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize(("scheme", "paper"), [("light", LIGHT_PAPER), ("dark", DARK_PAPER)])
def test_the_page_fits_the_screen_without_errors_or_requests(
    browser: Any, page: Path, width: int, scheme: str, paper: str
) -> None:
    browser.get_log("performance"), browser.get_log("browser")
    open_page(browser, page, width=width, scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == paper
    drawn = browser.execute_script("return [...document.querySelectorAll('figure svg')].map(s => s.clientWidth)")
    assert len(drawn) == 7 and all(200 < figure <= width for figure in drawn)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url for url in requested if not url.startswith("data:")} == {page.as_uri()}


def test_figures_take_the_colours_of_the_theme(browser: Any, page: Path) -> None:
    colours = []
    for scheme in ("light", "dark"):
        open_page(browser, page, scheme=scheme)
        script = "return getComputedStyle(document.querySelector('#figure-pass_at_k svg path')).fill"
        colours.append(browser.execute_script(script))
    assert colours == [LIGHT_PAPER, DARK_PAPER]


def test_filters_and_search_choose_problems(browser: Any, page: Path) -> None:
    open_page(browser, page)
    assert shown(browser) == PROBLEMS
    solved = browser.execute_script("return [...document.querySelectorAll('.problem')].map(p => p.dataset.solved)")
    for name, fitting in (("only 0", "0"), ("only 1", "1"), ("every", "0 1"), ("none", ""), ("any", None)):
        browser.find_element("css selector", f"[data-filter='{name}']").click()
        assert shown(browser) == sum(fitting in (None, by) for by in solved)
        pressed = browser.find_elements("css selector", "[aria-pressed='true']")
        assert [button.get_attribute("data-filter") for button in pressed] == [name]
    browser.find_element("id", "find").send_keys("p17")
    assert shown(browser) == 1 and browser.find_element("id", "count").text == "1 problem"


def test_opening_a_problem_marks_intervened_tokens_and_keeps_the_text(browser: Any, page: Path) -> None:
    open_page(browser, page)
    before, after, marks = browser.execute_script("""
        const text = document.querySelector('.problem [data-marks]'), before = text.textContent;
        text.closest('details').open = true;
        return new Promise(done => setTimeout(() =>
            done([before, text.textContent, [...text.querySelectorAll('i')].map(i => i.textContent)]), 200));
    """)
    assert before == after and len(marks) > 3
    assert "".join(marks) == before[1:], "the first token comes from the prefill and is not intervened on"


def test_what_a_model_writes_is_text(browser: Any, page: Path) -> None:
    open_page(browser, page)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return window.attacked === undefined")
    texts = browser.execute_script("return [...document.querySelectorAll('.sample .text')].map(t => t.textContent)")
    assert HOSTILE.replace("\r", "\u240d") in texts


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_of_graded_replies_fits_the_screen_and_filters(browser: Any, tmp_path: Path, width: int) -> None:
    hostile = {"task_id": "a", "completion": HOSTILE}
    graded(tmp_path, [hostile, *REPLIES[1:2], hostile, *REPLIES[3:]])
    browser.get_log("performance"), browser.get_log("browser")
    open_page(browser, tmp_path / "graded" / "report.html", width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.querySelector('figure svg').clientWidth") > 200
    assert browser.execute_script("return window.attacked === undefined")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    for name, count in (("every", 1), ("none", 1), ("any", 2)):
        browser.find_element("css selector", f"[data-filter='{name}']").click()
        assert shown(browser) == count
