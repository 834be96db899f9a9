"""Whatever stands in a file that a person gives: it is read, or refused in one line; nothing else comes out.

Five readers, 2,400 documents: published ones with pieces cut, doubled and swapped, and trees of the right
words in the wrong places.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scaling.config.errors import BadInputError
from scaling.config.load import config_root, load_model, load_run, load_sweep, read_yaml
from scaling.config.record import read_record
from scaling.laws import read_points

CONFIGS = {
    kind: [p.read_text() for p in sorted((config_root() / kind).glob("*.yaml"))]
    for kind in ("runs", "sweeps")
}
CSV = "params,tokens,loss,flops,group,seed,final\n1e7,2e8,4.1,1.2e16,a,0,true\n2e7,4e8,3.8,,b,1,done\n"
RECORD = '{"id": "0", "name": "a", "family": "decoder", "status": "finished", "step": 3, "points": []}'


def words(tree: Any) -> set[str]:
    """Every key and string of a document."""
    if isinstance(tree, dict):
        return set(map(str, tree)) | {w for value in tree.values() for w in words(value)}
    if isinstance(tree, list):
        return {w for value in tree for w in words(value)}
    return {tree} if isinstance(tree, str) else set()


VOCABULARY = sorted({w for texts in CONFIGS.values() for text in texts for w in words(yaml.safe_load(text))})
HOSTILE = [
    *(
        "!!python/object/apply:os.system [id]",
        "&a [*a]",
        "{",
        "\t",
        "\x07",
        "é",
        "💥",
        "null",
        "~",
        "-0",
        "-1",
    ),
    *("1e999", ".nan", ".inf", "0x10", "1_000", "on", "2024-01-01", "99999999999999999999", "- - -", "? :"),
    *("'", '"', ",", "\n", "../../etc/passwd", "/dev/null", "$(id)", "; rm -rf x", "\r", "\ufeff"),
    *("<<: {}", "a: b", "[]", "{}", "|", ">"),
]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(VOCABULARY),
    st.sampled_from(["2024-01-01", "1e3", "-1", "0", ""]),
)  # fmt: skip
trees = st.dictionaries(
    st.sampled_from(VOCABULARY),
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(VOCABULARY), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    max_size=6,
).map(lambda tree: yaml.safe_dump(tree, allow_unicode=True))


@st.composite
def mutated(draw: st.DrawFn, texts: list[str]) -> str:
    """A document with up to five accidents."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 30)))
        piece = draw(st.sampled_from(HOSTILE) | st.sampled_from(VOCABULARY) | st.just(text[at:end] * 2))
        text = text[:at] + piece + text[end:]
    return text


def read_or_refuse(read: Callable[[Path], Any], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read(path)
    except BadInputError as error:
        assert str(error) and len(str(error).splitlines()) == 1


def fuzz(cases: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.mark.parametrize("read", [load_run, load_sweep, load_model])
@fuzz(200)
@given(text=trees)
@example(text="model: [gpt2]\n")
@example(text="base: {base: {base: cpu}}\n")
def test_trees_of_words(read: Callable[[Path], Any], text: str, tmp_path: Path) -> None:
    read_or_refuse(lambda path: read(str(path)), tmp_path / "x.yaml", text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(("read", "kind"), [(load_run, "runs"), (load_sweep, "sweeps")])
@fuzz(400)
@given(data=st.data())
def test_configs_with_accidents(
    read: Callable[[Path], Any], kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    text = data.draw(mutated(CONFIGS[kind]))
    read_or_refuse(lambda path: read(str(path)), tmp_path / "x.yaml", text.encode("utf-8", "surrogatepass"))


@fuzz(600)
@given(text=mutated([CSV]), force=st.booleans())
def test_tables_with_accidents(text: str, force: bool, tmp_path: Path) -> None:
    read_or_refuse(lambda path: read_points(path, force=force), tmp_path / "x.csv", text.encode())


@fuzz(200)
@given(content=st.binary(max_size=300))
def test_bytes(content: bytes, tmp_path: Path) -> None:
    read_or_refuse(read_points, tmp_path / "x.csv", content)
    read_or_refuse(read_yaml, tmp_path / "x.yaml", content)


@fuzz(200)
@given(text=mutated([RECORD]))
def test_records_with_accidents(text: str, tmp_path: Path) -> None:
    read_or_refuse(lambda path: read_record(path.parent), tmp_path / "record.json", text.encode())
