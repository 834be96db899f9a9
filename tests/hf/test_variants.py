"""Settings of published checkpoints: plain rotary positions by name, ALBERT's square projection, padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.estimate.counts import count_parameters
from scaling.hf.convert import export_run, import_run
from scaling.models.score import score
from scaling.runtime.errors import BadInputError
from scaling.train.trained import load_trained
from tests.hf.peers import PEERS, edit, peer, saved, torch


def log_probs(model: Any, rows: list[list[int]], pad: int) -> list[np.ndarray]:
    """What transformers says of rows that it pads to the right and masks: log p of each id, by row."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        logits = model(ids, attention_mask=(ids != pad).long()).logits
    chosen = torch.log_softmax(logits, -1).gather(-1, ids[..., None])[..., 0].numpy()
    return [chosen[i, : len(row)] for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    "scaling",
    [None, {"rope_type": "default"}, {"type": "default"}, {"rope_type": "default", "factor": 8.0},
     {"type": "linear", "factor": 1.0}, {}],
)  # fmt: skip
def test_plain_rotary_positions_by_any_name(scaling: Any, tmp_path: Path) -> None:
    source = saved("llama", tmp_path)
    plain = import_run(source, tmp_path / "plain")
    edit(source, rope_parameters=None, rope_theta=10_000.0)
    if scaling is not None:
        edit(source, rope_scaling=scaling)
    assert import_run(source, tmp_path / "run").params == plain.params
    assert load_trained(tmp_path / "run", print).run.model.rotary_base == 10_000.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "scaling",
    [{"rope_type": "llama3", "factor": 8.0}, {"type": "linear", "factor": 2.0}, {"factor": 2.0}, "x", [1]],
)
def test_stretched_rotary_positions_are_refused(scaling: Any, tmp_path: Path) -> None:
    source = saved("llama", tmp_path)
    edit(source, rope_scaling=scaling)
    with pytest.raises(BadInputError, match="rope_scaling=") as error:
        import_run(source, tmp_path / "run")
    assert len(str(error.value).splitlines()) == 1


def test_an_albert_projects_an_embedding_that_is_as_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, config, settings = PEERS["albert-mlm"]
    monkeypatch.setitem(PEERS, "albert-mlm", (kind, config, settings | {"embedding_size": 32}))
    source = saved("albert-mlm", tmp_path)
    import_run(source, tmp_path / "run")
    trained, theirs = load_trained(tmp_path / "run", print), peer("albert-mlm")
    rows = [[5, 9, 11, 60], [7, 8]]
    ours = score(trained.model, rows).log_probs
    for one, other in zip(ours, log_probs(theirs, rows, 0), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    total = sum(parameter.numel() for parameter in theirs.parameters())
    assert abs(count_parameters(trained.run.model).total - total) <= 32 * 33  # but for an unused pooler
    export_run(tmp_path / "run", tmp_path / "out")
    import_run(tmp_path / "out", tmp_path / "again")
    assert score(load_trained(tmp_path / "again", print).model, rows).log_probs == ours


def test_roberta_rows_of_different_lengths_need_no_padding(tmp_path: Path) -> None:
    import_run(saved("roberta", tmp_path), tmp_path / "run")
    trained, rows = load_trained(tmp_path / "run", print), [[0, 5, 9, 11, 60, 2], [0, 7, 2]]
    trained.check_rows(rows)
    for one, other in zip(
        score(trained.model, rows).log_probs, log_probs(peer("roberta"), rows, 1), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-5)
    with pytest.raises(BadInputError, match=r"ids\[1\]\[3\]=1 is padding"):
        trained.check_rows([rows[0], [*rows[1], 1, 1, 1]])
