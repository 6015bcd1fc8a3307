"""Proofs about release policies, for every possible message: promises kept, changes found, rules that do nothing.

Never on the way of a message: only an administrator's commands and the activation of a policy import this. It needs the
solver z3, the extra `prove`.
"""

try:
    import z3  # noqa: F401 - asked for here, so that the answer is the same whatever is imported
except ImportError as error:
    raise ImportError("proofs need the solver z3: pip install vedette[prove]") from error
