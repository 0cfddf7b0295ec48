"""What is measured, read as the metrics read it."""

from collections.abc import Iterable

from mercato.kernel.counting import Histogram, Measure


def figures(measures: Iterable[Measure]) -> dict[tuple[str, ...], float]:
    """Return what is not zero, by name and the labels' values; of a histogram how many were observed."""
    found: dict[tuple[str, ...], float] = {}
    for each in measures:
        if isinstance(each, Histogram):
            found[each.name, *each.values] = each.told()[-1][1]
        else:
            found |= {(each.name, *values): figure for values, figure in each.read().items()}
    return {name: figure for name, figure in found.items() if figure}
