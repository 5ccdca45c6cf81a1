# Run-length coding with a mark for literals
"""Runs of three or more become ~count,letter; shorter ones stay as they are."""

MARK = "~"


def encode(text):
    out, k = [], 0
    while k < len(text):
        end = k
        while end < len(text) and text[end] == text[k]:
            end += 1
        length = end - k
        if length >= 3 or text[k] == MARK:
            out.append(f"{MARK}{length},{text[k]}")
        else:
            out.append(text[k:end])
        k = end
    return "".join(out)


def decode(coded):
    out, k = [], 0
    while k < len(coded):
        if coded[k] != MARK:
            out.append(coded[k])
            k += 1
            continue
        comma = coded.index(",", k)
        out.append(coded[comma + 1] * int(coded[k + 1 : comma]))
        k = comma + 2
    return "".join(out)
