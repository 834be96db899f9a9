"""`import scaling`: lazy, typed, and with results that show themselves as the commands print them."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scaling
from scaling import cli
from scaling.api import arguments
from scaling.api.laws import Fit, FitsByColumn
from scaling.config.load import dump_yaml, load_model, load_run, load_sweep
from tests.end_to_end.conftest import RunCli, run_cli
from tests.laws.known import few_starts, ladder
from tests.plots.sweep_of import write_sweep

__all__ = ["run_cli"]

QUICK: dict[str, Any] = {
    "bootstrap": 0, "holdout": None, "rolling": 0, "profile": False, "sensitivity": False,
}  # fmt: skip


def in_a_process(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_and_estimating_need_neither_jax_nor_numpy() -> None:
    in_a_process(
        "import sys, scaling\n"
        "heavy = {'jax', 'numpy', 'flax', 'pandas', 'matplotlib', 'pydantic', 'typer', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert 'estimate' in dir(scaling)\n"
        "scaling.estimate('gpt3-13b', on='h100-sxm:64', tokens=3e11)._repr_html_()\n"
        "scaling.models('gpt3')\n"
        "assert not {'jax', 'numpy', 'flax', 'pandas', 'matplotlib'} & set(sys.modules)"
    )


def test_the_stub_declares_what_is_there() -> None:
    tree = ast.parse(Path(scaling.__file__).with_name("__init__.pyi").read_text())
    declared = {
        one.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for one in node.names
    }
    assert sorted(declared) == scaling.__all__
    assert declared == {name: f"scaling.{module}" for name, module in scaling._MODULES.items()}
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        scaling.nothing_of_this_name  # noqa: B018


@pytest.mark.parametrize("name", [name for name in scaling.__all__ if name != "BadInputError"])
def test_a_function_takes_what_its_command_takes_and_says_so(name: str) -> None:
    function = getattr(scaling, name)
    taken = set(inspect.signature(function).parameters)
    commands = {command.__name__: command for command in cli._COMMANDS}
    words = inspect.getdoc(function) or ""
    for section in ("Args:", "Returns:", "Raises:"):
        assert section in words, section
    for option in taken:
        assert f"\n    {option}: " in words, option
    if name == "read":  # no command prints points
        return
    own = {"as_json", "full", "show_scripts", "no_cache", "figure"}  # of the command alone: how it is shown
    renamed = {"no_cache": "cache"}
    options = set(inspect.signature(commands[name]).parameters)
    assert options - own <= taken
    assert taken - options <= {*renamed.values(), "decoder_ids"}


def test_packages_with_the_name_of_a_function_are_called() -> None:
    in_a_process(
        "import inspect, scaling.estimate.counts, scaling.train, scaling.models\n"
        "from scaling import train\n"
        "assert 'overrides' in inspect.signature(train).parameters\n"
        "assert train.__doc__.startswith('Train one run')\n"
        "assert scaling.estimate('gpt1').params['total'] > 1e8\n"
        "assert scaling.estimate.counts.count_parameters"
    )


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("models --family bert", lambda: scaling.models("bert")),
        (
            "estimate gpt3-13b n_layers=4 --on h100-sxm:64 --tokens 3e11 --mesh fsdp=8,tensor=8 --remat full",
            lambda: scaling.estimate(
                "gpt3-13b", {"n_layers": 4}, on="h100-sxm:64", tokens=3e11, mesh={"fsdp": 8, "tensor": 8},
                remat="full",
            ),
        ),
        ("estimate t5-small", lambda: scaling.estimate("t5-small")),
        (
            "plan --usd 500 --on h100-sxm:8 --inference-tokens 1e12",
            lambda: scaling.plan("h100-sxm:8", usd=500, inference_tokens=1e12),
        ),
        (
            "launch demo --on slurm --device h100-sxm --dry-run",
            lambda: scaling.launch("demo", on="slurm", device="h100-sxm", dry_run=True),
        ),
    ],
)  # fmt: skip
def test_a_result_is_what_the_command_prints(run_cli: RunCli, line: str, call: Any) -> None:
    code, out, err = run_cli(*line.split(), "--json")
    result = call()
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(result.to_dict()))
    printed = run_cli(*line.split())[1]
    assert repr(result) == str(result) and str(result).split()[:40] == printed.split()[:40]
    html = result._repr_html_()
    assert html.startswith("<div>") and "<table>" in html and "<script" not in html


def test_forms_of_a_config_are_the_same() -> None:
    named = scaling.estimate("gpt3-125m", ["n_layers=6"], on="h100-sxm:8").to_dict()
    model = load_model("gpt3-125m")
    own = model.model_copy(update={"n_layers": 6})
    for one in (own, own.model_dump()):
        assert scaling.estimate(one, on="h100-sxm:8").to_dict() == named
    assert scaling.estimate(model, {"n_layers": 6}, on="h100-sxm:8").to_dict() == named
    run = load_run("cpu")
    assert scaling.estimate(run).to_dict() == scaling.estimate("cpu").to_dict()
    assert (
        scaling.estimate(run, on="h100-sxm:1").to_dict() == scaling.estimate("cpu", on="h100-sxm:1").to_dict()
    )
    assert scaling.estimate(run, {"model.n_layers": 1}).run.model.n_layers == 1


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: scaling.estimate("nope"), "model 'nope': neither a named config"),
        (lambda: scaling.estimate("gpt1", on="h100-sxm:8", mesh={"fdsp": 8}), "did you mean fsdp"),
        (lambda: scaling.estimate("gpt1", attention="half"), "--attention 'half': give causal or full"),
        (lambda: scaling.plan("h100-sxm:8"), "--usd"),
        (lambda: scaling.fit("nowhere.csv"), "nowhere.csv does not exist"),
        (lambda: scaling.fit("nowhere.csv", predict={"params": -1}), "--predict params: -1 is not accepted"),
        (lambda: scaling.fit("nowhere.csv", at=["x"]), "--at: 'x' is not accepted"),
        (lambda: scaling.fit(3), "int is not a source of points"),  # type: ignore[arg-type]
        (lambda: scaling.plot("nope", "a.csv"), "figure 'nope' is not known"),
        (lambda: scaling.status("nowhere"), "nowhere: no such directory"),
        (lambda: scaling.evaluate(".", "synthetic", shots=[-1]), "--shots -1: give whole numbers"),
        (lambda: scaling.score("run"), "give text or ids"),
        (lambda: scaling.score("run", ""), "it is empty"),
        (lambda: scaling.train("cpu", {"train.stepz": 1}, dry_run=True), "train.stepz: unknown field"),
    ],
)
def test_bad_input_is_one_line(call: Any, line: str) -> None:
    with pytest.raises(scaling.BadInputError) as error:
        call()
    assert line in str(error.value) and "\n" not in str(error.value)


def test_options_as_values_and_as_text() -> None:
    assert arguments.overrides_of({"a.b": 6, "c": "x", "d": [1, 2], "e": True}, model__remat="full") == [
        "a.b=6", "c=x", "d=[1, 2]", "e=true", "model.remat=full",
    ]  # fmt: skip
    assert arguments.mesh_text({"fsdp": 8, "tensor": 2}) == arguments.mesh_text("fsdp=8,tensor=2")
    assert arguments.place_of("params=7e9,tokens=1e12") == {"params": 7e9, "tokens": 1e12}
    assert arguments.budgets_of("1e21,1e22") == arguments.budgets_of([1e21, 1e22]) == [1e21, 1e22]
    assert arguments.budgets_of(1e21) == [1e21] and arguments.budgets_of(None) == []
    assert arguments.where_of({"a": "c4", "b": [1, 2]}) == {"a": ("c4",), "b": ("1", "2")}
    assert arguments.where_of("a=c4,b=1,b=2") == {"a": ("c4",), "b": ("1", "2")}
    assert arguments.names_of("a, b") == arguments.names_of(["a", "b"]) == ["a", "b"]
    assert arguments.counts_of("--shots", "8,0,8", 0) == arguments.counts_of("--shots", [8, 0], 0) == (0, 8)
    assert arguments.shots_of(8) == arguments.shots_of("8") == [8]
    assert arguments.columns_of({"params": "N"}) == arguments.columns_of("params=N") == {"params": "N"}
    with pytest.raises(scaling.BadInputError, match="is not a field"):
        arguments.columns_of({"paramz": "N"})


@pytest.fixture(scope="module")
def frame() -> Any:
    """28 points of Chinchilla's law, of two datasets."""
    pandas = pytest.importorskip("pandas")
    points = ladder(0.003, seed=1)
    columns = {name: getattr(points, name) for name in ("params", "tokens", "loss")}
    parts = [pandas.DataFrame({**columns, "loss": k * columns["loss"]}).assign(dataset=name)
             for name, k in (("c4", 1.0), ("pile", 0.9))]  # fmt: skip
    return pandas.concat(parts, ignore_index=True)


