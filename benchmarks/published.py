"""Figures that papers print against the estimator's own, each difference with its reason.

    python benchmarks/published.py                  # JSON, in a second
    python benchmarks/published.py --markdown       # and write docs/published.md

The papers' figures stand in benchmarks/published.yaml as printed, so that the last digit says how much of a
difference is rounding. Of any other difference that file must give the reason: a bare one is refused here.
"""

import argparse
import dataclasses
import datetime
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from scaling.config.devices import parse_devices, run_for
from scaling.config.load import load_model, read_yaml
from scaling.config.model import DecoderConfig
from scaling.estimate import conventions
from scaling.estimate.counts import count_parameters, train_flops_per_token
from scaling.estimate.estimate import OnDevices, on_devices, train_part
from scaling.estimate.price import Cost, cost

_DOC = Path(__file__).resolve().parents[1] / "docs" / "published.md"
PRINTED: dict[str, Any] = read_yaml(Path(__file__).with_suffix(".yaml"))
_SCALE = {"": 1.0, "M": 1e6, "B": 1e9}


def printed_value(text: str) -> tuple[float, float]:
    """The value of a printed figure and half a unit of its last digit; closing zeros may be padding."""
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?(?:e(\d+))?([MB]?)", text)
    assert match, text
    whole, decimals, exponent, suffix = match.groups()
    scale = _SCALE[suffix] * 10.0 ** int(exponent or 0)
    unit = 10.0 ** (-len(decimals) if decimals else len(whole) - len(whole.rstrip("0")))
    return float(f"{whole}.{decimals or 0}") * scale, unit / 2 * scale


