"""What every test needs: certs before grpc, because it forbids TLS 1.2 in a way that grpc reads when it is imported."""

from __future__ import annotations

import os

import certs

assert certs.__doc__

# What is compiled is compared with the interpreter in tests/broker/test_jit.py; no other test waits for a compiler.
os.environ.setdefault("VEDETTE_JIT", "off")
