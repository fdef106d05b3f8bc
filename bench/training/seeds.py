"""Seeds from names, so that no stream of random numbers depends on how often another was used."""

import hashlib


def seed_for(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose of a run, e.g. `seed_for(0, "epoch", 3)`."""
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
