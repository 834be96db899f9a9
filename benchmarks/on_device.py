"""One device, one command, eight minutes: what this project computes, predicts and reaches on real hardware.

    python benchmarks/on_device.py                       # on a GPU or a TPU; run it again to continue
    python benchmarks/on_device.py --smoke               # the same parts at tiny sizes, on any CPU
    python benchmarks/on_device.py --parts kernels resume
    python benchmarks/on_device.py --markdown            # and write docs/on_device.md from the results kept

Each part runs in a process of its own, with the device to itself:

    kernels         every attention variant against the readable reference, values and gradients
    train-124m      GPT-2 124M in bf16: tokens/s, MFU and peak memory, next to the estimates
    train-1.3b      the same of a 1.3B model
    torch-124m      transformers with torch.compile, same shape, batch and types (NVIDIA GPUs only)
    torch-1.3b
    resume          a run interrupted and resumed, against the same run uninterrupted, bit for bit
    dryrun-124m     `scaling dryrun --profile` of the trained step: its memory and time by the compiler
    dryrun-1.3b

Results are written to --out after every measurement, so a run that is killed loses one measurement at most. The
next run continues where it stopped, and repeats whatever another version of the code, of a library or another
device had measured. No part starts after --minutes, and a part still running then is stopped. Prints JSON.
"""

import argparse
import hashlib
import json
import math
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from on_device_page import page
from on_device_parts import MARK

from scaling.runtime.files import write_atomically

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent
_KEPT = _HERE / "on_device"  # results of devices, committed; docs/on_device.md shows them
_DOC = _ROOT / "docs" / "on_device.md"

# In the order in which they run, with the seconds that a part needs to be worth starting.
PARTS = {
    "kernels": 30,
    "train-124m": 45,
    "train-1.3b": 60,
    "torch-124m": 60,
    "torch-1.3b": 75,
    "resume": 30,
    "dryrun-124m": 30,
    "dryrun-1.3b": 30,
}
SCRIPT = _HERE / "on_device_parts.py"
_DEVICE_SECONDS = 60  # the longest that finding the device may take


