// A national system in JavaScript: it reports launches to its own nation's gateway, and watches what the nation gets.
//
//   npm ci
//   node client.mjs report --gateway localhost:7001 --root certs/kor/root.pem \
//        --cert certs/kor/systems/exercise/aegis-3 --exercise exercise.json --to JPN,USA launch-1 launch-2
//   node client.mjs watch --gateway localhost:7003 --root certs/jpn/root.pem --cert certs/jpn/watch/exercise/floor-1
//
// It uses nothing of Vedette but the .proto files. What every client must do, in whatever language:
//   * speak TLS 1.3 with a certificate of its own, whose name says who we are and what we may (protos/README.md);
//   * report under an id of its own, and report the very same again until the gateway has answered: it counts once;
//   * keep the position of the last event that it dealt with, and resume after it: nothing is missed or shown twice;
//   * tell a refusal, which will not change, from a gateway that is away and will come back.
//
// Standard output has one JSON object a line, standard error what went wrong.
// Exit: 0 ok, 2 wrong usage, 3 the gateway is not there, 4 the gateway refused.
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const USAGE = `node client.mjs report|watch --gateway HOST:PORT --cert STEM --root FILE
  --cert STEM          certificate and key without their endings: STEM.pem, STEM.key
  --root FILE          the root of our own nation
  --protos FOLDER      where vedette/v1/*.proto are [the repository's]
  --timeout SECONDS    how long a gateway may be away [10]
report EVENT...        report a launch under each of these ids
  --to CODES           to whom it may go, by its label: JPN,USA; the nation's policy decides [nobody]
  --lat, --lon DEGREES where it was launched [40.61, 126.43]
  --at TIME            when: 2026-01-31T12:00:00.250Z [now]
  --exercise FILE      the exercise's time base as JSON; needed with a certificate for exercises
  --once               a call for each report instead of one stream for all
watch
  --resume-after TEXT  a position from an earlier run: go on after it [from the oldest event kept]
  --count N            end after so many warnings`;

const OPTIONS = {
  gateway: { type: 'string' },
  cert: { type: 'string' },
  root: { type: 'string' },
  protos: { type: 'string', default: fileURLToPath(new URL('../../../protos', import.meta.url)) },
  timeout: { type: 'string', default: '10' },
  to: { type: 'string', default: '' },
  lat: { type: 'string', default: '40.61' },
  lon: { type: 'string', default: '126.43' },
  at: { type: 'string' },
  exercise: { type: 'string' },
  once: { type: 'boolean', default: false },
  'resume-after': { type: 'string', default: '' },
  count: { type: 'string', default: 'Infinity' },
};

const EXIT = { USAGE: 2, UNREACHABLE: 3, DENIED: 4 };
const FIRST_PAUSE_MS = 50; // before the first new try; doubled before each that follows
const LONGEST_PAUSE_MS = 2000;
const CALL_DEADLINE_MS = 10_000; // of one unary call
const LASTING = new Set(['REASON_STORE_FULL', 'REASON_UNAVAILABLE', 'REASON_TOO_MANY_STREAMS']); // may pass: try again

/** Something that ends the program, with what it tells the shell. */
class Failed extends Error {
  constructor(text, exit) {
    super(text);
    this.exit = exit;
  }
}

/** What was tried did not go through and may next time. */
class TryAgain extends Error {}

/** Return vedette.v1, with fields named as in the .proto files, and base64 text for bytes. */
function loadProtocol(folder) {
  const definition = protoLoader.loadSync('vedette/v1/national.proto', {
    includeDirs: [folder],
    keepCase: true, // event_id, not eventId
    oneofs: true, // response.event === 'warning'
    enums: String, // PRECEDENCE_FLASH, not 4
    longs: String, // 64-bit numbers do not fit into JavaScript's
    bytes: String,
  });
  return grpc.loadPackageDefinition(definition).vedette.v1;
}

