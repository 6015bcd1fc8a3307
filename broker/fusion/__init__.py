"""The fused picture of each recipient, computed from its own log and nothing else. Pure: no clock, network or chance.

contribution  Content -> what one message contributes, or nothing
ledger        the set of messages: duplicates, corrections, cancellations
associate     which messages speak of the same event and the same object
estimate      where an object is and how it moves: two models, burning and falling
history       an object's reports in order, with exact replay when one comes late or goes
impact        where and when it comes down
picture       the FusedEvent that is published
view          one recipient's picture: fold, tick, checkpoint
replay        a log from a file through Views, for people and tests
"""
