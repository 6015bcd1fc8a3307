"""The officers' office: how a release policy is proposed, tried, approved, brought into force, undone and stopped.

`admin` is the service. It hands on to `office`, which goes by `releases` (drafts and versions), `stops`, and
`activation`; that has `trial` check a draft in a process of its own, where `proven` asks the solver. `recorded` finds a
message again to explain it, `shadow` counts what a draft would change of what goes by, `replay` of what went by.

Nothing here is on the way of a message. What is in force is kept by `broker.gateway.policy`.
"""
