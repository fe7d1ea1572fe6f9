"""Numbers as a person reads them."""


def count(value: float, digits: int = 3) -> str:
    """1234567 -> 1.23M"""
    value = float(f"{value:.{digits}g}")  # first, or 999999 would be 1e+03k
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.{digits}g}{name}"
    return f"{value:g}"


def duration(seconds: float) -> str:
    """3725 -> 1h02m, 125 -> 2m05s"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