def shown(value: float, printed: str) -> str:
    """A value in the unit of a printed figure, with a digit or two more."""
    suffix = printed[-1] if printed[-1] in "MB" else ""
    scaled = value / _SCALE[suffix]
    if "e" in printed:
        return f"{scaled:.3e}".replace("e+", "e")
    digits = 3 if scaled < 10 else 2 if suffix else 1 if scaled < 1e4 else 0
    return f"{scaled:,.{digits}f}{suffix}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One printed figure beside ours; `explained` is ours under the assumption that `reason` names."""

    model: str
    figure: str
    printed: str
    ours: float
    reason: str = ""
    explained: float | None = None

    def __post_init__(self) -> None:
        if not (self.rounds or self.reason):
            raise SystemExit(f"{self.model}, {self.figure}: {self.printed} beside {self.ours:g}: say why")

    @property
    def paper(self) -> float:
        return printed_value(self.printed)[0]

    @property
    def difference(self) -> float:
        return self.ours / self.paper - 1

    def _as_printed(self, value: float) -> bool:
        paper, half = printed_value(self.printed)
        return abs(value - paper) <= half * (1 + 1e-9)

    @property
    def rounds(self) -> bool:
        """Whether ours, rounded as the paper rounds, is what it prints."""
        return self._as_printed(self.ours)

    @property
    def cut(self) -> bool:
        """Whether it is where the digits that follow are cut off."""
        paper, half = printed_value(self.printed)
        return 0 <= self.ours - paper < 2 * half

    @property
    def explained_as_printed(self) -> bool:
        """Whether the assumption that is named gives what the paper prints."""
        return self.explained is not None and self._as_printed(self.explained)

    @property
    def why(self) -> str:
        """The reason of the difference, in a clause."""
        clauses = ["rounded" if self.rounds else "cut off, not rounded" if self.cut else ""]
        if self.explained is None:
            clauses.append(self.reason)
        else:
            clauses.append(f"{shown(self.explained, self.printed)} {self.reason}")
        return "; ".join(clause for clause in clauses if clause)

    def as_dict(self) -> dict[str, Any]:
        added = ("paper", "difference", "rounds", "why")
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in added}


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of one part of the file of printed figures."""

    key: str
    rows: list[Row]
    note: str

    @property
    def title(self) -> str:
        return PRINTED[self.key]["title"]

    @property
    def source(self) -> str:
        return PRINTED[self.key]["source"]


def table(key: str, rows: list[Row], note: str | None = None) -> Table:
    return Table(key, rows, PRINTED[key].get("note", "") if note is None else note)


def count(model: str, overrides: list[str] | None = None) -> int:
    return count_parameters(load_model(model, overrides or [])).total


def chinchilla(name: str) -> DecoderConfig:
    model = load_model(name)
    assert isinstance(model, DecoderConfig)
    return model


def size_row(size: dict[str, Any]) -> Row:
    """A row of parameters."""
    model, overrides = size["model"], size.get("overrides", [])
    reason, explained = size.get("why", ""), None
    if "as" in size:
        explained = float(count(model, [*overrides, *size["as"]]))
    elif "as_model" in size:
        explained = float(count(size["as_model"]))
    if size.get("parts"):
        parts = count_parameters(load_model(model)).by_component
        heads = {"pooler": "pooler", "sentence_head": "sentence head", "mlm_head": "MLM transform and bias"}
        reason = "of it " + ", ".join(f"{word} {parts[key]:,}" for key, word in heads.items())
    label = ", ".join([model, *overrides])
    return Row(label, "parameters", size["printed"], count(model, overrides), reason, explained)


def sizes(key: str) -> Table:
    part = PRINTED[key]
    shared = {name: part[name] for name in ("as", "why") if name in part}
    return table(key, [size_row(shared | size) for size in part["sizes"]])


def table_d1() -> Table:
    part, rows = PRINTED["gpt3_table_d1"], []
    for line in part["rows"]:
        model, params, tokens = line["model"], line["params"], printed_value(line["tokens"])[0]
        rows.append(size_row({"model": model, "printed": params} | part["sizes"].get(model, {})))
        flops = conventions.brown_table_d1(printed_value(params)[0], tokens, line["active"])
        rows.append(Row(model, "FLOPs", line["flops"], flops))
        rows.append(Row(model, "PF-days", line["pf_days"], conventions.pf_days(flops)))
    return table("gpt3_table_d1", rows)


def table_a9() -> Table:
    rows = []
    for millions in PRINTED["chinchilla_table_a9"]["millions"]:
        model = chinchilla(f"chinchilla-{millions}m")
        theirs = float(conventions.hoffmann_parameters(model))
        ours = count_parameters(model).total
        rows.append(
            Row(model.name, "parameters", f"{millions}M", ours, "with its positions and biases", theirs)
        )
    return table("chinchilla_table_a9", rows)


def ratio_a4(name: str, *, vocabulary: bool = False, params: float | None = None) -> float:
    """FLOPs of appendix F over 6ND, with or without its terms of embedding and logits."""
    model, length = chinchilla(name), 2048
    flops = conventions.hoffmann_appendix_f(model, length)
    chosen = flops.train if vocabulary else flops.train_layers
    return chosen / length / (6 * (params or conventions.hoffmann_parameters(model)))


def table_a4() -> Table:
    rows = []
    for line in PRINTED["chinchilla_table_a4"]["rows"]:
        name = line["model"]
        exact = conventions.hoffmann_parameters(chinchilla(name)) / 1e6
        whole = ratio_a4(name, vocabulary=True)
        reason = f"N {exact:,.1f}M (A4 prints {line['params']}); {whole:.2f} with embedding and logits"
        rows.append(Row(name, "FLOPs / 6ND", line["ratio"], ratio_a4(name), reason))
    return table("chinchilla_table_a4", rows)


def transformer_flops() -> Table:
    rows = []
    for line in PRINTED["transformer_table_2"]["rows"]:
        capacity = conventions.vaswani_table_2(line["hours"])
        work = train_flops_per_token(load_model(line["model"]), 32) * 25e3 * line["steps"]
        reason = f"matmul by matmul {shown(work, line['flops'])}, {work / capacity:.0%} of it"
        rows.append(Row(line["model"], "FLOPs", line["flops"], capacity, reason))
    return table("transformer_table_2", rows)


def t5_tokens() -> float:
    """Tokens that T5-11B's whole run reads: those of the source."""
    part = PRINTED["t5_11b_run"]
    return float(part["steps"] * part["sequences"] * part["length"])


