"""Whatever stands in a config or a table: a result or one line, never a traceback. 2,600 cases a run.

Half of the cases start from input that is right and harm it, for random bytes hardly get past the parser.
"""

import contextlib
import json
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.config.load import config_root, dump_yaml, load_model, load_run, load_sweep, read_yaml
from scaling.config.record import read_record
from scaling.laws import parse_columns
from scaling.laws.read.inputs import read_points
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand
from scaling.train.run_directory import read_origin, read_run


def fuzzed(cases: int) -> settings:
    """So many cases, however slow the machine."""
    return settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Passes over bad input that is said in one line; any other error is a bug."""
    try:
        yield
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1 and str(error).strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["", "..", "../../etc/passwd", "/etc/passwd", "a\0b", "é\n", "1e400", "-0", "~", "{}", "cpu", "gpt1",
         "text:", "jsonl:/dev/null", "tfds:", "sentencepiece:..", "none.yaml", ".yaml", "$HOME", "<b>"]
    )
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["base", "model", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def tree_of(kind: str, name: str) -> dict[str, Any]:
    return read_yaml(config_root() / kind / f"{name}.yaml")


RUN = json.loads(json.dumps(yaml.safe_load(dump_yaml(load_run("cpu")))))
SWEEPS = {name: tree_of("sweeps", name) for name in ("demo", "mup-lr", "gpt1-to-gpt3")}


def paths_in(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a tree something stands that can be replaced."""
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from paths_in(value, (*path, key))


def harmed(tree: Any, harm: Callable[[Any], Any]) -> Any:
    """A copy of a tree that `harm` has changed."""
    copy = json.loads(json.dumps(tree))
    harm(copy)
    return copy


@st.composite
def trees(draw: st.DrawFn, tree: dict[str, Any]) -> dict[str, Any]:
    """A right tree with one to three places replaced, removed or added to."""

    def harm(copy: Any) -> None:
        for _ in range(draw(st.integers(1, 3))):
            path = draw(st.sampled_from(list(paths_in(copy)) or [("name",)]))
            at = copy
            for key in path[:-1]:
                at = at[key]
            how = draw(st.sampled_from(["replace", "remove", "add"]))
            if how == "remove":
                with contextlib.suppress(KeyError):
                    del at[path[-1]]
            elif how == "add" and isinstance(at, dict):
                at[draw(st.text(max_size=8))] = draw(values)
            else:
                at[path[-1]] = draw(values)

    return harmed(tree, harm)


@fuzzed(500)
@given(tree=trees(RUN))
def test_a_run_that_was_harmed(tree: dict[str, Any]) -> None:
    with one_line():
        run = load_run(tree)
        assert load_run(yaml.safe_load(dump_yaml(run))) == run
        assert len(run.id()) == 12


@fuzzed(300)
@given(data=st.data(), name=st.sampled_from(sorted(SWEEPS)))
def test_a_sweep_that_was_harmed(data: st.DataObject, name: str, folder: Path) -> None:
    path = folder / "sweep.yaml"
    with contextlib.suppress(yaml.YAMLError):
        path.write_text(yaml.safe_dump(data.draw(trees(SWEEPS[name]))))
    with one_line():
        sweep = load_sweep(str(path))
        if max((*sweep.widths, *sweep.depths, *sweep.params, len(sweep.seeds or ())), default=0) < 10**6:
            expand(sweep)


@fuzzed(400)
@given(
    content=st.binary(max_size=120)
    | st.text(alphabet=string.printable + "é\u2028\0", max_size=120).map(lambda t: t.encode())
    | st.text(alphabet="&*!%@`[]{}:,-? \n\t'\"|>abc01~", max_size=80).map(lambda t: t.encode())
)
def test_any_bytes_as_any_config(content: bytes, folder: Path) -> None:
    path = folder / "any.yaml"
    path.write_bytes(content)
    for load in (load_run, load_sweep, load_model):
        with one_line():
            load(str(path))


@fuzzed(300)
@given(
    key=st.sampled_from([".".join(map(str, path)) for path in paths_in(RUN)]) | st.text(max_size=12),
    value=st.text(max_size=20) | values.map(lambda v: json.dumps(v)),
)
def test_any_override(key: str, value: str) -> None:
    with one_line():
        load_run("cpu", [f"{key}={value}"])


@fuzzed(100)
@given(
    name=st.text(max_size=30) | st.sampled_from(["../runs/cpu", "/etc/passwd", "..", "", ".", "a\0b.yaml"])
)
def test_any_name(name: str) -> None:
    for load in (load_run, load_sweep, load_model):
        with one_line():
            load(name)


CELLS = (
    st.sampled_from(
        ["1e6", "3", "", " ", "nan", "-inf", "1e309", "1e-320", "0", "-1", "1_0", "0x10", "٣", "1e200",
         "true", '"', '"a""b"', "=1+1", "\ufeff", "a\u2028b", "1,5"]
    )
    | st.floats().map(str)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from(
        ["params", "tokens", "loss", "flops", "weight", "group", "dataset", "name", "seed", "final", "status",
         "unique_tokens", "error", "N", "", " loss", "loss"]
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


@fuzzed(600)
@given(
    header=st.just(["params", "tokens", "loss"]) | HEADERS,
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=8), max_size=5),
    end=st.sampled_from(["\n", "\r\n", "\r", ""]),
    delimiter=st.sampled_from([",", ";"]),
    force=st.booleans(),
)
def test_any_table(
    header: list[str], rows: list[list[str]], end: str, delimiter: str, force: bool, folder: Path
) -> None:
    path = folder / "any.csv"
    lines = [header, *(row[: len(header)] + ["1e6"] * (len(header) - len(row)) for row in rows)]
    path.write_bytes(end.join(delimiter.join(line) for line in lines).encode())
    with one_line():
        points = read_points(path, {}, force=force)
        assert (points.params > 0).all() and (points.loss > 0).all()


@fuzzed(300)
@given(content=st.binary(max_size=150), columns=st.text(max_size=20))
def test_any_bytes_as_a_table(content: bytes, columns: str, folder: Path) -> None:
    path = folder / "bytes.csv"
    path.write_bytes(content)
    with one_line():
        read_points(path, parse_columns(columns))


@fuzzed(100)
@given(content=st.binary(max_size=60) | values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_as_the_files_of_a_run(content: bytes, folder: Path) -> None:
    """config.yaml, record.json and source.json of a directory that somebody sends."""
    for name in ("config.yaml", "record.json", "source.json"):
        (folder / name).write_bytes(content)
    for read in (read_run, read_record, read_origin):
        with one_line():
            read(folder)
