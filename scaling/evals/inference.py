"""The inference engine: contexts and answers in, log-probabilities or text out, in batches over a mesh."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from scaling.config.mesh import MeshConfig
from scaling.evals.prefix_groups import Group, bucket, column, groups_of, padded, power_of_two
from scaling.evals.programs import programs_on
from scaling.models.decoder import Decoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.generate import Cache, Sampling
from scaling.parallel.mesh import batch_sharding, make_mesh, shardings
from scaling.runtime.errors import BadInputError

GREEDY = Sampling(temperature=0)

_TOKENS_PER_CALL = 8  # generated before the next check for the end of a text
_PREFIXES_KEPT = 4
_MAX_ROWS = {"cpu": 64}  # elsewhere 256
_BYTES = {"cpu": 2**28}  # per device for caches, attention scores and logits; elsewhere 2**31


@dataclass(frozen=True)
class Request:
    """An answer to score after a context, both as ids.

    Other requests begin with the same first `shared` ids of the context, which are then computed once. For an
    encoder-decoder the context is the source and the answer is the target.
    """

    context: tuple[int, ...]
    answer: tuple[int, ...]
    shared: int = 0


@dataclass(frozen=True)
class Scored:
    """The log-probability of each token of an answer, in nats, and whether it was the likeliest token."""

    log_probs: tuple[float, ...]
    likeliest: tuple[bool, ...]

    @property
    def total(self) -> float:
        """The log-probability of the complete answer, in nats."""
        return float(sum(self.log_probs))


class InferenceEngine:
    """Scores and generates with one model, sharded over a mesh as in training.

    Raises:
        BadInputError: the model's family does not continue texts, or the mesh has pipeline stages.
    """

    def __init__(
        self,
        model: Any,
        start: int,
        mesh: Mesh | None = None,
        rows: int | None = None,
        writable: int | None = None,
    ) -> None:
        """`start` is the id that a decoder's target begins with; `rows` limits a batch (None: by memory).

        Only ids below `writable` are ever generated; None is the complete vocabulary.
        """
        config = model.config
        if not isinstance(model, Decoder | EncoderDecoder):
            raise BadInputError(
                f"model {config.name}: family={config.family} cannot be evaluated on suites; "
                "only decoder and encoder_decoder can"
            )
        self.mesh = make_mesh(MeshConfig(), jax.devices()[:1]) if mesh is None else mesh
        if self.mesh.shape["stage"] > 1:
            raise BadInputError(
                f"mesh.stage={self.mesh.shape['stage']}: inference has no pipeline stages; use 1"
            )
        self.model = jax.device_put(model, shardings(model, self.mesh))
        self.config, self.start, self.writable = config, start, writable
        self.encoder_decoder = isinstance(model, EncoderDecoder)
        self._programs = programs_on(self.mesh)
        self._rows = rows
        self._shards = int(np.prod([self.mesh.shape[axis] for axis in ("data", "fsdp", "expert")]))
        self._by_rows = batch_sharding((self._shards,), self.mesh)
        self._prefixes: dict[tuple[tuple[int, ...], int], Cache] = {}

    def fits(self, context: Sequence[int], answer_tokens: int) -> bool:
        """Whether a context and an answer of `answer_tokens` tokens fit the model's positions."""
        if self.encoder_decoder:
            return max(len(context), answer_tokens) <= self.config.max_length
        return len(context) + answer_tokens - 1 <= self.config.max_length

    # -- scoring ---------------------------------------------------------------------------------------

    def score(
        self, requests: Sequence[Request], advance: Callable[[int], None] = lambda count: None
    ) -> list[Scored]:
        """The scores of each answer, in order. `advance` is called with the number of requests just done.

        Raises:
            BadInputError: an empty context or answer, ids outside the vocabulary, or more tokens than the
                model has positions.
        """
        for i, request in enumerate(requests):
            self._check(i, request.context, len(request.answer), request.answer)
        results: list[Scored | None] = [None] * len(requests)
        pending: list[tuple[list[int], Any]] = []

        def collect() -> None:
            for indices, arrays in pending:
                log_probs_BL, likeliest_BL = jax.device_get(arrays)
                for index, log_probs, likeliest in zip(indices, log_probs_BL, likeliest_BL, strict=False):
                    count = len(requests[index].answer)
                    results[index] = Scored(
                        tuple(map(float, log_probs[:count])), tuple(map(bool, likeliest[:count]))
                    )
            pending.clear()

        for group in groups_of([(r.context, r.shared) for r in requests], self.encoder_decoder):
            answers = [i for members in group.members for i in members]
            longest = bucket(max(len(requests[i].answer) for i in answers))
            length = longest if self.encoder_decoder else group.length(longest, self.config.max_length)
            rows = self._rows_of(group, length, longest)
            for batch in group.batches(rows):
                cache = self._read(batch, rows, length)
                # The first answer of every context, then the second ones: rows are then ordered as in the
                # cache, which spares a copy.
                most = max(map(len, batch.members))
                ordered = [
                    (row, each[k])
                    for k in range(most)
                    for row, each in enumerate(batch.members)
                    if k < len(each)
                ]
                of_row, indices = [row for row, _ in ordered], [i for _, i in ordered]
                done = []
                for first in range(0, len(indices), rows):
                    some = slice(first, first + rows)
                    arrays = self._answers(requests, indices[some], of_row[some], cache, rows, longest)
                    done.append((indices[some], arrays))
                collect()  # of the batch before; the device is already working on this one
                pending.extend(done)
                advance(len(indices))
        collect()
        return [scored for scored in results if scored is not None]

    def _answers(
        self,
        requests: Sequence[Request],
        indices: list[int],
        of_row: list[int],
        cache: Cache,
        height: int,
        longest: int,
    ) -> Any:
        first = [self.start if self.encoder_decoder else requests[i].context[-1] for i in indices]
        starts = [0 if self.encoder_decoder else len(requests[i].context) - 1 for i in indices]
        answers = [requests[i].answer for i in indices]
        inputs = [(token, *answer[:-1]) for token, answer in zip(first, answers, strict=True)]
        return self._programs.score_answers(
            self.model,
            cache,
            None if _in_order(of_row) else self._put(column(of_row, height)),
            self._put(padded(inputs, height, longest)),
            self._put(column(starts, height)),
            self._put(padded(answers, height, longest)),
            writable=self.writable,
        )

    # -- generation ------------------------------------------------------------------------------------

    def generate(
        self,
        contexts: Sequence[tuple[int, ...]],
        *,
        new_tokens: int,
        ended: Callable[[list[int]], bool],
        shared: Sequence[int] | None = None,
        sampling: Sampling = GREEDY,
        samples: int = 1,
        seed: int = 0,
        advance: Callable[[int], None] = lambda count: None,
    ) -> list[list[list[int]]]:
        """Continuations of each context: `samples` lists of at most `new_tokens` ids.

        `ended` decides from the ids so far whether a text has ended; some ids may follow its end. A text also
        ends at the model's last position.

        Raises:
            BadInputError: as `score`; or no position is left for the first new token.
        """
        sampling.check()
        for i, context in enumerate(contexts):
            self._check(i, context, 1, ())
        limits = [
            min(new_tokens, self.config.max_length + (0 if self.encoder_decoder else 1 - len(context)))
            for context in contexts
        ]
        results: list[list[list[int]]] = [[] for _ in contexts]
        room = -(-new_tokens // _TOKENS_PER_CALL) * _TOKENS_PER_CALL
        prompts = list(zip(contexts, shared or [0] * len(contexts), strict=True))
        for group in groups_of(prompts, self.encoder_decoder):
            length = bucket(room) if self.encoder_decoder else group.length(room, self.config.max_length)
            rows = self._rows_of(group, length, 1, samples)
            for batch in group.batches(max(1, rows // samples)):
                # Several requests with the same context are one context with several answers.
                wanted = [(index, row) for row, members in enumerate(batch.members) for index in members]
                jobs = [(index, row, k) for index, row in wanted for k in range(samples)]
                cache = self._read(batch, self._divisible(max(1, rows // samples)), length)
                for first in range(0, len(jobs), rows):
                    some = jobs[first : first + rows]
                    texts = self._generate(batch, some, cache, rows, limits, ended, sampling, seed)
                    for (index, _, _), text in zip(some, texts, strict=True):
                        results[index].append(text)
                advance(len(wanted))
        return results

    def _generate(
        self,
        batch: Group,
        jobs: list[tuple[int, int, int]],
        cache: Cache,
        height: int,
        limits: list[int],
        ended: Callable[[list[int]], bool],
        sampling: Sampling,
        seed: int,
    ) -> list[list[int]]:
        rows = [row for _, row, _ in jobs]
        last = [self.start if self.encoder_decoder else batch.contexts[row][-1] for row in rows]
        at = [0 if self.encoder_decoder else len(batch.contexts[row]) - 1 for row in rows]
        keys_B = self._programs.keys(
            seed,
            self._put(column([index for index, _, _ in jobs], height)),
            self._put(column([k for _, _, k in jobs], height)),
        )
        if not _in_order(rows) or cache.layers.keys.shape[1] != height:
            cache = self._programs.of_rows(cache, self._put(column(rows, height)))
        token_B, position_B = column(last, height), column(at, height)
        texts: list[list[int]] = [[] for _ in jobs]
        finished = [False] * len(jobs)
        while not all(finished):
            tokens_BT, cache = self._programs.generate(
                self.model,
                cache,
                self._put(token_B),
                self._put(position_B),
                keys_B,
                count=_TOKENS_PER_CALL,
                sampling=sampling,
                writable=self.writable,
            )
            tokens_BT = np.asarray(tokens_BT)
            token_B, position_B = tokens_BT[:, -1], position_B + _TOKENS_PER_CALL
            for i, (index, _, _) in enumerate(jobs):
                if not finished[i]:
                    texts[i] = (texts[i] + tokens_BT[i].tolist())[: limits[index]]
                    finished[i] = len(texts[i]) >= limits[index] or ended(texts[i])
        return texts

    def forget(self) -> None:
        """Drop the cached prefixes."""
        self._prefixes.clear()

    # -- batches ---------------------------------------------------------------------------------------

    def _read(self, batch: Group, rows: int, length: int) -> Cache:
        """The cache of a batch of contexts, one row per context, without their last tokens."""
        if self.encoder_decoder:
            sizes = column([len(context) for context in batch.contexts], rows, fill=1)
            sources = padded(batch.contexts, rows, bucket(max(map(len, batch.contexts))))
            return self._programs.read_sources(
                self.model, self._put(sources), self._put(sizes), length=length
            )
        prefix = self._prefix(batch.prefix, length)
        own = [context[len(batch.prefix) : -1] for context in batch.contexts]
        tokens = padded(own, rows, bucket(max(map(len, own))))
        start = np.int32(len(batch.prefix))
        return self._programs.read_rest(self.model, prefix, self._put(tokens), start, rows=rows)

    def _prefix(self, ids: tuple[int, ...], length: int) -> Cache:
        """The cache of the prefix that a group shares, kept for the next call."""
        kept = self._prefixes.pop((ids, length), None)
        if kept is None:
            tokens = padded([ids], 1, bucket(len(ids)) if ids else 0)
            kept = self._programs.read_prefix(self.model, tokens, length=length)
        self._prefixes[ids, length] = kept  # last: most recently used
        while len(self._prefixes) > _PREFIXES_KEPT:
            self._prefixes.pop(next(iter(self._prefixes)))
        return kept

    def _rows_of(self, group: Group, length: int, answer: int, samples: int = 1) -> int:
        """Rows per batch of a group: the number of requests, limited by memory."""
        config, platform = self.config, self.mesh.devices.flat[0].platform
        most = _MAX_ROWS.get(platform, 256) if self._rows is None else self._rows
        layers = config.decoder_layers if self.encoder_decoder else config.n_layers
        heads = getattr(config, "n_kv_heads", None) or config.n_heads
        source = bucket(max(map(len, group.contexts)))
        cached = 2 * layers * heads * config.d_head * (length + (source if self.encoder_decoder else 0)) * 4
        row = 2 * cached + 4 * config.n_heads * source * max(length, source) + 4 * answer * config.vocab_size
        affordable = self._shards * _BYTES.get(platform, 2**31) // row
        wanted = min(most, power_of_two(group.size * samples), power_of_two(affordable + 1) // 2)
        return self._divisible(max(1, wanted))

    def _divisible(self, rows: int) -> int:
        """`rows` rounded up to a multiple of the mesh's batch axes."""
        return -(-rows // self._shards) * self._shards

    def _put(self, array: np.ndarray) -> jax.Array:
        return jax.device_put(array, self._by_rows)

    def _check(self, i: int, context: Sequence[int], answer_tokens: int, answer: Sequence[int]) -> None:
        if not context or answer_tokens == 0:
            raise BadInputError(f"request {i}: the {'answer' if context else 'context'} has no token")
        if not self.fits(context, answer_tokens):
            raise BadInputError(
                f"request {i}: a context of {len(context)} tokens and an answer of {answer_tokens}; the "
                f"model has {self.config.max_length} positions"
            )
        for id_ in (min(context), max(context), *((min(answer), max(answer)) if answer else ())):
            if not 0 <= id_ < self.config.vocab_size:
                raise BadInputError(
                    f"request {i}: id {id_} is outside the vocabulary (0 to {self.config.vocab_size - 1})"
                )


def _in_order(rows: Sequence[int]) -> bool:
    """Whether rows are 0, 1, 2, ...: those of the cache in its own order."""
    return list(rows) == list(range(len(rows)))
