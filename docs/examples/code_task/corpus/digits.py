# Numbers in bases that aren't what they seem
"""Balanced ternary (digits -, 0, +), Fibonacci coding, and digits with a negative base."""


def balanced(n):
    if n == 0:
        return "0"
    out = ""
    while n:
        n, rest = divmod(n, 3)
        if rest == 2:
            n, rest = n + 1, -1
        out = "0+-"[rest] + out
    return out


def negative(n, base):
    """The digits of ``n`` to the base ``-base``, most significant first."""
    if n == 0:
        return [0]
    out = []
    while n:
        n, rest = divmod(n, -base)
        if rest < 0:
            n, rest = n + 1, rest + base
        out.insert(0, rest)
    return out


def zeckendorf(n):
    """Fibonacci numbers, no two neighbours, that add up to ``n``."""
    numbers = [1, 2]
    while numbers[-1] <= n:
        numbers.append(numbers[-1] + numbers[-2])
    out = []
    for number in reversed(numbers):
        if number <= n:
            out.append(number)
            n -= number
    return out
