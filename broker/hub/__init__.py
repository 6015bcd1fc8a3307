"""Shared by all nations: verifies, stores, routes, and has the pictures made. It never judges what may be shown."""