def test_a_law_of_a_data_frame(frame: Any, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "points.csv", index=False)
    place = {"params": 7e9, "tokens": 1e12}
    with few_starts():
        fit = scaling.fit(frame, where={"dataset": "c4"}, predict=place, at=[1e21], **QUICK)
        same = scaling.fit(tmp_path / "points.csv", where="dataset=c4", predict=place, at="1e21", **QUICK)
        again = scaling.fit(scaling.read(frame, where={"dataset": "c4"}), **QUICK)
    assert isinstance(fit, Fit) and isinstance(same, Fit) and isinstance(again, Fit)
    assert fit.parameters == same.parameters == again.parameters
    document = fit.to_dict()
    assert json.loads(json.dumps(document)) and document["predict"] == same.to_dict()["predict"]
    assert fit.prediction is not None and fit.predict(**place) == fit.prediction
    assert fit.allocate(1e21) == fit.allocations == tuple(fit.allocate("1e21"))
    table = fit.to_frame().set_index("parameter")
    assert table.loc["alpha", "value"] == fit.parameters["alpha"] and "a" in table.index
    assert str(fit).startswith("chinchilla: ") and "Compute-optimal allocation" in str(fit)
    assert "<table>" in fit._repr_html_()
    assert not list(tmp_path.glob("*.json"))  # nothing is written without `out`
    fit.write(tmp_path / "law.json")
    figure = scaling.plot("loss-vs-compute", frame, where={"dataset": "c4"}, law=tmp_path / "law.json")
    assert figure.to_dict()["out"] is None and str(figure) == "Figure loss-vs-compute"
    assert figure._repr_html_().startswith("<img src='data:image/png;base64,")
    figure.save(tmp_path / "a.svg")
    page = scaling.report(frame, where={"dataset": "c4"}, law=fit, out=tmp_path / "r.html", title="t")
    assert page.to_dict()["bytes"] > 1000


