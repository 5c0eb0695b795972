"""The chart of CPU-seconds per GB, as SVG written by hand."""

import math
from xml.sax.saxutils import escape

WIDTH, LABELS_WIDTH, NUMBERS_WIDTH, MARGIN = 760, 170, 150, 24
BAR_HEIGHT, BAR_STEP, GROUP_HEAD = 18, 26, 40
TITLE_HEIGHT, AXIS_HEIGHT = 52, 40
INK, FAINT, GRID, OURS, OTHERS = "#1f2328", "#59636e", "#e4e8ec", "#0b6e4f", "#a9b4c0"
TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]
GROUPS = {"ndjson": "to NDJSON", "parquet": "to Parquet (zstd)"}


def text(x, y, content, size=13, fill=INK, anchor="start", weight="400"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def scale(values):
    """Logarithmic: between the fastest and the slowest tool lies a factor of fifty."""
    least = max((tick for tick in TICKS if tick < min(values)), default=TICKS[0]) / 2
    most = next((tick for tick in TICKS if tick >= max(values)), TICKS[-1])
    left, width = MARGIN + LABELS_WIDTH, WIDTH - 2 * MARGIN - LABELS_WIDTH - NUMBERS_WIDTH
    ticks = [tick for tick in TICKS if least <= tick <= most]
    return ticks, lambda value: left + width * math.log(max(value, least) / least) / math.log(most / least)


def bar(name, value, is_ours, is_wrong, y, position):
    left = MARGIN + LABELS_WIDTH
    weight = "600" if is_ours else "400"
    number = f"{value:.2g}" if value < 10 else f"{value:.0f}"
    middle = y + BAR_HEIGHT / 2 + 4.5
    return [
        text(left - 10, middle, name, anchor="end", weight=weight),
        f'<rect x="{left}" y="{y}" width="{position(value) - left:.1f}" height="{BAR_HEIGHT}" rx="2" '
        f'fill="{OURS if is_ours else OTHERS}"/>',
        text(position(value) + 7, middle, f"{number}, damages events" if is_wrong else number, weight=weight),
    ]


def chart(bars):
    """`bars` are (group, name, CPU-seconds per GB, is ours, is wrong), in any order."""
    ticks, position = scale([one[2] for one in bars])
    body, y = [], TITLE_HEIGHT
    for group, heading in GROUPS.items():
        body.append(text(MARGIN, y + 22, heading, size=14, weight="600"))
        y += GROUP_HEAD - 8
        for _, *of_bar in sorted((one for one in bars if one[0] == group), key=lambda one: one[2]):
            body += bar(*of_bar, y, position)
            y += BAR_STEP
        y += 8
    grid = [f'<line x1="{position(tick):.1f}" x2="{position(tick):.1f}" y1="{TITLE_HEIGHT}" y2="{y}" stroke="{GRID}"/>'
            for tick in ticks]
    labels = [text(position(tick), y + 18, f"{tick:g}", size=12, fill=FAINT, anchor="middle") for tick in ticks]
    title = [text(MARGIN, 32, "CPU-seconds per GB of backup, from files to files", size=16, weight="600"),
             text(WIDTH - MARGIN, 32, "less is better; logarithmic", size=12, fill=FAINT, anchor="end")]
    height = y + AXIS_HEIGHT
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, -apple-system, \'Segoe UI\', Helvetica, Arial, sans-serif" role="img">',
        "<title>CPU-seconds per GB of backup for each tool</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        *grid, *title, *body, *labels, "</svg>",
    ]) + "\n"