def t5_run() -> OnDevices:
    """The estimate of that run: a million steps on half a pod of TPU v3."""
    part = PRINTED["t5_11b_run"]
    devices = parse_devices(part["devices"])
    changes = [
        f"train.batch_tokens={part['sequences'] * part['length']}",
        f"data.sequence_length={part['length']}",
        "train.optimizer=adafactor",
    ]
    run = run_for("t5-11b", devices, None, changes)
    return on_devices(run, devices, t5_tokens(), target_length=part["target_length"])


def t5_flops() -> float:
    part = PRINTED["t5_11b_run"]
    return float(
        train_part(load_model("t5-11b"), t5_tokens(), part["length"], part["target_length"])["flops"]
    )


def t5_cost_at(mfu: float, flops: float | None = None) -> Cost:
    """List price of T5-11B's run (or of so many FLOPs) where the devices hold this share of their peak."""
    devices = parse_devices(PRINTED["t5_11b_run"]["devices"])
    peak = devices.hardware.peak_flops["bfloat16"] * devices.chips
    return cost(devices, (flops or t5_flops()) / (mfu * peak) / 3600, t5_run().time.spread)


def t5_mfu_at(usd: float, flops: float | None = None) -> float:
    """The MFU at which the run costs this much."""
    at_peak = t5_cost_at(1.0, flops).usd
    assert at_peak is not None
    return at_peak / usd


def t5_cost() -> Table:
    part, found = PRINTED["t5_11b_run"], t5_run()
    bill, devices = found.cost, parse_devices(part["devices"])
    assert (
        bill is not None and bill.usd is not None and bill.usd_low is not None and bill.usd_high is not None
    )
    hours = bill.device_hours / devices.hardware.devices_per_chip
    price, paper, google = bill.usd / hours, printed_value(part["usd"])[0], int(part["chip_hours"])
    both_sides = t5_tokens() * (1 + part["target_length"] / part["length"])
    mfu, everything = t5_mfu_at(paper), 6.0 * count("t5-11b") * both_sides
    interval = f"interval {shown(bill.usd_low, '1M')} to {shown(bill.usd_high, '1M')}"
    rows = [
        Row("t5-11b", "chip-hours", part["chip_hours"], hours, "one run's efficiency against a typical one"),
        Row("t5-11b", "USD", part["usd"], bill.usd, f"{interval}; 1.3M is reached at an MFU of {mfu:.0%}"),
    ]
    mesh = ", ".join(f"{axis} {size}" for axis, size in found.layout.mesh.items() if size > 1)
    note = f"""\
        Ours assumes {part["steps"]:,} steps of {part["sequences"]:,} sequences, {part["length"]} tokens in and
        {part["target_length"]} out: {t5_tokens():.3g} tokens of the source, {t5_flops():.3g} model FLOPs (Table
        D.1 counts no attention scores and half of the parameters per token, 3.30e22); {devices.chips} chips of
        TPU v3 at {price:.2f} USD per chip-hour (Google Cloud's on-demand list, {bill.price_date}); layers
        rematerialised, Adafactor, bfloat16, the mesh {mesh}. That runs at an MFU of {found.time.mfu:.0%}. Google's
        own account of the run is within {abs(hours / google - 1):.0%} of our hours and costs {google * price:,.0f}
        USD at the same price, inside our interval; 1.3M USD is outside it. The sentence that states 1.3M names
        list prices and no hours: at this price it is {paper / price:,.0f} chip-hours,
        {paper / price / 24 / 1024:.0f} days of a complete pod of 1,024 chips. The assumption that gives that figure
        is a low utilisation: {mfu:.0%} of peak by our FLOPs, or {t5_mfu_at(paper, everything):.0%} if the run is
        taken as 6ND, with every parameter active for every token of both sides ({everything:.3g} FLOPs)."""
    return table("t5_11b_run", rows, " ".join(note.split()).replace("e+", "e"))


