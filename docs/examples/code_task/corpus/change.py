# Making change from a till that runs out
"""Coins are taken from a till with a limited number of each; fewest coins first."""


def fewest(amount, till):
    """The fewest coins of ``till`` (value: number) that make ``amount``, or ``None``."""
    best = {0: ()}
    for coin, number in sorted(till.items()):
        found = dict(best)
        for total, coins in best.items():
            for k in range(1, number + 1):
                reached = total + k * coin
                if reached > amount:
                    break
                taken = (*coins, *([coin] * k))
                if reached not in found or len(taken) < len(found[reached]):
                    found[reached] = taken
        best = found
    return best.get(amount)


def pay(till, price, given):
    """Take ``given`` (a list of coins), give change; the till is changed only if it works."""
    due = sum(given) - price
    trial = dict(till)
    for coin in given:
        trial[coin] = trial.get(coin, 0) + 1
    back = fewest(due, trial) if due >= 0 else None
    if back is None:
        return None
    for coin in back:
        trial[coin] -= 1
    till.clear()
    till.update(trial)
    return list(back)
