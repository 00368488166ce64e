"""One scatter plot as SVG, that takes its colours from the page around it."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 20, 48
FLOOR = -4  # decade of y, below which differences say nothing
DOT = 5.0
LETTER, LINE = 6.4, 14.0  # pixels of a label's characters and lines
PLACES = ((0, -10, "middle"), (9, 4, "start"), (-9, 4, "end"), (0, 19, "middle"))  # of a label around its dot
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Point:
    """A dot with its name; `series` chooses its colour."""

    x: float
    y: float
    label: str
    series: int
    title: str


def scatter(points: list[Point], x_title: str, y_title: str) -> str:
    """Both axes are logarithmic; x is above 0. What is below the lowest y, which the axis says, is drawn on it."""
    bottom, top = FLOOR, max(FLOOR + 1, *(math.ceil(math.log10(point.y)) for point in points if point.y > 0), 0)
    ticks = _ticks([point.x for point in points])
    start, end = math.log10(ticks[0]), math.log10(ticks[-1])

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(x) - start) / (end - start)

    def down(y: float) -> float:
        share = (math.log10(max(y, 10.0**bottom)) - bottom) / (top - bottom)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    dots = _dots([(across(point.x), down(point.y), point) for point in points])
    rows = {power: down(10.0**power) for power in range(bottom, top + 1)}
    lines = _grid({tick: across(tick) for tick in ticks}, rows)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{y_title} against {x_title}")}">'
    return "".join([head, *lines, *_titles(x_title, y_title), *dots, "</svg>"])


def _grid(columns: dict[float, float], rows: dict[int, float]) -> list[str]:
    """Lines and their values, by the pixel they are at."""
    parts = []
    for power, y in rows.items():
        below = "\u2264 " if power == FLOOR else ""
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{below}{10.0**power:g}</text>')
    for tick, x in columns.items():
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    return parts


def _titles(x_title: str, y_title: str) -> list[str]:
    center, middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    turned = f'transform="rotate(-90 14 {middle})"'
    return [
        f'<text class="axis" x="{center}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>',
        f'<text class="axis" x="14" y="{middle}" text-anchor="middle" {turned}>{escape(y_title)}</text>',
    ]


def _dots(placed: list[tuple[float, float, Point]]) -> list[str]:
    """Dots, and a label beside each where it hides nothing; one without room is in the dot's title only."""
    taken: list[Box] = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y, _ in placed]
    parts = []
    for number, (x, y, point) in enumerate(placed):
        title = f"<title>{escape(point.title)}</title>"
        parts.append(f'<circle class="series-{point.series}" cx="{x:.1f}" cy="{y:.1f}" r="{DOT}">{title}</circle>')
        others = taken[:number] + taken[number + 1 :]
        for right, lower, anchor in PLACES:
            box = _label_box(x + right, y + lower, point.label, anchor)
            if _inside(box) and not any(_overlap(box, other) for other in others):
                taken.append(box)
                parts.append(f'<text class="label" x="{x + right:.1f}" y="{y + lower:.1f}" text-anchor="{anchor}">')
                parts.append(f"{escape(point.label)}</text>")
                break
    return parts


def _label_box(x: float, y: float, label: str, anchor: str) -> Box:
    width = LETTER * len(label)
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return left, y - LINE + 3, left + width, y + 3


def _inside(box: Box) -> bool:
    return box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ticks(values: list[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, around all values: at least two."""
    low, high = min(values), max(values)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(number for number, tick in enumerate(every) if tick <= low)
    last = min(number for number, tick in enumerate(every) if tick > high)
    return every[first : last + 1]
