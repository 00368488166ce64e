"""The card as one page of HTML."""

from collections.abc import Iterable, Sequence
from typing import Any

from converters import page

from .card import Card, Lengths

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 48
MOST_LABELS = 40  # rows of a table; card.json has all
TITLES = {"whole": "Length of an example", "answer": "Length of the answer"}


def render(card: Card) -> str:
    """The whole page."""
    splits = list(card.examples)
    parts = [
        table(
            "Splits", ["SPLIT", "EXAMPLES", "SHA-256"], ([s, f"{card.examples[s]:,}", card.digests[s]] for s in splits)
        ),
        _labels(card, splits),
        table(
            "Sources",
            ["FILE", "SPLIT", "LINES", "REJECTED", "SHA-256"],
            (
                [one.file, one.split or "divided", f"{one.lines:,}", f"{one.rejected:,}", one.sha256]
                for one in card.sources
            ),
        ),
        table("Rejected lines", ["REASON", "LINES"], _counted(card.rejected)),
        table("Personal data", ["KIND", "FOUND"], _counted(card.personal.found)),
        table("Parameters", ["NAME", "VALUE"], ([name, _told(value)] for name, value in card.parameters.items())),
        table("Versions", ["NAME", "VERSION"], ([name, value] for name, value in card.versions.items())),
    ]
    return page.framed(
        "Data card",
        page.paragraph(f"{sum(card.examples.values()):,} examples of {card.lines:,} lines. Seed {card.seed}."),
        page.plots((TITLES[name], histogram(found)) for name, found in card.lengths.items()),
        "".join(parts),
        page.notes(notes(card)),
    )


def notes(card: Card) -> list[str]:
    """Sentences about what was done to the data."""
    double, leak, personal = card.duplicates, card.leakage, card.personal
    near = (
        f"{double.near:,} near ones (from {double.threshold:g} on)" if double.threshold else "near ones not looked for"
    )
    said = [f"Duplicates left out: {double.exact:,} exact, {near}."]
    if double.in_given:
        said.append(f"{double.in_given:,} duplicates within a given split were kept.")
    if double.same_prompt:
        said.append(f"{double.same_prompt:,} examples answer a prompt otherwise than an example before them.")
    dropped = ", ".join(f"{count:,} {kind}" for kind, count in leak.dropped.items() if count)
    said.append(f"Dropped, since a given split holds them: {dropped or 'none'}.")
    said += [f"{count:,} examples moved between splits: {why}." for why, count in leak.moved.items() if count]
    for name, found in card.lengths.items():
        figures = (
            f"shortest {found.shortest}, median {found.median:g}, 95 % up to {found.p95:g}, longest {found.longest}"
        )
        said.append(f"{TITLES[name]}, in {found.unit}: {figures}.")
    if personal.found:
        done = "redacted" if personal.redacted else "left as it is (--redact replaces it)"
        said.append(f"Personal data in {personal.examples:,} examples: {done}.")
    if card.paraphrases:
        told = ", ".join(f"{count:,} {why}" for why, count in card.paraphrases.failed.items())
        said.append(
            f"{card.paraphrases.kept:,} of {card.paraphrases.asked:,} paraphrases kept; not kept: {told or 'none'}."
        )
    return said


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Nothing where there are no rows."""
    shown = list(rows)
    return page.table(headings, shown, title) if shown else ""


def histogram(found: Lengths) -> str:
    """Columns as SVG, from 0; each says its range and count when pointed at."""
    highest = max(found.counts)
    step = (WIDTH - LEFT - RIGHT) / len(found.counts)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Histogram of lengths in {found.unit}">']
    floor = HEIGHT - BOTTOM
    for share in (0.0, 0.5, 1.0):
        y = floor - (floor - TOP) * share
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{highest * share:,.6g}</text>')
    for place, count in enumerate(found.counts):
        height = (floor - TOP) * count / highest
        x = LEFT + place * step
        title = f"<title>{found.edges[place]:g} to {found.edges[place + 1] - 1:g}: {count:,}</title>"
        parts.append(
            f'<rect class="series-0" x="{x + 1:.1f}" y="{floor - height:.1f}" width="{max(step - 2, 1):.1f}"'
            f' height="{height:.1f}">{title}</rect>'
        )
    for place in (0, len(found.counts) // 2, len(found.counts)):
        x = LEFT + place * step
        parts.append(f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{found.edges[place]:g}</text>')
    center = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{center}" y="{HEIGHT - 8}" text-anchor="middle">{found.unit}</text></svg>')
    return "".join(parts)


def _labels(card: Card, splits: list[str]) -> str:
    ranked = sorted(card.labels.items(), key=lambda item: -sum(item[1].values()))
    rows = [[label, *(f"{counts.get(split, 0):,}" for split in splits)] for label, counts in ranked[:MOST_LABELS]]
    if len(ranked) > MOST_LABELS:
        rows.append([f"and {len(ranked) - MOST_LABELS:,} more", *("" for _ in splits)])
    return table("Labels", ["LABEL", *(split.upper() for split in splits)], rows)


def _told(value: Any) -> str:
    """An option in words."""
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{name} {_told(one)}" for name, one in value.items())
        case list() | tuple():
            return ", ".join(map(_told, value))
        case float():
            return f"{value:g}"
    return str(value)


def _counted(counts: dict[str, int]) -> Iterable[list[str]]:
    return ([name, f"{count:,}"] for name, count in counts.items())
