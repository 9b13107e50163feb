/**
 * The worker's program. It is bundled into `program.ts` by `deno task build`
 * and started from that text.
 *
 * @module
 */

// The classes that arguments are revived as.
import "../../event.ts";
import "../../barrier.ts";
import type { Boot } from "../protocol.ts";
import { realm } from "../realm.ts";
import {
  dressWorkerScope,
  guardThread,
  leaveThread,
  printAtOnce,
} from "../runtime/this_thread.ts";
import { type Port, runHost, whenBooted } from "../runtime/threads.ts";
import { leaveIfTerminated, onChange } from "../wait.ts";
import { runProcess } from "./process.ts";
import { endThread } from "./report.ts";
import { runServer } from "./server.ts";

if (!runHost()) whenBooted(begin);

function begin(boot: Boot, port: Port): void {
  realm.process = { name: boot.name, id: boot.id };
  realm.counters = boot.counters;
  realm.lives = boot.lives;
  realm.workerUrl = boot.workerUrl;
  dressWorkerScope(boot.name, endThread);
  for (const life of boot.lives) onChange(life, 0, 0, leaveThread);
  guardThread(leaveIfTerminated);
  printAtOnce();
  switch (boot.job.kind) {
    case "process":
      return void runProcess(boot.job);
    case "server":
      return void runServer(boot.job, port);
  }
}
