import json
import re
from pathlib import Path

import pytest

from scaling.laws import read_points
from scaling.plots.report import embed, write_report
from scaling.plots.report_html import (
    DARK_GRID,
    DARK_PAPER,
    NEUTRAL,
    READABLE,
    contrast,
    dark_colours,
)
from scaling.plots.report_law import between, rounded
from scaling.runtime.errors import BadInputError
from tests.plots.drawn_law import law_of
from tests.plots.sweep_of import with_sources, write_sweep

BREAK = "document.title=`broken`"
EVIL = f'<img src=x onerror="{BREAK}"> </script><script>{BREAK}</script> {{{{plotly}}}}'


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling.plots.report.RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    home = tmp_path_factory.mktemp("report")
    sweep = write_sweep(home / "sweep", names={1: EVIL, 5: EVIL})
    law = law_of(read_points(sweep), held_sizes=1, full=True)
    return write_report(sweep, law, home / "report.html")


def rows_of(page: Path, title: str) -> list[list[str]]:
    """The cells of the table under a title, the head first."""
    section = page.read_text().split(f"<h2>{title}</h2>")[1].split("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell) for cell in row] for row in cells]


def test_page_asks_the_network_for_nothing(page):
    text = page.read_text()
    ours = text[: text.index("<script>")]
    assert not re.search(r"https?://|//cdn|@import|url\(", ours)
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=(?!\"data:)", ours.replace("&lt;", ""))
    assert "default-src 'none'" in text


def test_names_of_runs_are_escaped(page):
    text = page.read_text()
    assert EVIL not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=&quot;" in text
    block = text.split('id="figures">')[1].split("</script>")[0]
    figures = json.loads(block)
    names = {name for trace in figures["compute"]["data"] for name in trace.get("text", [])}
    assert any(name.startswith("&lt;img") for name in names)


def test_page_tells_the_sweep(page):
    text = page.read_text()
    for words in (
        "Held-out test",
        "L(N, D) = E + A / N<sup>\N{GREEK SMALL LETTER ALPHA}</sup> + B / D",
        "95% interval",
        "starts at the best optimum",
        "parameters without embeddings, with the output head",
        "device seconds",
        "bits per byte",
        "What to train next",
        "python 3.11.9",
    ):
        assert words in text
    assert text.count("finished</td>") == 6


def test_points_without_records_or_law(tmp_path):
    csv = tmp_path / "a.csv"
    csv.write_text("params,tokens,loss\n1e6,2e7,4\n2e6,4e7,3.5\n")
    text = write_report(read_points(csv), None, tmp_path / "r.html").read_text()
    assert "<h2>Points</h2>" in text
    assert "Held-out test" not in text


def test_refused_outputs(tmp_path):
    with pytest.raises(BadInputError, match="does not exist; give a CSV file"):
        write_report(tmp_path / "none", None, tmp_path / "r.html")
    sweep = write_sweep(tmp_path / "sweep")
    with pytest.raises(BadInputError, match="does not exist"):
        write_report(sweep, None, tmp_path / "no" / "r.html")


def test_embedded_json_cannot_be_left():
    text = embed({"a": "</script><!--&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!--&"}


def test_runs_are_in_the_order_of_size_and_tokens_with_their_settings(tmp_path):
    sweep = write_sweep(tmp_path / "sweep", names={0: "z", 5: "a"})
    for i, home in enumerate(sorted(sweep.iterdir())):
        model = {"n_layers": i + 1, "d_model": 8 * (i + 1)}
        train = {"learning_rate": 0.01267, "batch_tokens": 2048}
        (home / "config.yaml").write_text(json.dumps({"model": model, "train": train}))
    head, *rows = rows_of(write_report(sweep, None, tmp_path / "r.html"), "Runs and their cost")
    rows = rows[:-1]  # the total
    middle = [f"ladder-{size}m" for size in ("0.13", "0.28", "0.60", "1.30")]
    assert [row[0] for row in rows if row[0]] == ["z", *middle, "a"]
    tokens = head.index("tokens")
    assert [row[tokens] for row in rows[:4]] == ["300k", "600k", "1.2M", "650k"]
    cells = dict(zip(head, rows[0], strict=True))
    assert (cells["depth \N{MULTIPLICATION SIGN} width"], cells["learning rate"], cells["batch, tokens"]) == (
        "1 \N{MULTIPLICATION SIGN} 8",
        "0.0127",
        "2,048",
    )


def test_losses_by_source_of_a_mixture(tmp_path):
    sweep = with_sources(write_sweep(tmp_path / "sweep"))
    page = write_report(sweep, None, tmp_path / "r.html")
    head, *rows = rows_of(page, "Losses by source")
    assert head[3:] == ["code: loss", "code: bits per byte", "web: loss", "web: bits per byte"]
    assert len(rows) == 18 and [row[0] for row in rows[:2]] == ["ladder-0.06m", ""]
    for row in rows:
        assert float(row[3]) == pytest.approx(float(row[5]) - 0.5, abs=2e-4)
    assert (
        "Losses by source"
        not in write_report(write_sweep(tmp_path / "b"), None, tmp_path / "b.html").read_text()
    )


def test_several_sweeps_are_one_page(tmp_path):
    homes = [write_sweep(tmp_path / name, seed=i) for i, name in enumerate(("ladder", "isoflop"))]
    head, *rows = rows_of(write_report(homes, None, tmp_path / "r.html"), "Runs and their cost")
    sweep = head.index("sweep")
    assert {row[sweep] for row in rows[:-1]} == {"ladder", "isoflop", ""}
    assert len(rows) == 2 * 18 + 1


def test_what_the_data_do_not_identify_is_named_in_headline_and_table(page):
    text = page.read_text()
    assert "of the chinchilla law: not identified by these runs" in text.split("<h2>")[0]
    rows = {row[0]: row for row in rows_of(page, "The chinchilla law")}
    assert rows["E"][1] == "not identified"
    assert "not" not in rows["A"][1]


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.42666, (0.29123, 0.8001), "0.43"),
        (219.7, (108.3, 717.1), "220"),
        (1.39999, (1.3, 1.53), "1.40"),
        (1.5e9, (1.42e9, 1.61e9), "1.5 \N{MULTIPLICATION SIGN} 10\N{SUPERSCRIPT NINE}"),
        (0.0, (0.0, 0.0), "0"),
        (34.1567, None, "34.2"),
        (None, None, "\N{EN DASH}"),
        (float("inf"), (1.0, 2.0), "\N{INFINITY}"),
    ],
)
def test_numbers_have_the_digits_that_their_interval_determines(value, interval, text):
    assert rounded(value, interval) == text


def test_ends_of_intervals_are_rounded_alike():
    assert between((0.29123, 0.8001)) == "0.29 \N{EN DASH} 0.80"
    assert between(None) == between((None, None)) == "\N{EN DASH}"
    assert (between((None, 1.2712)), between((0.5, None))) == ("below 1.27", "above 0.5")


def test_every_colour_is_readable_on_the_dark_page(page):
    documents = json.loads(page.read_text().split('id="figures">')[1].split("</script>")[0])
    mapped = dark_colours(documents)
    assert len(mapped) > 10
    behind = {*NEUTRAL, DARK_PAPER, DARK_GRID}
    for colour, dark in mapped.items():
        if colour.startswith("#") and colour not in behind:
            assert contrast(dark, DARK_PAPER) >= READABLE, colour
    assert json.loads(page.read_text().split('id="dark">')[1].split("</script>")[0]) == mapped
