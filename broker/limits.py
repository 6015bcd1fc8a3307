"""Every bound in one place. Nothing in Vedette waits, grows or repeats without one; each says where it comes from."""

from __future__ import annotations

from typing import Final

SECOND_NS: Final = 1_000_000_000
MILLISECOND_NS: Final = 1_000_000

# --- what is said -----------------------------------------------------------------------------------------------------
SCHEMA_VERSION: Final = 1
SCHEMA_VERSION_LEAST: Final = 1
BODY_BYTES_MAX: Final = 16 * 1024  # a track with everything is under 1 KiB; a fused picture of three nations under 6
HEADER_BYTES_MAX: Final = 2 * 1024  # a routing header is about 150 bytes
ENVELOPE_BYTES_MAX: Final = (
    BODY_BYTES_MAX + HEADER_BYTES_MAX + 8 * 1024
)  # two signatures (ML-DSA-65: 3.3 KB) and a path
NATIVE_LINE_BYTES_MAX: Final = 16 * 1024
NATIVE_TRACKS_MAX: Final = 16_384  # track numbers that a sensor's session remembers; they have four digits
NATIVE_LINES_MAX: Final = 65_536  # lines that a later one can correct: five hours at four a second
LOCAL_ID_BYTES_MAX: Final = 64  # a national system's own id
ID_BYTES: Final = 16  # every id between nations
CORRECTIONS_MAX: Final = 64  # in a row, each of the one before; and of one message, those that are remembered
SEAL_PATH_MAX: Final = 10  # a tree of at most 1024 envelopes in a flush
SIGNATURES_MAX: Final = 4
DETAIL_CHARS_MAX: Final = 200  # of a refusal's text on the wire
FIELD_ITEMS_MAX: Final = 64  # of a repeated field of a Content whose options name no other number
FIELD_BYTES_MAX: Final = 64  # of a string or bytes of a Content, likewise
PROTOCOL_ITEMS_MAX: Final = 4_096  # of a repeated field around a Content: the heads of all streams of one member
PROTOCOL_TEXT_BYTES_MAX: Final = 1_024  # of a string around a Content: a refusal's detail in four-byte letters
TIME_MAX_S: Final = 7_258_118_400  # 2200-01-01: a later time is a mistake of units
DURATION_MAX_NS: Final = 24 * 3600 * SECOND_NS  # where a field's options name no other number

# --- transport --------------------------------------------------------------------------------------------------------
FRAME_MESSAGES_MAX: Final = 64  # 64 in a frame cost 7 us each at the hub, one in a frame about 100
FRAME_BYTES_MAX: Final = 256 * 1024
# gRPC's own limit, at which it cuts the stream: four times ours, so that ours is reached first and the stream lives on.
TRANSPORT_BYTES_MAX: Final = 4 * FRAME_BYTES_MAX
LOOKAHEAD_BYTES: Final = 512 * 1024  # HTTP/2 window: small, so that a backlog waits with us and not in the transport
LINGER_NORMAL_NS: Final = 300_000  # the normal lane gives others a turn if its last frame left so recently
# Pictures, own copies and Ticks wait so long for company, a warning never: each commit that they share costs the
# warnings nothing. A person looks at a picture; ten milliseconds of its age are nothing to see.
LINGER_PICTURE_S: Final = 0.01
STREAMS_PER_MEMBER_MAX: Final = 64  # of open calls at the hub or a gateway, by one member
SUBMITS_PER_MEMBER_MAX: Final = 4  # credits are per stream; one is in use, others are those of a lost connection
REGISTERS_PER_MEMBER_MAX: Final = 1  # at a time: its store takes one version after another
READ_BACKS_PER_MEMBER_MAX: Final = 1  # it reads whole logs from the store that everybody's warnings go into
READ_BACK_PAUSE_S: Final = 0.005  # after a batch of READ_BATCH: a million records take some 20 s longer
WATCHERS_MAX: Final = 256  # of open watches at one gateway
CREDITS: Final = 1024  # envelopes under way from one origin
RECONNECT_FIRST_S: Final = 0.05
RECONNECT_MAX_S: Final = 2.0
RESENDS_MAX: Final = 60  # of an envelope that the hub refuses for what may pass: about five minutes
RESEND_NS: Final = 5 * SECOND_NS
PARKED_MAX: Final = 4_096  # such envelopes; more of them are audited and passed over
CALL_DEADLINE_S: Final = 10.0  # of one unary call
DRAIN_S: Final = 5.0  # from SIGTERM to the end
HANDSHAKE_TIMEOUT_MS: Final = 5_000
KEEPALIVE_MS: Final = 5_000
PING_TIMEOUT_MS: Final = 2_000  # without it a stopped peer is noticed only after a minute

