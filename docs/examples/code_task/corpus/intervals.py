# Closed intervals of whole numbers, kept sorted and apart
"""Intervals are pairs (low, high), both ends included; touching ones become one."""


def merged(intervals):
    """The same numbers in as few intervals as possible."""
    result = []
    for low, high in sorted(intervals):
        if low > high:
            continue  # holds nothing
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return result


def without(intervals, low, high):
    """The numbers of ``intervals`` that aren't in low..high."""
    left = []
    for start, end in merged(intervals):
        if start < low:
            left.append((start, min(end, low - 1)))
        if end > high:
            left.append((max(start, high + 1), end))
    return left


def size(intervals):
    """How many numbers there are."""
    return sum(high - low + 1 for low, high in merged(intervals))
