# A ledger of accounts with holds and overdrafts
"""Amounts are whole cents.  A hold sets money aside that can't be spent until it is released."""


class Ledger:
    def __init__(self, overdraft=0):
        self.balances = {}
        self.holds = {}
        self.overdraft = overdraft
        self.refused = []

    def available(self, name):
        held = sum(self.holds.get(name, []))
        return self.balances.get(name, 0) + self.overdraft - held

    def deposit(self, name, cents):
        self.balances[name] = self.balances.get(name, 0) + cents

    def hold(self, name, cents):
        if cents > self.available(name):
            self.refused.append(("hold", name, cents))
            return False
        self.holds.setdefault(name, []).append(cents)
        return True

    def release(self, name):
        """Give back the latest hold."""
        return self.holds[name].pop() if self.holds.get(name) else 0

    def transfer(self, giver, taker, cents):
        if cents > self.available(giver):
            self.refused.append(("transfer", giver, cents))
            return False
        self.balances[giver] = self.balances.get(giver, 0) - cents
        self.deposit(taker, cents)
        return True