/** Open a channel to our nation's gateway: mutual TLS, nothing older than 1.3. */
function connect(protocol, { gateway, cert, root }) {
  const secure = createSecureContext({
    ca: readFileSync(root),
    cert: readFileSync(`${cert}.pem`),
    key: readFileSync(`${cert}.key`),
    minVersion: 'TLSv1.3',
  });
  return new protocol.National(gateway, grpc.credentials.createFromSecureContext(secure), {
    // A gateway whose machine stopped says nothing: ask it, and give up soon.
    'grpc.keepalive_time_ms': 5000,
    'grpc.keepalive_timeout_ms': 2000,
    'grpc.initial_reconnect_backoff_ms': FIRST_PAUSE_MS,
    'grpc.max_reconnect_backoff_ms': LONGEST_PAUSE_MS,
  });
}

/** Return "KOR" for a certificate of spiffe://kor.vedette/…: we speak for no other nation. */
function nationOf(certificate) {
  const names = new X509Certificate(certificate).subjectAltName ?? '';
  const [, domain] = /URI:spiffe:\/\/([a-z]+)\.vedette\//.exec(names) ?? [];
  if (!domain) throw new Failed('the certificate names no member', EXIT.USAGE);
  return domain.toUpperCase();
}

/** Return a google.protobuf.Timestamp. Times are to the nanosecond, which Date is not. */
function timestamp(text) {
  const [, whole, fraction = ''] = /^([^.]+?)(?:\.(\d{1,9}))?Z$/.exec(text) ?? [];
  const milliseconds = Date.parse(`${whole}Z`);
  if (Number.isNaN(milliseconds)) throw new Failed(`${text} is no time like 2026-01-31T12:00:00.250Z`, EXIT.USAGE);
  return { seconds: milliseconds / 1000, nanos: Number(fraction.padEnd(9, '0')) };
}

/** Return the time base of an exercise from its JSON: {"exerciseId", "wallZero", "exerciseZero", "rate"}, or in snake_case. */
function exerciseOf(file) {
  const said = JSON.parse(readFileSync(file, 'utf8'));
  return {
    exercise_id: said.exerciseId ?? said.exercise_id,
    wall_zero: timestamp(said.wallZero ?? said.wall_zero),
    exercise_zero: timestamp(said.exerciseZero ?? said.exercise_zero),
    rate: said.rate ?? 1,
  };
}

/** Return a ReportRequest that says: our own sensor saw a launch. */
function launchRequest(event, { nation, exercise, at, lat, lon, to }) {
  const centre = { lat_deg: Number(lat), lon_deg: Number(lon) };
  return {
    content: {
      header: {
        message_id: Buffer.from(`${event}/launch`), // our own; the gateway makes a new one for each recipient
        observed_at: at,
        lineage: { kind: 'LINEAGE_KIND_RAW' }, // from our own sensor and nothing else
        exercise,
      },
      launch: {
        event_id: Buffer.from(event),
        launch_time: { best: at },
        launch_area: { ellipse: { centre, semi_major_m: 3000, semi_minor_m: 3000, probability: 0.95 } },
        count: { least: 1, most: 1 },
        source: { kind: 'SENSOR_KIND_SEA_RADAR' },
      },
    },
    precedence: 'PRECEDENCE_FLASH',
    label: {
      policy: nation,
      classification: 'CLASSIFICATION_SECRET',
      releasable_to: to.split(',').filter(Boolean).sort(),
    },
  };
}

/** Return what an error means: TryAgain, or what will not change. A call's error carries the refusal, if any. */
function meaningOf(protocol, error) {
  if (!(error.metadata instanceof grpc.Metadata)) return error; // not of a call
  const [carried] = error.metadata.get('vedette-refusal-bin');
  const passes = carried === undefined || LASTING.has(protocol.Refusal.deserialize(carried).reason);
  return passes ? new TryAgain(error.details) : new Failed(error.details, EXIT.DENIED);
}

