"""Benchmarks from the files that their authors publish: one adapter a format, named in one registry.

None is bundled. A suite is `KIND:PATH`, as `hellaswag:hellaswag_val.jsonl`.
"""

from collections.abc import Callable

from scaling.evals.adapters.arc import arc
from scaling.evals.adapters.bigbench import bigbench
from scaling.evals.adapters.glue import glue
from scaling.evals.adapters.hellaswag import hellaswag
from scaling.evals.adapters.lambada import lambada
from scaling.evals.adapters.mmlu import mmlu
from scaling.evals.adapters.squad import squad
from scaling.evals.items import Source

ADAPTERS: dict[str, Callable[[str], tuple[Source, ...]]] = {
    "arc": arc,
    "bigbench": bigbench,
    "glue": glue,
    "hellaswag": hellaswag,
    "lambada": lambada,
    "mmlu": mmlu,
    "squad": squad,
}
