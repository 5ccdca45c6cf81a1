# Conway's game of life on a torus
"""A board is a set of living cells (row, column); edges lead to the opposite side."""


def neighbours(cell, rows, columns):
    row, column = cell
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            if dr or dc:
                yield (row + dr) % rows, (column + dc) % columns


def step(alive, rows, columns):
    counts = {}
    for cell in alive:
        for near in neighbours(cell, rows, columns):
            counts[near] = counts.get(near, 0) + 1
    return {c for c, n in counts.items() if n == 3 or (n == 2 and c in alive)}


def after(picture, steps):
    """The picture (lines of # and .) so many steps later."""
    lines = picture.split()
    rows, columns = len(lines), len(lines[0])
    alive = {(r, c) for r in range(rows) for c in range(columns) if lines[r][c] == "#"}
    for _ in range(steps):
        alive = step(alive, rows, columns)
    return ["".join(".#"[(r, c) in alive] for c in range(columns)) for r in range(rows)]