/** Do `attempt` until it returns, with growing pauses. It is given what to call whenever the gateway has answered. */
async function persistently(protocol, timeoutMs, attempt) {
  let pauseMs = FIRST_PAUSE_MS;
  let answeredAt = Date.now();
  const answered = () => {
    pauseMs = FIRST_PAUSE_MS;
    answeredAt = Date.now();
  };
  for (;;) {
    try {
      return await attempt(answered);
    } catch (error) {
      const meaning = meaningOf(protocol, error);
      if (!(meaning instanceof TryAgain)) throw meaning;
      if (Date.now() - answeredAt >= timeoutMs) {
        throw new Failed(`no gateway for ${timeoutMs / 1000} s: ${meaning.message}`, EXIT.UNREACHABLE);
      }
    }
    await sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

/** "Not now" is no answer: the report must be made again, and those behind it after it. */
function checkTaken(answer) {
  if (LASTING.has(answer.refusal?.reason)) throw new TryAgain(answer.refusal.detail);
}

/** Report all that wait on one stream; there is one answer for each, in order. */
async function reportOnStream(gateway, waiting, done) {
  const call = gateway.Report();
  try {
    for (const { request } of waiting) call.write(request);
    call.end();
    for await (const answer of call) {
      checkTaken(answer);
      done(answer);
    }
  } finally {
    call.cancel();
  }
  if (waiting.length > 0) throw new TryAgain('the stream ended early');
}

/** Report all that wait, each by a call of its own. */
async function reportOneByOne(gateway, waiting, done) {
  while (waiting.length > 0) {
    const answer = await new Promise((resolve, reject) => {
      const deadline = Date.now() + CALL_DEADLINE_MS;
      gateway.ReportOnce(waiting[0].request, { deadline }, (error, said) => (error ? reject(error) : resolve(said)));
    });
    checkTaken(answer);
    done(answer);
  }
}

async function report(protocol, gateway, events, options) {
  const nation = nationOf(readFileSync(`${options.cert}.pem`));
  const exercise = options.exercise && exerciseOf(options.exercise);
  const at = timestamp(options.at ?? new Date().toISOString());
  const known = { ...options, nation, exercise, at };
  const waiting = events.map((event) => ({ event, request: launchRequest(event, known) }));
  const reportAll = options.once ? reportOneByOne : reportOnStream;
  let refused = 0;
  await persistently(protocol, options.timeoutMs, (answered) =>
    reportAll(gateway, waiting, (answer) => {
      answered();
      const { event } = waiting.shift(); // what is left is sent again if the gateway goes away
      console.log(JSON.stringify({ event, ...answer }));
      refused += answer.outcome === 'REPORT_OUTCOME_REFUSED' ? 1 : 0;
    }),
  );
  if (refused > 0) throw new Failed(`${refused} of ${events.length} reports refused`, EXIT.DENIED);
}

async function watch(protocol, gateway, options) {
  let position = options['resume-after'];
  let left = Number(options.count);
  await persistently(protocol, options.timeoutMs, async (answered) => {
    const call = gateway.Watch({ resume_after: position });
    try {
      for await (const response of call) {
        answered();
        console.log(JSON.stringify(response)); // deal with it first, and only then move on
        position = response.position;
        left -= response.event === 'warning' ? 1 : 0;
        if (left <= 0) return;
      }
    } finally {
      call.cancel();
    }
    throw new TryAgain('the stream ended');
  });
}

async function main() {
  const { values: options, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  const [command, ...events] = positionals;
  const understood = command === 'report' ? events.length > 0 : command === 'watch' && events.length === 0;
  if (!understood || !options.gateway || !options.cert || !options.root) throw new Failed(USAGE, EXIT.USAGE);
  options.timeoutMs = Number(options.timeout) * 1000;
  const protocol = loadProtocol(options.protos);
  const gateway = connect(protocol, options);
  try {
    await (command === 'report' ? report(protocol, gateway, events, options) : watch(protocol, gateway, options));
  } finally {
    gateway.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = error.exit ?? EXIT.USAGE; // a file that is not there, an option that does not exist
});
