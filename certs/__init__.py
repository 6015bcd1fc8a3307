"""Who is who: identities, the members document, keys, seals, TLS. Code only; no key is ever committed.

* `identity`: who a certificate names, and whether it may
* `members`: which members, roots and keys are in force (`roster` the types, `document` the JSON)
* `keyring`: what this process signs with (`private`: files that only their owner may read)
* `signature`: seals of envelopes, signatures of documents (`merkle` the tree, `dsse` the encoding)
* `tls`: the transport (`certificate`: what it is made of)
* `issue`: a development authority for a laptop

Importing this package forbids TLS 1.2 to the whole process: gRPC has no parameter for it, but reads its list of cipher
suites from the environment once, when it is imported. The list names a single suite of TLS 1.2, one that needs an RSA
key; our leaves are ECDSA, so no handshake of TLS 1.2 can succeed, and the suites of TLS 1.3 are not touched by it.
"""

import os
import sys
from typing import Final

TLS12_SUITES: Final = "ECDHE-RSA-AES256-GCM-SHA384"

# Too late where gRPC was imported first: `certs.tls` refuses to make credentials then.
TLS12_FORBIDDEN: Final = "grpc" not in sys.modules or os.environ.get("GRPC_SSL_CIPHER_SUITES") == TLS12_SUITES
os.environ["GRPC_SSL_CIPHER_SUITES"] = TLS12_SUITES
