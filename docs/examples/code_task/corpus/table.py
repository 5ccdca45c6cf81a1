# A hash table with open addressing and graves
"""Keys are whole numbers, at home in slot ``key % room``; a deleted one leaves a grave."""

EMPTY, GRAVE = "empty", "grave"


class Table:
    def __init__(self, room):
        self.slots = [EMPTY] * room
        self.probes = 0

    def _walk(self, key):
        for k in range(len(self.slots)):
            self.probes += 1
            yield (key + k * k) % len(self.slots)  # quadratic: it may miss free slots

    def add(self, key):
        """The slot taken, or -1."""
        grave = -1
        for slot in self._walk(key):
            if self.slots[slot] == key:
                return slot
            if self.slots[slot] is GRAVE and grave < 0:
                grave = slot
            if self.slots[slot] is EMPTY:
                break
        else:
            slot = -1
        slot = grave if grave >= 0 else slot
        if slot >= 0:
            self.slots[slot] = key
        return slot

    def remove(self, key):
        for slot in self._walk(key):
            if self.slots[slot] is EMPTY:
                return False
            if self.slots[slot] == key:
                self.slots[slot] = GRAVE
                return True
        return False
