# An order of tasks by what they wait for
"""``waits`` maps a task to the tasks that come before it."""


def batches(waits):
    """Tasks in groups that can be done side by side; what is in a circle is left out."""
    names = set(waits) | {name for before in waits.values() for name in before}
    done, groups = set(), []
    while True:
        ready = sorted(n for n in names - done if set(waits.get(n, ())) <= done)
        if not ready:
            return groups
        groups.append(ready)
        done.update(ready)


def longest(waits, costs):
    """The cost of the dearest chain of tasks, one after the other."""
    finish = {}
    for group in batches(waits):
        for name in group:
            begin = max((finish[b] for b in waits.get(name, ())), default=0)
            finish[name] = begin + costs.get(name, 1)
    return max(finish.values(), default=0)
