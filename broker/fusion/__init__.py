"""The fused picture of each recipient, computed from its own log and nothing else. Pure: no clock, network or chance.

contribution  Content -> what one message contributes, or nothing
ledger        the set of messages: duplicates, corrections, cancellations
node          what one origin says of one event
compare       whether two tracks are one object, two words of one event
associate     which belong together
estimate, models   where an object is and how it moves: two models, burning and falling
kernel, unrolled   their arithmetic on packed numbers, and its sums written out; compiled where that is wanted
kalman        the little linear algebra that is left beside them
history       an object's reports in order, with exact replay when one comes late or goes
impact        where and when it comes down, and where it rose
board         all events, as they follow from the messages that stand
outcome       what is so of an event at a time, and whether it is over
regions, outlines   which regions (ISO 3166-2) an area touches and a ground track flies over
assessment    what is said of an object beside its state and its impact
picture, disagreement   the FusedEvent that is published
register      track numbers and revisions, as they follow from the log
view          one recipient's picture: fold, tick, checkpoint
archive       a View as bytes
replay        a log from a file through Views, for people and tests
"""