# --- queues -----------------------------------------------------------------------------------------------------------
QUEUE_RECORDS_MAX: Final = 1_024  # in memory, per recipient and lane; the rest waits in the store
APPEND_BATCH_MAX: Final = 512  # records in one commit
APPEND_QUEUE_MAX: Final = 8_192  # waiting for the disk; beyond it the sender is told to come back
READ_BATCH: Final = 256
HELD_MAX: Final = 16_384  # messages that wait for a policy's delay at one gateway: a minute at 100/s to two others
ORIGIN_APPENDS_MAX: Final = (
    2 * CREDITS
)  # of one origin, waiting for the disk: a flood of one leaves room for the others
SET_ASIDE_MAX: Final = 4_096  # messages whose event was taken back, should that be itself: minutes of a track
STORE_BYTES_MAX: Final = 64 * 1024**3
RECORD_BYTES_MAX: Final = (
    16 * 1024**2
)  # of one record or state value; an envelope is under 30 KiB, a checkpoint of a view a few MiB
LANES_MAX: Final = 16  # of one stream in a store; the protocol has two
READ_BYTES: Final = 4 * 1024**2  # one turn of a reader on the store's thread: some milliseconds at most
RING_RECORDS_MAX: Final = (
    1_024  # recent records in memory, per followed stream; who is further behind reads from the disk
)
RING_BYTES_MAX: Final = 4 * 1024**2
TRIM_BATCH: Final = 512  # records forgotten in one commit, so that appends pass in between
WAL_BYTES_MAX: Final = 32 * 1024**2  # about ten seconds at 200/s; checkpointed even if never idle, some 50 ms
WAL_IDLE_BYTES: Final = 1024**2  # a smaller log is left alone: it is read within a millisecond when a store is opened
STORE_IDLE_S: Final = 0.02  # without work for so long, the store's thread checkpoints a larger one
AUDIT_QUEUE_MAX: Final = 8_192  # entries waiting for their thread; beyond it they are counted
AUDIT_LINE_BYTES_MAX: Final = 16 * 1024  # an entry with longer fields says so in their place
AUDIT_SYNC_S: Final = 0.1  # entries gather so long for one fsync, so that the trail does not compete with the stores

# --- time -------------------------------------------------------------------------------------------------------------
FUTURE_MAX_NS: Final = 12 * 3600 * SECOND_NS  # beyond it no key or certificate holds; below it, no silence
CLOCK_AHEAD_NS: Final = 30 * SECOND_NS  # a message released so far ahead of our clock is counted: one clock is wrong
EPOCH_AHEAD_MAX_MS: Final = 24 * 3600 * 1000  # a new epoch may begin at most a day ahead of our clock
TICK_NS: Final = SECOND_NS  # cadence of Tick records
TICK_IDLE_NS: Final = 7_200 * SECOND_NS  # a log with no record for so long stops ticking: longer than any flight
ALARM_RECALL_RECORDS: Final = 16_384  # before a watcher's place, for the alarms that stood: over an hour at 4/s
ALARM_CANCELLED_MAX: Final = 4_096  # messages that one watch remembers as cancelled
CATCH_UP_WAIT_S: Final = 1.0  # an alarm waits at most this long for the state at the head of the log
IN_HAND_WAIT_S: Final = 0.5  # and then for the disk, if a frame that may take it back is on its way into the inbox
REPLAY_WINDOW: Final = 4_096  # envelopes that may be missing behind the newest of a stream
STREAM_EPOCHS_MAX: Final = 64  # windows kept per (origin, recipient, mode, lane)
DELAY_MAX_S: Final = 3_600.0  # by policy
EXERCISE_RATE_LEAST: Final = 0.01
EXERCISE_RATE_MAX: Final = 100.0
CLOCK_PROBE_S: Final = 2.0
CANARY_S: Final = 5.0  # between two canaries of an ordered pair
RETENTION_S: Final = 30 * 24 * 3600.0
RUNS_KEPT: Final = 256  # of the hub, whose resume tokens still hold
EXERCISES_MAX: Final = 1_024  # time bases that the hub remembers, per origin that told a recipient of them first
EXERCISES_TICKING_MAX: Final = 4  # at once, likewise: a flood of ids makes a handful of logs tick
EXERCISE_IDLE_NS: Final = (
    2_400 * SECOND_NS
)  # of exercise time without a record, then its ticks stop: any flight is over
EXERCISE_FORGOTTEN_NS: Final = 2_100 * SECOND_NS  # likewise, then its picture is forgotten: while it is still ticked
TICK_PACE_S: Final = 0.1  # a log that runs faster than life is ticked at most so often, by several seconds at once

