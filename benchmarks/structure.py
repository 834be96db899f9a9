"""How much code there is to read, here and in another checkout of the project, as a table.

    python benchmarks/structure.py [--against CHECKOUT]

Files and lines are those of `scaling/`. "Run by a forward pass" counts the files of `scaling/models` with a function that
runs while the forward pass of a small GPT-2 is traced on a CPU: what someone who steps through a decoder meets. Cycles are groups of
modules that import each other, at any depth and at any time.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

TRACE = """
import json, sys
import jax, jax.numpy as jnp
from scaling.config.model import DecoderConfig
from scaling.models.build import new_model

config = DecoderConfig(vocab_size=64, max_length=16, n_layers=2, d_model=16, n_heads=2)
model = jax.eval_shape(lambda key: new_model(config, key), jax.random.key(0))
tokens = jax.ShapeDtypeStruct((2, 16), jnp.int32)
files = set()

def profile(frame, event, _):
    if event == "call" and "scaling/models" in frame.f_code.co_filename and frame.f_code.co_name != "<module>":
        files.add(frame.f_code.co_filename)

sys.setprofile(profile)
jax.eval_shape(lambda model, tokens: model.terms({"inputs": tokens, "targets": tokens}), model, tokens)
sys.setprofile(None)
print(json.dumps(sorted(file.split("scaling/models/")[1] for file in files)))
"""


def graph(root: Path) -> dict[str, set[str]]:
    """Modules of `scaling`, and the modules that each imports anywhere in its file."""
    known = {}
    for path in (root / "scaling").rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        known[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports = {}
    for name, path in known.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                full = [f"{node.module}.{one.name}" for one in node.names]
                found |= {one if one in known else node.module for one in full}
        imports[name] = {one for one in found if one in known and one != name}
    return imports


def cycles(imports: dict[str, set[str]]) -> int:
    """How many modules can reach themselves."""

    def reaches(start: str) -> bool:
        seen, waiting = set(), [start]
        while waiting:
            for one in imports[waiting.pop()]:
                if one == start:
                    return True
                if one not in seen:
                    seen.add(one)
                    waiting.append(one)
        return False

    return sum(reaches(one) for one in imports)


def same_names(root: Path) -> int:
    """Names that several top-level classes share."""
    names = [
        node.name
        for path in (root / "scaling").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    return sum(names.count(name) > 1 for name in set(names))


def forward_files(root: Path) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", TRACE], env=environment, cwd=root, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def measured(root: Path) -> dict[str, object]:
    lines = sorted(len(path.read_text().splitlines()) for path in (root / "scaling").rglob("*.py"))
    files = forward_files(root)
    return {
        "files": len(lines),
        "lines": sum(lines),
        "median lines of a file": int(statistics.median(lines)),
        "lines of the largest file": lines[-1],
        "class names used twice": same_names(root),
        "modules in import cycles": cycles(graph(root)),
        "files run by a decoder's forward pass": len(files),
        "words of README": len((root / "README.md").read_text().split()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout of the project")
    against = parser.parse_args().against
    columns = {"here": measured(HERE)} | ({"against": measured(against.resolve())} if against else {})
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for row in columns["here"]:
        print(f"| {row} | " + " | ".join(f"{column[row]:,}" for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
