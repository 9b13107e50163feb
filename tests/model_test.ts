// Every interleaving of a few actors, for what is hardest: the module's own code
// runs under an explorer that stops it at each operation on shared memory. See
// model/machine.ts for how, and model/scenarios.ts for what must be true.
//
// Long scenarios are explored up to a number of stops, which is how often an
// actor is interrupted although it could go on.
//
// The order of steps is the explorer's and no engine's, so one explores them.

import { after, before, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { explore, interpose, restore, type Result } from "./model/machine.ts";
import {
  barriers,
  claims,
  consumers,
  events,
  lanes,
  type Maker,
} from "./model/scenarios.ts";
import { type Edit, withSources } from "./model/sources.ts";

const timeout = 120_000;

/** What is explored here. */
const explored = <T>(all: T[]): T[] => "Deno" in globalThis ? all : [];

before(interpose);
after(restore);

function run(maker: Maker, edits: Edit[] = []): Promise<Result> {
  return withSources(
    edits,
    async (sources) => await explore(await maker(sources)),
  );
}

const small = { calls: 256, answers: 256, definitions: 128 };

/** What ends more cycles badly than a barrier remembers. */
const BAD_ENDS = Array.from(
  { length: 5 },
  () => ["wait or time out", "reset"] as const,
).flat();

/** A text that goes as a message. */
const LONG = 100;

const scenarios: Maker[] = [
  events("A set() releases every wait before it, whatever follows", {
    A: ["wait"],
    B: ["set", "clear"],
    C: ["set", "clear"],
  }),
  events("Two async waits of one thread are both woken by a pulse", {
    A: ["wait async", "wait async"],
    B: ["set", "clear"],
    C: ["set"],
  }),
  events("A wait that times out takes no other's pulse away", {
    A: ["wait or time out"],
    B: ["set", "clear"],
    C: ["wait async"],
  }),
  events("Who sets an event dies between any two steps", {
    A: ["wait"],
    B: ["wait async"],
    C: ["set"],
    D: ["set"],
  }, { mortal: "C", last: "D" }),
  barriers("Two parties pass two cycles", { parties: 2 }, {
    A: ["wait", "wait"],
    B: ["wait", "wait"],
  }),
  barriers("Three parties pass a cycle", { parties: 3, stops: 2 }, {
    A: ["wait"],
    B: ["wait"],
    C: ["wait"],
  }),
  barriers("A party times out as the last one arrives", { parties: 2 }, {
    A: ["wait"],
    B: ["wait or time out"],
  }),
  barriers("A barrier is aborted while a party gives up", {
    parties: 2,
    stops: 2,
  }, {
    A: ["wait"],
    B: ["wait or time out"],
    C: ["abort"],
  }),
  barriers("A barrier is reset between two cycles", { parties: 2, stops: 1 }, {
    A: ["wait", "wait"],
    B: ["wait", "wait"],
    C: ["reset"],
  }),
  barriers("Who ends a cycle dies between any two steps", {
    parties: 2,
    stops: 2,
    mortal: "C",
    last: "D",
  }, {
    A: ["wait"],
    B: ["look"],
    C: ["reset", "abort"],
    D: ["reset"],
  }),
  barriers("The last to arrive dies between any two steps", {
    parties: 2,
    mortal: "B",
    last: "C",
  }, {
    A: ["wait"],
    B: ["wait"],
    C: ["wait"],
  }),
  barriers("Who runs the action dies between any two steps", {
    parties: 2,
    action: "() => {}",
    mortal: "B",
    last: "C",
  }, {
    A: ["wait"],
    B: ["wait"],
    C: ["wait"],
  }),
  barriers("A party sleeps through more bad ends than are remembered", {
    parties: 2,
    stops: 1,
  }, {
    A: ["wait", "wait"],
    B: ["reset", "reset", "abort", "reset", "reset", "reset", "reset"],
    C: ["wait"],
  }),
  barriers("A party sleeps through its history in the midst of asking", {
    parties: 3,
    stops: 1,
  }, {
    A: ["wait"],
    B: BAD_ENDS,
  }),
  barriers("A latecomer to an action gives up", {
    parties: 2,
    action: "() => {}",
    stops: 2,
  }, {
    A: ["wait"],
    B: ["wait"],
    C: ["wait or time out"],
  }),
  barriers("An action throws while the barrier is aborted", {
    parties: 2,
    action: "() => { throw new Error('action'); }",
    stops: 2,
  }, {
    A: ["wait"],
    B: ["wait"],
    C: ["abort"],
  }),
  claims("A call is claimed or taken back, and never both", [
    "send",
    "send",
    "take back",
    "send",
  ], 4),
  claims("A call is claimed or the last one taken back, and never both", [
    "send",
    "send",
    "take back the last",
    "send",
    "take back the last",
    "take back the last",
  ], 3),
  consumers("A consumer sleeps through no announcement of one thread", [2]),
  consumers("A consumer sleeps through no announcement of two threads", [1, 1]),
  consumers("A consumer that naps finds what came meanwhile", [1, 1], 2),
  lanes("Calls get to a worker and answers back", small, [4, 4], 1),
  lanes("Calls are taken back and sent again", small, [
    4,
    30,
    "take back",
    12,
    "send what came back",
  ], 0),
  lanes(
    "A function comes as a message where its text does not fit",
    { ...small, definitions: 16 },
    [4],
    2,
  ),
  lanes("Payloads and results come as messages", small, [LONG], 2),
  lanes("Calls come as frames and as messages", small, [4, LONG], 1),
  lanes("A call is withdrawn whose payload cannot be sent", small, [
    "withdraw",
    LONG,
  ], 1),
  lanes("Calls with messages are taken back and sent again", small, [
    LONG,
    "take back",
    4,
    "send what came back",
  ], 1),
  lanes("A worker claims while the pool takes back", small, [
    4,
    "take back",
    "send what came back",
  ], 2),
  lanes(
    "Calls and answers wrap around their rings",
    { ...small, answers: 128 },
    [10, 20, 7, 15, 3, 10],
    0,
  ),
];

for (const maker of explored(scenarios)) {
  test(`Model: ${maker.title}`, { timeout }, async () => {
    const { states, error } = await run(maker);
    assertEquals(error, undefined, JSON.stringify(error, undefined, 2));
    assert(states > 50, `only ${states} states`);
  });
}

/** Mistakes, and the scenario that must show each. */
const mistakes: [title: string, maker: Maker, ...edits: Edit[]][] = [
  [
    "a wait that reads the word after it has looked",
    events("", { A: ["wait"], B: ["set"] }),
    {
      file: "_internal/wait.ts",
      find: `      const seen = load(this.#cells, this.#index);
      value = poll();
      if (value !== undefined) break;`,
      replace: `      value = poll();
      if (value !== undefined) break;
      const seen = load(this.#cells, this.#index);`,
    },
  ],
  [
    "an event that forgets a flag that was up",
    events("", { A: ["wait"], B: ["set", "set", "clear"] }),
    {
      file: "event.ts",
      find: "if (first & FLAG) return () => true;",
      replace: "if (first & FLAG) return this.#pulse();",
    },
  ],
  [
    "a set() that does not wake",
    events("", { A: ["wait async"], B: ["set"] }),
    { file: "event.ts", find: "this.#bell.ring();", replace: "" },
  ],
  [
    "a set() that wakes nobody as the flag is up",
    events("", { A: ["wait"], B: ["set"], C: ["set"] }, {
      mortal: "B",
      last: "C",
    }),
    {
      file: "event.ts",
      find: "if (word & FLAG) break;",
      replace: "if (word & FLAG) return;",
    },
  ],
  [
    "a first party that wakes nobody of the cycle before",
    barriers("", { parties: 2, mortal: "B", last: "C" }, {
      A: ["wait"],
      B: ["wait"],
      C: ["wait"],
    }),
    {
      file: "barrier.ts",
      find: '(arrival.kind === "waiting" && arrival.place.index === 0)',
      replace: "false",
    },
  ],
  [
    "a party that arrives without an exchange",
    barriers("", { parties: 2 }, { A: ["wait"], B: ["wait"] }),
    {
      file: "_internal/barrier_state.ts",
      find:
        'if (this.#exchange(word, next)) return { kind: "waiting", place };',
      replace: "Atomics.store(this.cells, WORD, next);" +
        'return { kind: "waiting", place };',
    },
  ],
  [
    "a history that is written after the count",
    barriers("", { parties: 2, stops: 1, mortal: "C" }, {
      A: ["wait", "wait"],
      B: ["wait", "look"],
      C: ["reset"],
    }),
    {
      file: "_internal/barrier_state.ts",
      find: "      Atomics.compareExchange(cells, cell, old, generation);\n",
      replace: "",
    },
    {
      file: "_internal/barrier_state.ts",
      find: "Atomics.compareExchange(cells, BAD, bad, (bad + 1) | 0);",
      replace: "Atomics.compareExchange(cells, BAD, bad, (bad + 1) | 0);" +
        "Atomics.compareExchange(cells, cell, old, generation);",
    },
  ],
  [
    "a party that asks how old its history is before it reads that",
    barriers("", { parties: 3, stops: 1 }, {
      A: ["wait"],
      B: BAD_ENDS,
    }),
    {
      file: "_internal/barrier_state.ts",
      find: `    const first = Atomics.load(this.cells, historyCell(place.bad));
    const since = (Atomics.load(this.cells, BAD) - place.bad) >>> 0;`,
      replace:
        `    const since = (Atomics.load(this.cells, BAD) - place.bad) >>> 0;
    const first = Atomics.load(this.cells, historyCell(place.bad));`,
    },
  ],
  [
    "a party that gives up after all have arrived",
    barriers("", { parties: 2, action: "() => {}" }, {
      A: ["wait or time out"],
      B: ["wait"],
    }),
    {
      file: "_internal/barrier_state.ts",
      find: `        this.#generation(word) !== place.generation ||
        (word & 7) !== Phase.Filling
      ) return false;`,
      replace: `        this.#generation(word) !== place.generation
      ) return false;`,
    },
  ],
  [
    "a claim without an exchange",
    claims("", ["send", "take back"], 2),
    {
      file: "_internal/claim.ts",
      find: `    const next = (seen & ~MASK) | ((claimed + 1) & MASK);
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return true;`,
      replace:
        `    Atomics.store(cells, word, (seen & ~MASK) | ((claimed + 1) & MASK));
    return true;`,
    },
  ],
  [
    "taking back without an exchange",
    claims("", ["send", "take back"], 2),
    {
      file: "_internal/claim.ts",
      find:
        "if (Atomics.compareExchange(cells, word, seen, next) === seen) return count;",
      replace: "Atomics.store(cells, word, next); return count;",
    },
  ],
  [
    "taking back the last call without an exchange",
    claims("", ["send", "take back the last"], 2),
    {
      file: "_internal/claim.ts",
      find: `    const next = ((sent - 1) << 16) | (seen & MASK);
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return true;`,
      replace:
        `    Atomics.store(cells, word, ((sent - 1) << 16) | (seen & MASK));
    return true;`,
    },
  ],
  [
    "a consumer that announces its sleep too late",
    consumers("", [1]),
    {
      file: "_internal/consumer.ts",
      find: "      store(cells, asleep, 1);\n",
      replace: "",
    },
    {
      file: "_internal/consumer.ts",
      find: "const wake = waitAsync(cells, word, seen, longest);",
      replace: "Atomics.store(cells, asleep, 1);" +
        "const wake = waitAsync(cells, word, Atomics.load(cells, word), longest);",
    },
  ],
  [
    "frames that are sent again where the old ones end",
    lanes("", small, [4, 30, "take back", 12, "send what came back"], 0),
    {
      file: "_internal/shared_channel.ts",
      find: "    this.#at = entries[0]!.from;\n",
      replace: "",
    },
  ],
  [
    "a function that is told of after the call of it",
    lanes("", small, [4], 1),
    {
      file: "_internal/definitions.ts",
      find: "Atomics.store(words, END, end);",
      replace: "queueMicrotask(() => Atomics.store(words, END, end));",
    },
  ],
  [
    "a ring that leads nobody to its beginning",
    lanes("", { ...small, answers: 128 }, [10, 20, 7, 15, 3, 10], 0),
    {
      file: "_internal/ring.ts",
      find: "ring.words[from >> 2] = -1;",
      replace: "ring.words[from >> 2] = 8;",
    },
  ],
  [
    "an answer that is announced before it is there",
    lanes("", small, [4], 1),
    {
      file: "_internal/worker/shared_lane.ts",
      find: `    Atomics.store(this.#cells, LaneCell.Written, end);
    Atomics.add(this.#bell, BellCell.Answers, 1);
`,
      replace: `    Atomics.add(this.#bell, BellCell.Answers, 1);
    this.#ring();
    Atomics.store(this.#cells, LaneCell.Written, end);
`,
    },
    {
      file: "_internal/worker/shared_lane.ts",
      find: "AnswerFrame.Value, time);\n      this.#ring();",
      replace: "AnswerFrame.Value, time);",
    },
  ],
  [
    "a payload that is posted before its frame, which does not ring",
    lanes("", small, [LONG], 1),
    {
      file: "_internal/shared_channel.ts",
      find: "this.#publish(call, at, values, fn, this.#payloadsPosted, true);",
      replace: "const number = this.#payloadsPosted; queueMicrotask(() => " +
        "this.#publish(call, at, values, fn, number, true));",
    },
  ],
  [
    "a payload that wakes nobody",
    lanes("", small, [LONG], 1),
    {
      file: "_internal/worker/shared_lane.ts",
      find: "    this.#consumer.rouse();\n",
      replace: "",
    },
  ],
  [
    "a result that is posted before its frame, which does not ring",
    lanes("", small, [LONG], 1),
    {
      file: "_internal/worker/shared_lane.ts",
      find: `      this.#publish(at, at + HEADER, AnswerFrame.Posted, time);
      this.#runner.answer(task, outcome);
`,
      replace: `      this.#runner.answer(task, outcome);
      this.#publish(at, at + HEADER, AnswerFrame.Posted, time);
`,
    },
  ],
  [
    "a nap without an end",
    consumers("", [1], 1),
    {
      file: "_internal/consumer.ts",
      find: "load(cells, word), NAP_MS, true",
      replace: "load(cells, word), Infinity, true",
    },
  ],
  [
    "a place in the queue that is taken for granted",
    consumers("", [2]),
    {
      file: "_internal/consumer.ts",
      find: "      mark(false);\n",
      replace: "",
    },
  ],
];

for (const [title, maker, ...edits] of explored(mistakes)) {
  test(`Model: finds ${title}`, { timeout }, async () => {
    const { error } = await run(maker, edits);
    assert(error !== undefined, "nothing was found");
    assert(!error.message.startsWith("more than"), error.message);
    assert(error.steps.length > 0, error.message);
  });
}