def llama_memory() -> Table:
    part = PRINTED["llama_65b_memory"]
    devices = parse_devices("a100-80gb:1")
    run = run_for(part["model"], devices, None, ["model.param_dtype=bfloat16"])
    found = on_devices(run, devices, None).memory
    held = found.params + found.gradients + found.optimizer
    row = Row(part["model"], "GB", part["gb"], held / 1e9, "as 12 bytes for 65 billion", 12 * 65.0)
    note = f"""\
        `scaling estimate llama-65b --on a100-80gb:1 model.param_dtype=bfloat16`: what one device would hold
        if nothing were sharded. Weights {found.params / 1e9:.1f} GB, 2 bytes each in bfloat16; gradients
        {found.gradients / 1e9:.1f} GB, 2 bytes each, but 4 for the embedding and the head, whose gradients accumulate
        in float32; AdamW's two moments {found.optimizer / 1e9:.1f} GB, 8 bytes each in float32; no float32 master
        copy. The rest of the difference is {count(part["model"]) / 1e9:.2f} billion parameters rounded to 65.
        Activations are left out: {found.activations / 1e9:.1f} GB for one sequence of 2,048 tokens with layers
        rematerialised."""
    return table("llama_65b_memory", [row], " ".join(note.split()))


def tables() -> list[Table]:
    """All of them, in the order of the document."""
    return [
        sizes("transformer"),
        transformer_flops(),
        sizes("gpt1"),
        sizes("bert"),
        sizes("gpt2"),
        sizes("t5"),
        sizes("gpt3_table_2_1"),
        table_d1(),
        table_a4(),
        table_a9(),
        t5_cost(),
        llama_memory(),
    ]


def markdown(found: list[Table]) -> str:
    """docs/published.md."""
    rows = [row for one in found for row in one.rows]
    rounding = sum(row.rounds for row in rows)
    head = f"""\
        {len(rows)} figures as papers print them, next to ours from the code that `scaling estimate` runs, and the
        reason for each difference. {rounding} of ours round to the printed figure ("rounded"). If the reason starts
        with a second figure, that is ours under the assumption that follows, and it rounds to the printed one."""
    lines = [
        "# Published figures against ours",
        "",
        "For a reader who compares a count or a cost from here with one from a paper.",
        "",
        "```",
        "python benchmarks/published.py --markdown",
        "```",
        "",
        f"Computed on {datetime.date.today().isoformat()}.",
        "",
        textwrap.fill(" ".join(head.split()), 110),
    ]
    for one in found:
        lines += ["", f"## {one.title}", "", textwrap.fill(f"{one.source}.", 110)]
        lines += ["", textwrap.fill(one.note, 110, break_on_hyphens=False)] if one.note else []
        lines += ["", "| model | figure | paper | ours | difference | why |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {row.model} | {row.figure} | {row.printed} | {shown(row.ours, row.printed)} "
            f"| {row.difference:+.2%} | {row.why} |"
            for row in one.rows
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help=f"write docs/{_DOC.name}")
    arguments = parser.parse_args()
    found = tables()
    if arguments.markdown:
        _DOC.write_text(markdown(found), encoding="utf-8")
    documents = [
        {"title": one.title, "source": one.source, "rows": [row.as_dict() for row in one.rows]}
        for one in found
    ]
    print(json.dumps({"benchmark": "published", "tables": documents}, indent=2))


if __name__ == "__main__":
    main()
