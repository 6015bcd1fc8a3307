"""What every test needs: certs before grpc, because it forbids TLS 1.2 in a way that grpc reads when it is imported."""

from __future__ import annotations

import certs

assert certs.__doc__
