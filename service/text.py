"""Text that came from outside, made fit for an answer."""


def writable(text: str) -> str:
    r"""``text`` with half surrogate pairs spelled out (``\ud800``): they have no UTF-8 form, and JSON lets them in."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
