"""Vedette's protocol, as Python sees it."""