def test_a_law_for_each_value(frame: Any, tmp_path: Path) -> None:
    with few_starts():
        fits = scaling.fit(frame, by="dataset", out=tmp_path / "laws.json", **QUICK)
    assert isinstance(fits, FitsByColumn)
    assert list(fits.to_frame()["dataset"]) == ["c4", "pile"]
    assert fits["pile"].parameters["alpha"] == fits.to_frame()["alpha"][1]
    assert json.loads((tmp_path / "laws.json").read_text()) == fits.to_dict()
    assert "One law for each dataset" in str(fits)
    with pytest.raises(scaling.BadInputError, match="do not go together"):
        scaling.fit(frame, by="dataset", approaches=True)


def test_points_of_a_data_frame_and_of_a_sweep(frame: Any, tmp_path: Path) -> None:
    points = scaling.read(frame)
    back = points.to_frame()
    assert np.allclose(back["loss"], frame["loss"]) and list(back["dataset"]) == list(frame["dataset"])
    assert len(json.loads(json.dumps(points.to_dict()))["points"]) == len(frame)
    assert "and 36 more" in str(points) and "Losses in nats per token" in str(points)
    assert scaling.read(points) is points
    sweep = write_sweep(tmp_path / "sweep")
    assert {"params", "tokens", "flops", "loss"} <= set(scaling.read(sweep).to_frame())
    tree = {"name": "two", "design": "grid", "base": {"base": "cpu"}, "axes": {"train.seed": [1, 2]}}
    (sweep / "sweep.yaml").write_text(dump_yaml(load_sweep(tree)))
    ledger = scaling.status(sweep)
    assert [entry["status"] for entry in ledger.to_dict()] == ["pending", "pending"]
    assert list(ledger.to_frame()["name"]) == [entry["name"] for entry in ledger.to_dict()]


def test_pandas_is_needed_for_frames_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    models = scaling.models("gpt1")
    assert models._repr_html_()
    with pytest.raises(scaling.BadInputError, match=r"pip install 'scaling-lab\[pandas\]'"):
        models.to_frame()


def test_more_than_a_day_needs_yes() -> None:
    years = {
        "design": "grid",
        "base": {"base": "cpu", "train": {"tokens": 10**12}},
        "axes": {"train.seed": [1]},
    }
    plan = scaling.sweep(years, dry_run=True)
    assert plan.to_frame()["seconds"].sum() > 86400
    with pytest.raises(scaling.BadInputError, match="give --yes"):
        scaling.sweep(years)
