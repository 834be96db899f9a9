"""Few-shot multiple choice: shared prompts read once, against every choice with its whole prompt, in one run.

    python benchmarks/evaluate.py

prints one JSON document: seconds of both sides for the same requests (8 examples, 4 choices), the ratio
(median over rounds, A B A B), and the largest difference of a log-probability. Both sides are compiled, run
the same model in the same batches, and were run once before they are timed. The first side is the engine's
own scoring; the second gives `scaling.models.score` each choice's whole text.
"""

import argparse
import json
import statistics
import time

import jax
import numpy as np

from scaling.config.load import validate
from scaling.config.model import DecoderConfig
from scaling.evals.inference import InferenceEngine, Request
from scaling.models.build import new_model
from scaling.models.score import score


def requests_of(items: int, shots: int, choices: int, question: int, answer: int) -> list[Request]:
    """Random ids: `shots` solved questions that all items share, a question an item, `choices` answers."""
    rng = np.random.default_rng(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, 256, count).tolist())

    shared = (256, *ids(shots * (question + answer)))
    requests = []
    for _ in range(items):
        context = shared + ids(question)
        requests += [Request(context, ids(answer), len(shared)) for _ in range(choices)]
    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--choices", type=int, default=4)
    parser.add_argument("--question", type=int, default=40, help="tokens of a question")
    parser.add_argument("--answer", type=int, default=8, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    requests = requests_of(args.items, args.shots, args.choices, args.question, args.answer)
    length = max(len(r.context) + len(r.answer) for r in requests)
    fields = {"vocab_size": 257, "max_length": 1 << length.bit_length(), "n_layers": 4}
    config = validate(DecoderConfig, fields | {"d_model": 128, "n_heads": 4, "init_std": 0.1})
    model = new_model(config, jax.random.key(0))
    engine = InferenceEngine(model, start=256, rows=64)
    texts = [r.context + r.answer for r in requests]

    def cached() -> list[np.ndarray]:
        # Nothing is kept from the round before: the prefix is read again.
        engine.forget()
        return [np.array(scored.log_probs) for scored in engine.score(requests)]

    def plain() -> list[np.ndarray]:
        rows: list[np.ndarray] = []
        for first in range(0, len(texts), 64):
            some = score(model, texts[first : first + 64]).log_probs
            rows += [np.array(row[-args.answer :]) for row in some]
        return rows

    difference = max(float(np.abs(a - b).max()) for a, b in zip(cached(), plain(), strict=True))
    seconds: dict[str, list[float]] = {"cached": [], "plain": []}
    for _ in range(args.rounds):
        for name, run in (("cached", cached), ("plain", plain)):
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    ratios = [b / a for a, b in zip(seconds["cached"], seconds["plain"], strict=True)]
    print(
        json.dumps(
            {
                "requests": len(requests),
                "shots": args.shots,
                "choices": args.choices,
                "tokens_of_a_text": length,
                "seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
                "largest_difference": difference,
                "device": jax.devices()[0].device_kind,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
