"""The fused picture of each recipient, computed from its own log and nothing else. Pure: no clock, network or chance.

contribution  Content -> what one message contributes, or nothing
ledger        the set of messages: duplicates, corrections, cancellations
node          what one origin says of one event
compare       whether two tracks are one object, two words of one event
tracklet, overlap   what a track says by itself, and two tracks over all the time that both were followed
verdict       what first reports and the whole overlap say together
associate     remembers what pairs say
assignment, grouping   which belong together: the best of all, at least cost
parting       what parts from an object in flight
estimate, models   where an object is and how it moves: two models, burning and falling
kernel, unrolled   their arithmetic on packed numbers, and its sums written out; compiled where that is wanted
kalman        the little linear algebra that is left beside them
history       an object's reports in order, with exact replay when one comes late or goes
registration, testimony   an origin's offset from another's own track, and what its reports say against it
scrutiny      who is wrong, as far as that can be said, and whose reports therefore do not count
impact        where and when it comes down, and where it rose
influence, reliance   what each origin does to the impact, and how far it can be relied upon
board         all events, as they follow from the messages that stand
outcome       what is so of an event at a time, and whether it is over
regions, outlines   which regions (ISO 3166-2) an area touches and a ground track flies over
assessment    what is said of an object beside its state and its impact
picture, disagreement   the FusedEvent that is published
naming        what the recipient knows objects by, whatever becomes of their tracks
register      track numbers and revisions, as they follow from the log
view          one recipient's picture: fold, tick, checkpoint
archive       a View as bytes
replay        a log from a file through Views, for people and tests
"""
