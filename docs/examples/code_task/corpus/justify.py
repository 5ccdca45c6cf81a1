# Text set to a width, with spaces spread from the left
"""Lines are filled greedily; all but the last are stretched to the width."""


def lines(text, width):
    line = []
    for word in text.split():
        if line and sum(map(len, line)) + len(line) + len(word) > width:
            yield line
            line = []
        line.append(word)
    if line:
        yield line


def stretched(words, width):
    if len(words) == 1:
        return words[0]
    gaps = len(words) - 1
    spaces = width - sum(map(len, words))
    each, more = divmod(spaces, gaps)
    out = ""
    for k, word in enumerate(words[:-1]):
        out += word + "." * (each + (k < more))
    return out + words[-1]


def justified(text, width):
    """Spaces are shown as dots, so that they can be counted."""
    rows = list(lines(text, width))
    return [stretched(r, width) for r in rows[:-1]] + [".".join(r) for r in rows[-1:]]
