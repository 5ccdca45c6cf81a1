# A ring buffer that forgets the oldest
"""A queue of fixed room: putting into a full one drops what has waited longest."""


class Ring:
    """``dropped`` counts what was lost."""

    def __init__(self, room):
        self.slots = [None] * room
        self.start = 0
        self.count = 0
        self.dropped = 0

    def put(self, value):
        if self.count == len(self.slots):
            self.start = (self.start + 1) % len(self.slots)
            self.count -= 1
            self.dropped += 1
        self.slots[(self.start + self.count) % len(self.slots)] = value
        self.count += 1

    def take(self):
        if self.count == 0:
            return None
        value = self.slots[self.start]
        self.start = (self.start + 1) % len(self.slots)
        self.count -= 1
        return value

    def __iter__(self):
        for k in range(self.count):
            yield self.slots[(self.start + k) % len(self.slots)]
