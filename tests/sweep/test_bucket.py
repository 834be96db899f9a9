"""The ledger of a sweep in a bucket: of fsspec's file systems those that need no cloud."""

from pathlib import Path

import fsspec
import pytest

from scaling.config.load import dump_yaml, load_run
from scaling.estimate.counts import count_parameters
from scaling.runtime.errors import BadInputError
from scaling.sweep.directory import downloaded, finished_in, read_ledger
from scaling.train.record import make_record


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_sweep_is_read_from_a_bucket(scheme: str, tmp_path: Path) -> None:
    url = f"{scheme}://{tmp_path}/bucket/sweep"
    system, root = fsspec.core.url_to_fs(url)
    runs = {status: load_run("cpu", [f"name={status}"]) for status in ("finished", "running")}
    for status, run in runs.items():
        losses = dict.fromkeys(("loss", "validation_loss", "bits_per_byte"), 2.5)
        record = make_record(
            run, status, params=count_parameters(run.model), flops_per_token=1.0, step=7, points={},  # type: ignore[arg-type]
            losses=losses, seconds={"total": 1.0}, tokens_per_second=None, mfu=None, device={}, started="now",
        )  # fmt: skip
        for name, text in {
            "config.yaml": dump_yaml(run),
            "record.json": record.model_dump_json(),
            "checkpoints/7/state/d/0": "large",
        }.items():
            path = f"{root}/{status}/{name}"
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, text.encode())
    with downloaded(url + "/") as copy:
        assert not list(copy.rglob("checkpoints")), "a ledger needs no weights"
        entries = {entry.name: entry for entry in read_ledger(copy, elsewhere=True)}
    # It is another machine's: that nobody here holds its lock says nothing.
    assert {name: entry.status for name, entry in entries.items()} == {name: name for name in runs}
    assert entries["finished"].record is not None and entries["finished"].record.validation_loss == 2.5
    assert finished_in(url) == {runs["finished"].id()}
    with downloaded(f"{url}/finished") as copy:
        assert [entry.name for entry in read_ledger(copy)] == ["finished"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://nothing/here", "neither a sweep nor a run directory"),
        ("nosuch://bucket/sweep", "nosuch"),
    ],
)
def test_what_cannot_be_read_is_one_line(url: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught, downloaded(url):
        pass
    assert "\n" not in str(caught.value)
    assert finished_in(url) == set()


def test_a_bucket_that_fails_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question fails three times before it is answered."""
    from fsspec.implementations.memory import MemoryFileSystem

    system = MemoryFileSystem()
    for name in ("config.yaml", "record.json"):
        system.pipe_file(f"/failing/run/{name}", name.encode())
    calls: list[str] = []

    def failing(method: str) -> None:
        real = getattr(MemoryFileSystem, method)

        def call(self: object, path: str, *rest: object, **more: object) -> object:
            calls.append(path)
            if calls.count(path) <= 3:
                raise TimeoutError("503")
            return real(self, path, *rest, **more)

        monkeypatch.setattr(MemoryFileSystem, method, call)

    failing("glob")
    failing("cat_file")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with downloaded("memory://failing") as copy:
        assert (copy / "run/record.json").read_text() == "record.json"
    assert max(map(calls.count, calls)) == 4