# --- release policy ---------------------------------------------------------------------------------------------------
POLICY_BYTES_MAX: Final = 512 * 1024
POLICY_DEPTH_MAX: Final = 12
POLICY_RULES_MAX: Final = 1_000
INVARIANTS_MAX: Final = 200  # of one nation; the hub evaluates them for every envelope
INVARIANTS_CHARS_MAX: Final = (
    8_000  # of all their conditions: what each envelope may cost the hub, some 4 ms at the very worst
)
SIGNATURE_BYTES_MAX: Final = 64 * 1024  # of the file beside a document: 64 signatures are under 16 KiB
CONDITION_CHARS_MAX: Final = 2_000
CONDITIONS_AT_ONCE_MAX: Final = 40  # as one expression: of 2 000 characters each, under CEL's 100 000
CONDITIONS_COMPILED_MAX: Final = 4_096  # CEL expressions kept, of 7 KB a condition: two policies of most rules
POLICY_DECISIONS_MAX: Final = 4_096  # outcomes of one policy that are remembered, by recipient, body and matching rules
PROOF_QUESTION_S: Final = 10.0  # one question to the solver; those of 300 rules take milliseconds
PROOF_S: Final = 300.0  # all questions of one proof: whoever waits so long has no rules that people understand
RELEASE_TESTS_BYTES_MAX: Final = 256 * 1024  # of the tests of a policy; with the document it passes in one message
RELEASE_REPORT_BYTES_MAX: Final = 24 * 1024  # of each text in the report of a draft's checks: what a person reads
RELEASE_SIGNATURES_BYTES_MAX: Final = 64 * 1024  # of the signatures under one document
RELEASE_DRAFTS_MAX: Final = 32  # proposed and not activated; more are forgotten work, and each is kept in memory
RELEASE_DRAFTS_EACH_MAX: Final = 8  # of them by one officer: nobody alone fills the table
RELEASE_VERSIONS_MAX: Final = 64  # activated before, for history and rolling back: a year of weekly changes
RELEASE_STOPS_MAX: Final = 64  # recipients that are stopped at once: more than there are members
RELEASE_CHECKS_S: Final = 120.0  # of the process that checks a draft: ten times what 300 rules take
RELEASE_CHECKS_MEMORY_BYTES: Final = 2 * 1024**3  # of its address space: four times what the shipped policies take
RELEASE_CHECKS_BYTES_MAX: Final = 512 * 1024  # of its answer
RELEASE_CALLS_MAX: Final = 4  # of one officer at once
RELEASE_WAITING_MAX: Final = 8  # checks of drafts that wait for their turn: one runs at a time
RELEASE_WAITING_EACH_MAX: Final = 2  # of them for one officer
ORDER_BYTES_MAX: Final = 4 * 1024  # of an order to stop or resume
ORDER_REASON_CHARS_MAX: Final = 200
ORDER_AGE_NS: Final = 300 * SECOND_NS  # an order is given now: five minutes for a slow hand and two clocks
EXPLAIN_RECORDS_MAX: Final = 65_536  # of the recorded intake, looked through for a message that is to be explained
EXPLANATION_CHARS_MAX: Final = 512 * 1024
POLICIES_COMPILED_MAX: Final = 8  # kept compiled: the active one, the one before it for held messages, drafts
IMPACT_KINDS_MAX: Final = 16_384  # of decisions that a replay counts apart before it sums them up: some ten MiB
SHADOW_QUEUE_MAX: Final = (
    1_024  # messages that wait for a draft in the shadow: seconds of traffic, then they are skipped
)
SHADOW_FAULTS_MAX: Final = 10  # of a draft in the shadow, then it ends: the log need not say more

# --- fusion -----------------------------------------------------------------------------------------------------------
HORIZON_S: Final = 180.0  # how late a message may be and still be folded by exact replay
OBJECTS_MAX: Final = 512  # tracks in one View
REPORTS_PER_OBJECT_MAX: Final = 4_096
NODES_PER_ORIGIN_MAX: Final = 256  # events by one origin's own names in one View: a flood displaces nobody else's
TRACK_LOST_S: Final = 30.0  # without a report of an object, beyond what its own cells and intervals explain
IMPACT_MARGIN_S: Final = 60.0  # past the latest predicted impact, then the event is over
CLOSED_EVENTS_MAX: Final = 64  # of which a View keeps the messages, so that a late cancellation can reopen them

# --- exercises --------------------------------------------------------------------------------------------------------
SCENARIO_CHARS_MAX: Final = 100_000  # of a scenario file
SCENARIO_ITEMS_MAX: Final = 100  # launches, announcements, sights or outages in one scenario
SCENARIO_S_MAX: Final = 4 * 3600.0  # of exercise time

# --- conformance of plugins -------------------------------------------------------------------------------------------
CONFORMANCE_LINES: Final = 3_000  # broken lines that a native format is tried with: under a second each
CONFORMANCE_FEED_S: Final = 60.0  # an adapter that is not through with all of them by then hangs
CONFORMANCE_SAMPLE_BYTES_MAX: Final = 256 * 1024
PICTURE_CHECKPOINT_S: Final = 10.0  # between two checkpoints of the fusion process: what a restart folds again
