"""The tables of docs/speed.md, made of what ``benchmarks/speed.py`` has stored: ``python benchmarks/speed_tables.py``."""

from __future__ import annotations

import csv
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
BEGIN, END = "<!-- tables: benchmarks/speed_tables.py -->", "<!-- end of tables -->"
NOISY = 0.25  # of a median: ratios whose middle half is wider say little
NAMES = {
    "bspline": "B-spline", "chebyshev1": "Chebyshev", "fourier": "Fourier", "grbf": "Gaussian", "wavelet": "wavelet",
    "rational": "rational",
}  # fmt: skip
HOSTS = ("deepmd", "torchani", "schnetpack", "chgnet")


def stored(part: str) -> tuple[str, list[dict[str, str]]]:
    """The machine's line and the rows of one part; nothing where it was never run."""
    path = HERE / "results" / f"speed-{part}.csv"
    if not path.is_file():
        return "", []
    with path.open() as handle:
        machine = handle.readline().removeprefix("#").strip()
        return machine, list(csv.DictReader(handle))


def basis_of(row: dict[str, str]) -> str:
    return row["spec"].split(":")[1].split(",")[0]


def cell(row: dict[str, str] | None) -> str:
    """Median ratio; a question mark where the machine was too noisy to tell."""
    if row is None:
        return "-"
    ratio, low, high = (float(row[key]) for key in ("ratio", "low", "high"))
    return f"{ratio:.2f}" + ("?" if high - low > NOISY * ratio else "")


def find(rows: list[dict[str, str]], basis: str, **wanted: str) -> dict[str, str] | None:
    share = wanted.pop("share", None)
    for row in rows:
        if basis_of(row) == basis and all(row[k] == v for k, v in wanted.items()) and (share is None or f"share={share}" in row["spec"]):
            return row
    return None


def markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)])


def shares(rows: list[dict[str, str]], lead: list[str], keys: list[str]) -> str:
    """One line for each set of ``keys``, one column for each basis: share=layer / share=neuron."""
    bases = [b for b in NAMES if any(basis_of(r) == b for r in rows)]
    lines = []
    for values in dict.fromkeys(tuple(r[k] for k in keys) for r in rows):
        wanted = dict(zip(keys, values, strict=True))
        both = [[find(rows, b, share=s, **wanted) for s in ("layer", "neuron")] for b in bases]
        lines.append([*values, *(" / ".join(cell(r) for r in pair if r) for pair in both)])
    return markdown([*lead, *(NAMES[b] for b in bases)], lines)


def sections() -> list[str]:
    """Heading, machine and table of every part that has been run."""
    out = []
    machine, rows = stored("mlp")
    if rows:
        lead = ["base", "dtype", "threads"]
        text = f"**MLP 3x25, force-loss step**, 10,000 rows ({rows[0]['pairs']} pairs; {machine})"
        out += [text, shares(rows, lead, lead)]
    for host, (machine, rows) in ((h, stored(h)) for h in HOSTS):
        if rows:
            text = f"**{host}, training step** ({rows[0]['base']}, {rows[0]['dtype']}; {rows[0]['pairs']} pairs; {machine})"
            out += [text, shares(rows, ["threads"], ["threads"])]
    machine, rows = stored("activation")
    if rows:
        sizes = list(dict.fromkeys(r["size"] for r in rows))
        kinds = list(dict.fromkeys((r["base"], r["dtype"], basis_of(r)) for r in rows))
        lines = [[b, d, NAMES[n], *(cell(find(rows, n, base=b, dtype=d, size=s)) for s in sizes)] for b, d, n in kinds]
        head = ["base", "dtype", "basis", *(f"{int(s):.0e}".replace("e+0", "e") for s in sizes)]
        out += [f"**The activation alone** by number of elements, one thread ({rows[0]['pairs']} pairs; {machine})", markdown(head, lines)]
    titles = {"lammps": "DeePMD water in LAMMPS, time per step, frozen", "memory": "Peak memory of a step, beyond what is there before"}
    for part, title in titles.items():
        machine, rows = stored(part)
        if rows:
            kinds = list(dict.fromkeys((r["part"].removeprefix(part + " "), r["base"]) for r in rows))
            bases = list(dict.fromkeys(basis_of(r) for r in rows))
            lines = [[k, b, *(cell(find(rows, n, part=f"{part} {k}", base=b)) for n in bases)] for k, b in kinds]
            out += [f"**{title}** ({rows[0]['pairs']} pairs; {machine})", markdown(["", "base", *(NAMES[b] for b in bases)], lines)]
    return out


def missed(limit: float = 1.15) -> list[str]:
    """Lines of the MLP table above the limit, worst first."""
    _, rows = stored("mlp")
    over = sorted((r for r in rows if float(r["ratio"]) > limit), key=lambda r: -float(r["ratio"]))
    return [f"{r['spec']} {r['base']} {r['dtype']} {r['threads']}: {cell(r)}" for r in over]


def main() -> None:
    """Replace the tables between the two marks of the page."""
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n\n" + "\n\n".join(sections()) + "\n\n" + END + rest.split(END)[1])
    print("\n".join(["above 1.15 in the MLP step:", *missed()]))


if __name__ == "__main__":
    main()
