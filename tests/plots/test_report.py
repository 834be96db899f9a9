import json
import re

import pytest

from scaling.config.errors import BadInputError
from scaling.laws import fit_points, read_points
from scaling.plots.report import embed, write_report
from tests.laws.known import few_starts
from tests.plots.sweep_of import write_sweep

BREAK = "document.title=`broken`"
EVIL = f'<img src=x onerror="{BREAK}"> </script><script>{BREAK}</script> {{{{plotly}}}}'


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    home = tmp_path_factory.mktemp("report")
    sweep = write_sweep(home / "sweep", names={1: EVIL, 5: EVIL})
    with few_starts():
        law = fit_points(read_points(sweep), bootstrap=20, holdout=0.2)
    return write_report(sweep, law, home / "report.html")


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
        "L(N, D) = E + A / N^alpha + B / D^beta",
        "95% interval",
        "starts at the best optimum",
        "parameters without embeddings, with the output head",
        "device s",
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
    assert "Every point" in text
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
