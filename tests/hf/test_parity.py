"""An imported model computes what transformers computes from the same files: logits and hidden states."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.model import EncoderConfig, EncoderDecoderConfig
from scaling.hf.convert import import_run
from scaling.models.score import score
from scaling.train.trained import load_trained
from tests.hf.peers import PEERS, V, edit, saved, torch, transformers

LENGTHS = (16, 5, 11)
TARGET_LENGTHS = (7, 9, 3)
ALIKE = ("gpt2-untied", "bert-untied", "mistral-full", "qwen2", "qwen3", "llama-theta")  # as their variants
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE)) for name in PEERS]
WITH_VOCABULARY = [one for one in NAMES if not str(one.values[0]).endswith(("bare", "next"))]


def _rows(lengths: tuple[int, ...], seed: int) -> list[list[int]]:
    """Ids from 2 on: RoBERTa counts no position at its padding, id 1."""
    draw = np.random.default_rng(seed)
    return [draw.integers(2, V, length).tolist() for length in lengths]


def _padded(rows: list[list[int]], pad: int) -> tuple[Any, Any]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def _imported(name: str, tmp_path: Path) -> tuple[Any, Any]:
    source = saved(name, tmp_path)
    import_run(source, tmp_path / "run")
    peer = getattr(transformers, PEERS[name][0]).from_pretrained(source).eval()
    return load_trained(tmp_path / "run", print).model, peer


@pytest.mark.parametrize("name", WITH_VOCABULARY)
def test_logits_and_log_probabilities_are_the_peers(name: str, tmp_path: Path) -> None:
    model, peer = _imported(name, tmp_path)
    rows, pad = _rows(LENGTHS, 0), peer.config.pad_token_id or 0
    ids, mask = _padded(rows, pad)
    given = {"input_ids": ids, "attention_mask": mask}
    decoder_rows = None
    if isinstance(model.config, EncoderDecoderConfig):
        decoder_rows = [[0, *row] for row in _rows(TARGET_LENGTHS, 1)]
        given["decoder_input_ids"] = _padded(decoder_rows, pad)[0]
    with torch.no_grad():
        out = peer(**given)
    expected = (out.prediction_logits if "prediction_logits" in out else out.logits).float()

    scores = score(model, rows, decoder_rows, keep_logits=True)
    assert scores.logits_BLV is not None and scores.logits_BLV.dtype == np.float32
    log_p = torch.log_softmax(expected, -1)
    for i, row in enumerate(decoder_rows or rows):
        got = scores.logits_BLV[i]
        np.testing.assert_allclose(got[: len(row)], expected[i, : len(row)], atol=1e-4)
        assert not got[len(row) :].any()
        scored = row if isinstance(model.config, EncoderConfig) else row[1:]
        assert scores.tokens[i] == scored
        np.testing.assert_allclose(
            scores.log_probs[i], log_p[i, torch.arange(len(scored)), scored].numpy(), atol=1e-4
        )


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_are_the_peers(name: str, tmp_path: Path) -> None:
    model, peer = _imported(name, tmp_path)
    rows = _rows(LENGTHS, 2)
    ids, mask = _padded(rows, peer.config.pad_token_id or 0)
    real = mask.numpy().astype(bool)
    tokens_BL, segment_ids_BL = jnp.asarray(ids.numpy()), jnp.asarray(mask.numpy())
    if isinstance(model.config, EncoderDecoderConfig):
        target, target_mask = _padded([[0, *row] for row in _rows(TARGET_LENGTHS, 3)], 0)
        with torch.no_grad():
            source = peer.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            decoded = peer.decoder(
                input_ids=target, encoder_hidden_states=source, encoder_attention_mask=mask
            ).last_hidden_state
        memory_BMD = model.encode(tokens_BL, segment_ids_BL=segment_ids_BL)
        np.testing.assert_allclose(np.asarray(memory_BMD)[real], source.numpy()[real], atol=1e-4)
        x_BTD = model.decode(jnp.asarray(target.numpy()), memory_BMD, memory_segment_ids_BM=segment_ids_BL)
        scale = model.config.d_model**-0.5 if model.config.tie_embeddings else 1.0
        real = target_mask.numpy().astype(bool)
        np.testing.assert_allclose(np.asarray(x_BTD)[real], scale * decoded.numpy()[real], atol=1e-4)
        return
    theirs, ours = {"input_ids": ids, "attention_mask": mask}, {}
    if getattr(model.config, "token_types", 0) > 1:
        types = np.arange(ids.numel()).reshape(ids.shape) % 2
        theirs["token_type_ids"], ours["token_types_BL"] = torch.tensor(types), jnp.asarray(types)
    with torch.no_grad():
        out, whole = peer.base_model(**theirs), peer(**theirs)
    x_BLD = model(tokens_BL, segment_ids_BL=segment_ids_BL, **ours)
    np.testing.assert_allclose(np.asarray(x_BLD)[real], out.last_hidden_state.numpy()[real], atol=1e-4)
    if getattr(model.config, "pooler", False):
        np.testing.assert_allclose(model.pooled(x_BLD), out.pooler_output.numpy(), atol=1e-4)
    if getattr(model.config, "sentence_head", False):
        key = {"bert": "seq_relationship_logits", "albert": "sop_logits"}.get(name, "logits")
        np.testing.assert_allclose(model.sentence_logits(x_BLD), whole[key].numpy(), atol=1e-4)


def test_a_tied_t5_without_scaling_computes_what_the_peer_does(tmp_path: Path) -> None:
    source = saved("t5", tmp_path)
    edit(source, scale_decoder_outputs=False)
    import_run(source, tmp_path / "run")
    peer = transformers.T5ForConditionalGeneration.from_pretrained(source).eval()
    assert peer.config.scale_decoder_outputs is False
    rows, decoder_rows = _rows((6,), 0), [[0, *_rows((4,), 1)[0]]]
    with torch.no_grad():
        out = peer(input_ids=torch.tensor(rows), decoder_input_ids=torch.tensor(decoder_rows))
    scores = score(load_trained(tmp_path / "run", print).model, rows, decoder_rows, keep_logits=True)
    np.testing.assert_allclose(scores.logits_BLV, out.logits.numpy(), atol=1e-4)
