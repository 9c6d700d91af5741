"""Figures as text, the same in every form of a report."""

from ossctl.app.eval.statistics import Difference, Estimate

TO = "\N{EN DASH}"
NOTHING = TO
_MINUS = "\N{MINUS SIGN}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def interval(estimate: Estimate | None) -> str:
    """`70.3-94.7`, in percent."""
    return f"{100 * estimate.low:.1f}{TO}{100 * estimate.high:.1f}" if estimate else NOTHING


def points(share: float) -> str:
    """`+3.1`: percentage points with their sign."""
    rounded = round(100 * share, 1)
    return f"{_MINUS if rounded < 0 else '+' if rounded > 0 else ''}{abs(rounded):.1f}"


def points_interval(difference: Difference) -> str:
    return f"{points(difference.low)} to {points(difference.high)}"


def verdict(difference: Difference) -> str:
    """Whether the difference means anything."""
    if not difference.conclusive:
        return "may be chance"
    return "higher" if difference.value > 0 else "lower"


def count(share: int, total: int) -> str:
    """`12 (40 %)`, `1 (<1 %)`, or `0`."""
    if not share:
        return "0"
    part = f"{100 * share / total:.0f} %" if 200 * share >= total else "<1 %"
    return f"{share:,} ({part})"


def time(seconds: float) -> str:
    """`4.2 s`, `12 min 5 s` or `3 h 12 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clipped(text: str, longest: int = 2000) -> str:
    """`text` without what is beyond `longest` characters."""
    rest = len(text) - longest
    return f"{text[:longest]} … ({rest:,} more characters)" if rest > 0 else text
