"""The Views of one recipient: its whole log in, its pictures out. Used by whoever draws, and by whoever checks.

picture     a recipient's log through its Views, one for each mode and exercise
checkpoint  where drawing goes on after a restart
verify      what was sent, compared with what the log leads to
telling     where two pictures differ, field by field

The hub draws with it, and a nation can draw the same again from its own inbox, for it is the same code. It knows
neither gateway nor hub; no network, no clock. Only `checkpoint` touches files.
"""
