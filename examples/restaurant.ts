/**
 * A restaurant and a diner: two processes that take turns through one event, and
 * a barrier that sees to it that no pulse is missed.
 *
 * Run it with `deno run examples/restaurant.ts` or
 * `bun run examples/restaurant.ts`; `--fast` after the name shortens the pauses.
 *
 * @module
 */

import { Barrier, Event, Process } from "../mod.ts";

const RESTAURANT = [
  "1. restaurant: Good evening, a table for one? This way, please.",
  "3. restaurant: Here is the menu. The soup is fresh today.",
  "5. restaurant: Your soup. Careful, it is hot.",
  "7. restaurant: I am glad to hear it. Here is the bill.",
];
const DINER = [
  "2. diner: Thank you. May I see the menu?",
  "4. diner: Then I take the soup.",
  "6. diner: That was delicious.",
  "8. diner: Keep the change. Good night!",
];

/**
 * One side of the conversation. It is sent to its process as source text, so
 * it uses nothing but its arguments and globals.
 *
 * A turn is passed on by a pulse: `set(); clear(); await wait()`. Such a pulse
 * releases the waits that began before it and no others, which leaves two ways
 * to lose one and wait for ever:
 *
 * - at the start, when one side speaks before the other has come to its wait;
 * - later, when one side answers while the other is between its `clear()` and
 *   its `wait()`. A pause before the answer makes that unlikely, not
 *   impossible. Beginning the wait before the `set()` is no way out: one's own
 *   pulse would end it. Nor can the event itself tell when a wait has begun, as
 *   a wait changes nothing that the other side could see.
 *
 * So both sides meet at a barrier before each line. Whoever listens begins its
 * wait first and then goes to the barrier; whoever speaks goes to the barrier
 * first. Once the barrier lets the speaker through, the listener's wait has
 * begun, and only then does the speaker pulse: that pulse cannot be missed. Nor
 * can a side be released by its own pulse, as its wait begins after its
 * `clear()`. So there is exactly one speaker at any time, and each pulse hands
 * the turn to the other side, however slowly either of them runs.
 */
async function converse(
  event: Event,
  listening: Barrier,
  lines: string[],
  begins: boolean,
  hasLastWord: boolean,
  fast: boolean,
) {
  const pause = () =>
    new Promise((resolve) =>
      setTimeout(resolve, (1000 + Math.random() * 2000) / (fast ? 50 : 1))
    );
  const listen = async () => {
    const turn = event.wait(); // has begun when it returns
    await listening.wait();
    await turn;
  };

  if (!begins) await listen();
  for (const [i, line] of lines.entries()) {
    await listening.wait(); // now the other side's wait has begun
    await pause();
    console.log(line);
    event.set();
    event.clear();
    if (!hasLastWord || i < lines.length - 1) await listen();
  }
}

if (import.meta.main) {
  // deno-lint-ignore no-process-global
  const fast = process.argv.includes("--fast");
  const event = new Event();
  const listening = new Barrier(2);
  const restaurant = new Process(converse, {
    name: "restaurant",
    args: [event, listening, RESTAURANT, true, false, fast],
  });
  const diner = new Process(converse, {
    name: "diner",
    args: [event, listening, DINER, false, true, fast],
  });
  restaurant.start();
  diner.start();
  await restaurant.join();
  await diner.join();
}
