"""Where jobs run: each executor maps jobs over workers and hands on their events."""
