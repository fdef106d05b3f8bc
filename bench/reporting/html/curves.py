"""Training curves of one cell as a small inline SVG: loss (log) and DSC by epoch."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 320, 170, 40, 26, 20, 8
MOST_POINTS = 100


def curves_svg(history: pd.DataFrame) -> Markup:
    """Two panels side by side; empty for a history without an epoch."""
    if not len(history):
        return Markup("")
    epochs = history["epoch"].to_numpy(dtype=float)
    loss = history["loss"].to_numpy(dtype=float)
    panels = [_panel("training loss (log)", epochs, [("loss", loss)], _log_ticks)]
    scores = [
        (name.removesuffix("_dsc"), 100 * history[name].to_numpy(dtype=float))
        for name in ("val_dsc", "test_dsc")
        if name in history and history[name].notna().any()
    ]
    if scores:
        title = f"DSC % ({' and '.join(name for name, _ in scores)})"
        panels.append(_panel(title, epochs, scores, _linear_ticks))
    return Markup("").join(panels)


Series = list[tuple[str, np.ndarray]]
Ticks = Callable[[float, float], tuple[list[float], Callable[[float], float]]]


def _panel(title: str, epochs: np.ndarray, series: Series, scale: Ticks) -> Markup:
    known = np.concatenate([values[np.isfinite(values)] for _, values in series])
    if scale is _log_ticks:
        known = known[known > 0]
    if not len(known):
        return Markup("")
    ticks, place = scale(float(known.min()), float(known.max()))
    low, high = place(ticks[0]), place(ticks[-1])
    first, last = float(epochs.min()), float(epochs.max())

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - first) / (last - first or 1))

    def y(value: float) -> float:
        share = (place(value) - low) / (high - low or 1)
        return ABOVE + (HEIGHT - ABOVE - BELOW) * (1 - share)

    parts = [Markup('<text class="t" x="{}" y="12">{}</text>').format(LEFT, title)]
    for tick in ticks:
        at = f"{y(tick):.0f}"
        parts.append(Markup(f'<path class="g" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>'))
        parts.append(Markup(f'<text class="y" x="{LEFT - 4}" y="{at}">{tick:g}</text>'))
    for epoch in dict.fromkeys((first, last)):
        parts.append(
            Markup(f'<text class="x" x="{x(epoch):.0f}" y="{HEIGHT - 10}">{epoch:g}</text>')
        )
    for name, values in series:
        good = np.isfinite(values) & ((values > 0) | (scale is not _log_ticks))
        parts.append(_line(name, [(x(e), y(v)) for e, v in _thinned(epochs[good], values[good])]))
    label = escape(f"{title}, epochs {first:g} to {last:g}")
    box = f'class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"'
    return Markup(f"<svg {box}>{''.join(parts)}</svg>")


def _line(name: str, points: Sequence[tuple[float, float]]) -> Markup:
    spots = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
    shape = f'<polyline class="l {name}" points="{spots}"/>'
    if len(points) <= 30:  # few points: a line alone would hide where they are
        radius = 3.5 if name == "test" else 2  # rings, so that both are seen where they coincide
        shape += "".join(
            f'<circle class="m {name}" cx="{x:.0f}" cy="{y:.1f}" r="{radius}"/>' for x, y in points
        )
    return Markup(shape)


def _thinned(epochs: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    """At most MOST_POINTS of the points, the first and the last among them."""
    picked = np.unique(np.linspace(0, len(epochs) - 1, MOST_POINTS).round().astype(int))
    picked = picked[: len(epochs)]
    return [(float(epochs[at]), float(values[at])) for at in picked]


def _log_ticks(low: float, high: float) -> tuple[list[float], Callable[[float], float]]:
    """1, 2, 5 steps around the values."""
    steps = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        for factor in (1, 2, 5)
    ]
    start = max(at for at, step in enumerate(steps) if step <= low)
    stop = min(at for at, step in enumerate(steps) if step >= high and at > start)
    shown = steps[start : stop + 1]
    if len(shown) > 6:
        shown = [shown[0], *(step for step in shown[1:-1] if math.log10(step) % 1 == 0), shown[-1]]
    return shown, math.log10


def _linear_ticks(low: float, high: float) -> tuple[list[float], Callable[[float], float]]:
    """0 to 100 in steps of 25: one scale for every cell."""
    return [0.0, 25.0, 50.0, 75.0, 100.0], float
