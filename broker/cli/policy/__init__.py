"""`vedette policy …`: know what a release policy releases before it is in force, approve it, and undo it.

Exit status: 0 it holds; 1 a finding, a failed test or a broken promise; 2 wrong usage, or a file that cannot be read;
3 the gateway cannot be reached; 4 the gateway refuses; 5 a signature or key that does not verify.

Each module below adds its commands to the group.
"""

from broker.cli.policy import approval, check, impact, lint, promise, prove, schema, sign
from broker.cli.policy.group import policy

__all__ = ["approval", "check", "impact", "lint", "policy", "promise", "prove", "schema", "sign"]
