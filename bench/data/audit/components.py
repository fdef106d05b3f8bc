"""Groups that pairs connect."""

from collections import defaultdict
from collections.abc import Iterable


def components(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Sorted groups of ids that pairs connect, directly or through others."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    members = defaultdict(list)
    for name in parent:
        members[root(name)].append(name)
    return tuple(sorted(tuple(sorted(group)) for group in members.values()))
