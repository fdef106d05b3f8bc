"""The methods that the harness ships, one file each, registered like any plugin."""
