# A cache that evicts by use, with ages
"""The least used entry goes first; of several, the one not touched for longest.

Every ``halve_every`` touches all counts are halved, so that old fame fades.
"""


class Cache:
    def __init__(self, room, halve_every=8):
        self.room, self.halve_every = room, halve_every
        self.values, self.uses, self.touched = {}, {}, {}
        self.clock = 0

    def _touch(self, key):
        self.clock += 1
        self.uses[key] = self.uses.get(key, 0) + 1
        self.touched[key] = self.clock
        if self.clock % self.halve_every == 0:
            self.uses = {k: n // 2 for k, n in self.uses.items()}

    def get(self, key, default=None):
        if key not in self.values:
            return default
        self._touch(key)
        return self.values[key]

    def put(self, key, value):
        if key not in self.values and len(self.values) == self.room:
            out = min(self.values, key=lambda k: (self.uses[k], self.touched[k]))
            for table in (self.values, self.uses, self.touched):
                del table[out]
        self.values[key] = value
        self._touch(key)
