"""A system keyring for tests: it forgets, counts what it is asked, and can be locked."""

from keyring.backend import KeyringBackend


class Memory(KeyringBackend):
    """A system keyring that forgets."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}
        self.asked = 0
        self.trouble = None

    def get_password(self, service, name):
        """Return what was kept, or raise what is in the way."""
        self.asked += 1
        if self.trouble:
            raise self.trouble
        return self.kept.get((service, name))

    def set_password(self, service, name, secret):
        """Keep it."""
        self.kept[service, name] = secret
