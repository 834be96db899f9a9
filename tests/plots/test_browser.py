"""The report in a real browser: Chromium, headless, driven by the driver that Debian ships with it."""

import base64
import json
import os
import shutil
import time

import pytest

from scaling.laws import read_points
from scaling.plots.report import write_report
from scaling.plots.report_html import DARK_PAPER
from tests.plots.drawn_law import law_of
from tests.plots.sweep_of import write_sweep

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
EVIL = "<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs chromium and chromedriver on PATH (apt-get install chromium chromium-driver)",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    home = tmp_path_factory.mktemp("browser")
    sweep = write_sweep(home / "sweep", names={5: EVIL})
    law = law_of(read_points(sweep), held_sizes=1, full=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling.plots.report.RESAMPLES", 20)
        return write_report(sweep, law, home / "report.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, page):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument("--disable-gpu")
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument("--window-size=1200,900")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.get("about:blank")
        driver.get_log("performance")  # what the browser's own first tab asked for
        driver.get(page.as_uri())
        wait(lambda: driver.execute_script(f"return {DRAWN}"))
        yield driver
    finally:
        driver.quit()


DRAWN = (
    "[...document.querySelectorAll('.figure')].every(f => f.querySelector('svg.main-svg')) "
    "&& document.querySelectorAll('.figure').length"
)


def wait(condition, seconds=60.0):
    """The first true value of a condition; the bound only ends a test that has failed."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the page did not come to it"
        time.sleep(0.05)
    return value


def test_every_figure_is_drawn_with_a_size(browser):
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('.figure')].map(f => [f.id, f.querySelectorAll('path').length, "
        "...['width', 'height'].map(k => f.querySelector('svg.main-svg').getBoundingClientRect()[k])])"
    )
    assert {name for name, *_ in sizes} >= {"compute", "tokens", "exponents", "contours", "residuals"}
    for name, paths, width, height in sizes:
        assert paths > 10 and width > 200 and height > 150, name


def test_hover_shows_the_run_and_its_name_stays_text(browser):
    from selenium.webdriver.common.action_chains import ActionChains

    # The last traces of three markers are the largest size, with the hostile name, and the predictions.
    marker = browser.execute_script(
        "const f = document.getElementById('compute'); f.scrollIntoView({block: 'center'});"
        "return [...f.querySelectorAll('.trace')].filter(t => t.querySelectorAll('.point').length == 3)"
        ".at(-2)"
        ".querySelector('.point')"
    )
    ActionChains(browser).move_to_element(marker).perform()
    text = wait(
        lambda: browser.execute_script("return document.querySelector('#compute .hoverlayer').textContent")
    )
    assert EVIL in text and "loss" in text and "FLOPs" in text
    assert EVIL in browser.execute_script("return document.body.innerText")
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0


def test_nothing_is_said_on_the_console_and_nothing_asked_of_a_network(browser, page):
    assert browser.get_log("browser") == []  # an alert would besides have ended the session
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    assert [url for url in asked if not url.startswith(("data:", "blob:", page.as_uri()))] == []
    assert not [m for m in messages if m["method"] == "Network.loadingFailed"]


def test_it_prints_as_pages_with_its_figures(browser):
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    pages = pdf.count(b"/Type /Page\n") or pdf.count(b"/Type /Page") - pdf.count(b"/Type /Pages")
    assert 3 <= pages <= 20


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_scrolls_down_only(browser, page, width):
    show(browser, page, width, "light")
    wide = browser.execute_script(
        "return [document.documentElement.scrollWidth, ...[...document.querySelectorAll('section, .figure, "
        ".scroll, .main-svg')].map(e => Math.round(e.getBoundingClientRect().right))]"
    )
    assert max(wide) <= width


@pytest.mark.parametrize("width", [400, 1280])
def test_no_label_of_a_figure_is_under_another_or_under_the_toolbar(browser, page, width):
    show(browser, page, width, "light")
    assert browser.execute_script(OVERLAPS) == []


def test_a_dark_page_has_dark_figures(browser, page):
    show(browser, page, 1280, "dark")
    colours = browser.execute_script(
        "return [getComputedStyle(document.body).backgroundColor, ...[...document.querySelectorAll("
        "'.figure .main-svg:first-child')].map(e => e.style.background || e.style.backgroundColor)]"
    )
    rgb = ", ".join(str(int(DARK_PAPER[i : i + 2], 16)) for i in (1, 3, 5))
    assert len(colours) > 5 and set(colours) == {f"rgb({rgb})"}


# Texts of a figure that overlap by more than two pixels in both directions; not the labels on contours.
OVERLAPS = """
const found = [];
for (const figure of document.querySelectorAll('.figure')) {
  const kinds = '.xtick text, .ytick text, .g-xtitle text, .g-ytitle text, .legendtext, .annotation-text, ' +
    '.modebar-group';
  const boxes = [...figure.querySelectorAll(kinds)].map(e => [e.textContent || 'toolbar',
    e.getBoundingClientRect()]).filter(([, b]) => b.width > 0);
  boxes.forEach(([text, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (x > 2 && y > 2) found.push([figure.id, text, other]);
  }));
}
return found;
"""


def show(browser, page, width, scheme):
    """Open the page anew at a width and in a colour scheme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())
    wait(lambda: browser.execute_script(f"return {DRAWN}"))
