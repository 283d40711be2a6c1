"""How a benchmark says what it found: the figure, the bound it is held to, and whether that is met."""


def at_most(what: str, figure: float, bound: float, unit: str = "") -> None:
    """Print a figure that should not exceed the bound."""
    _print(what, figure, f"at most {bound:g}{unit}", unit, met=figure <= bound)


def at_least(what: str, figure: float, bound: float, unit: str = "") -> None:
    """Print a figure that should reach the bound."""
    _print(what, figure, f"at least {bound:g}{unit}", unit, met=figure >= bound)


def figure(what: str, value: float, unit: str = "") -> None:
    """Print a figure that is held to nothing."""
    print(f"  {what:<64} {value:>12,.3f}{unit}")


def _print(what: str, value: float, bound: str, unit: str, *, met: bool) -> None:
    print(f"  {what:<64} {value:>12,.3f}{unit:<4} {bound:<20} {'met' if met else 'MISSED'}")