def sources() -> str:
    """A digest of the code that the results depend on."""
    digest = hashlib.sha256()
    for path in sorted([*(_ROOT / "scaling").rglob("*.py"), *_HERE.glob("on_device*.py")]):
        digest.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class Results:
    """The results so far, in a file that is replaced as a unit after every measurement.

    A part is `{"status": ..., "identity": ..., "found": {NAME: measurement}}`; status is done, stopped, failed or
    skipped. Results with another identity (device, versions, code, sizes) are discarded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.document: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError):
            self.document = {}
        self.document.setdefault("benchmark", "on_device")
        self.document.setdefault("parts", {})

    def start(self, part: str, identity: str) -> dict[str, Any]:
        """The measurements of a part that still count."""
        kept = self.document["parts"].get(part, {})
        found = kept.get("found", {}) if kept.get("identity") == identity else {}
        self.document["parts"][part] = {"status": "stopped", "identity": identity, "found": found}
        return dict(found)

    def add(self, part: str, measurements: Mapping[str, Any]) -> None:
        """Keep measurements of a part."""
        self.document["parts"][part]["found"] |= measurements
        self.save()

    def end(self, part: str, status: str, why: str | None = None) -> None:
        """Record how a part ended."""
        self.document["parts"][part] |= {"status": status, "why": why}
        self.save()

    def done(self, part: str, identity: str) -> bool:
        """Whether a part is complete. One that failed or was skipped is tried again."""
        kept = self.document["parts"].get(part, {})
        return kept.get("status") == "done" and kept.get("identity") == identity

    def save(self) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, (json.dumps(self.document, indent=1) + "\n").encode())


class Worker:
    """A part in a process of its own, which ends with this one: it watches its standard input."""

    def __init__(self, part: str, given: Mapping[str, Any], smoke: bool, peer_device: str) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        }
        command = [sys.executable, str(SCRIPT), part, "--peer-device", peer_device]
        self._process = subprocess.Popen(
            command + ["--smoke"] * smoke,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def reports(self, deadline: float) -> Iterator[dict[str, Any]]:
        """What the worker reports until it ends; it is killed if the caller stops listening.

        Raises:
            TimeoutError: it was still running at the deadline.
            RuntimeError: it failed.
        """
        try:
            while (line := self._lines.get(timeout=_left(deadline))) is not None:
                if line.startswith(MARK):
                    yield json.loads(line.removeprefix(MARK))
            self._process.wait()
        except queue.Empty:
            raise TimeoutError from None
        finally:
            self._process.kill()
            self._process.wait()
        if self._process.returncode:
            raise RuntimeError(f"exit code {self._process.returncode}; the error is above")


def _left(deadline: float) -> float | None:
    """Seconds until a deadline, at least 0; None for ever."""
    return None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())


def identify(smoke: bool, peer_device: str) -> dict[str, Any]:
    """The device, and versions of what the results depend on."""
    device: dict[str, Any] = {}
    worker = Worker("device", {}, smoke, peer_device)
    for report in worker.reports(time.monotonic() + _DEVICE_SECONDS):
        device |= report
    return device


def measure(
    results: Results,
    parts: Iterable[str],
    deadline: float,
    device: Mapping[str, Any],
    smoke: bool = False,
    peer_device: str = "cuda",
) -> None:
    """Run the parts that are not done until the deadline."""
    results.document |= {"device": device, "smoke": smoke}
    results.save()
    depends = json.dumps([device, smoke, peer_device, sources()], sort_keys=True)
    identity = hashlib.sha256(depends.encode()).hexdigest()[:16]
    for part in parts:
        if results.done(part, identity):
            log(f"{part}: done before")
            continue
        left = deadline - time.monotonic()
        found = results.start(part, identity)
        if left < (1 if smoke else PARTS[part]):
            results.end(part, "stopped", "no time was left")
            log(f"{part}: not started, {max(0.0, left):.0f} s left; run again to continue")
            continue
        log(f"{part}: {left:.0f} s left")
        status, why = "done", None
        try:
            for report in Worker(part, {"found": found, "device": device}, smoke, peer_device).reports(
                deadline
            ):
                if "skipped" in report:
                    status, why = "skipped", report["skipped"]
                    log(f"{part}: skipped, {why}")
                else:
                    results.add(part, report)
        except TimeoutError:
            status, why = "stopped", "the time ran out"
            log(f"{part}: stopped, the time ran out; run again to continue")
        except RuntimeError as error:
            status, why = "failed", str(error)
            log(f"{part}: {why}")
        results.end(part, status, why)


def log(text: str) -> None:
    """A line to the user."""
    print(text, file=sys.stderr, flush=True)


def kept_documents() -> list[dict[str, Any]]:
    """The results of devices that are kept with the project."""
    return [json.loads(path.read_bytes()) for path in sorted(_KEPT.glob("*.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these")
    parser.add_argument("--minutes", type=float, default=8.0, help="no part starts, or runs, after this")
    parser.add_argument("--out", type=Path, help="results; default: benchmarks/on_device/DEVICE.json")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument(
        "--peer-device",
        choices=["cuda", "cpu"],
        default="cuda",
        help="where transformers trains; without CUDA it is skipped",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="write docs/on_device.md from the results kept"
    )
    arguments = parser.parse_args()
    deadline = time.monotonic() + 60 * arguments.minutes
    device = identify(arguments.smoke, arguments.peer_device)
    if device["platform"] == "cpu" and not arguments.smoke:
        sys.exit("no GPU and no TPU here; --smoke runs every part at tiny sizes on the CPU")
    named = "-".join(re.findall(r"[a-z0-9]+", device["kind"].lower()))
    results = Results(
        arguments.out or (Path("on_device-smoke.json") if arguments.smoke else _KEPT / f"{named}.json")
    )
    measure(results, arguments.parts, deadline, device, arguments.smoke, arguments.peer_device)
    if arguments.markdown:
        _DOC.write_text(page(kept_documents()))
    print(json.dumps(results.document, indent=1))


if __name__ == "__main__":
    main()
