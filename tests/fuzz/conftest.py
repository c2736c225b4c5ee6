"""How many cases were tried at each door, at the end of the run."""

from collections import Counter

import pytest

from tests.fuzz.harness import tally

OUTCOMES = ("results", "refusals", "crashes")


@pytest.fixture(autouse=True)
def counted(request):
    """Hand the counts of a test on with its report, which also comes from parallel workers."""
    tally.clear()
    yield
    request.node.user_properties.append(("fuzz", [[*key, n] for key, n in tally.items()]))


def pytest_terminal_summary(terminalreporter):
    """Tabulate results, refusals and crashes."""
    counts = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                for name, rows in report.user_properties:
                    if name == "fuzz":
                        counts.update({(door, outcome): n for door, outcome, n in rows})
    doors = sorted({door for door, _ in counts})
    if not doors:
        return
    width = max(len(door) for door in doors)
    terminalreporter.section("cases tried")
    rows = [(door, [counts[door, outcome] for outcome in OUTCOMES]) for door in doors]
    rows.append(("all", [sum(column) for column in zip(*(n for _, n in rows), strict=True)]))
    terminalreporter.line(
        f"{'door':{width}} {'cases':>8} " + " ".join(f"{o:>9}" for o in OUTCOMES)
    )
    for door, numbers in rows:
        cells = " ".join(f"{n:9,}" for n in numbers)
        terminalreporter.line(f"{door:{width}} {sum(numbers):8,} {cells}")
