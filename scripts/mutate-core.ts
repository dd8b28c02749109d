/**
 * Seeds faults into a copy of the queue, one at a time, and shows that the core's specs notice every one:
 *
 *   npm run mutate [-- <part of a name> …]
 *
 * Ends with an error when a fault survives, or when its text is not found exactly once: then the source has changed, and
 * so must the fault. The copy lies in the system's temporary folder and is removed at the end.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { printTable } from '../bench/table.js';

interface Fault {
  /** What goes wrong. */
  readonly name: string;
  /** In `libs/batching/src/core/`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** A fault that makes a test wait for ever is seen when the test's own limit is over, or the run's where it spins. */
const TEST_LIMIT = 5000;
const RUN_LIMIT = 90_000;
/** Specs that run only where those before them have noticed nothing, as they take longer. */
const LATER = [
  ['waiting-room', 'abuse', 'adaptive-policy'],
  ['laws', 'soak'],
];
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CORE = 'libs/batching/src/core';

const inQueue = (name: string, find: string, replace = ''): Fault => ({
  name,
  file: 'batch-queue.ts',
  find,
  replace,
});

const faults: readonly Fault[] = [
  // Admission.
  inQueue(
    'a queue that is stopping takes inputs',
    "} else if (this.#state === 'stopping' || this.#state === 'stopped') {",
    "} else if (this.#state === 'stopped') {",
  ),
  inQueue(
    'one more waits than maxQueued',
    'if (this.#room.length >= maxQueued) return false;',
    'if (this.#room.length > maxQueued) return false;',
  ),
  inQueue(
    'one more waits than maxQueued, on the short way in',
    'waiting < this.#options.maxQueued;',
    'waiting <= this.#options.maxQueued;',
  ),
  inQueue(
    'an empty queue refuses an input dearer than maxQueuedCost',
    'return !ticket || this.#room.length === 0 || ',
    'return !ticket || ',
  ),
  {
    name: 'an idle queue refuses an input for its timeout',
    file: 'forecast.ts',
    find: 'if (free > 0 && ahead < free * batchSize) return 0;',
    replace: 'if (free > 0 && ahead === 0) return 0;',
  },
  {
    name: 'what has been learned is trusted for ever',
    file: 'forecast.ts',
    find: ' * serviceTime.trust(now) - timeout',
    replace: ' - timeout',
  },
  {
    name: 'the wait is no number where batches have no bound',
    file: 'forecast.ts',
    find: 'batchesAhead === 0 ? rest : ',
    replace: '',
  },
  inQueue(
    'who is refused shall try again at once',
    'const retryAfter = Math.max(1, wait);',
    'const retryAfter = wait;',
  ),
  {
    name: 'the slots are forgotten in the expected wait',
    file: 'forecast.ts',
    find: '(batchesAhead * serviceTime.of(batchSize)) / concurrency',
    replace: 'batchesAhead * serviceTime.of(batchSize)',
  },
  {
    name: 'who comes just in time by the mean is taken in',
    file: 'forecast.ts',
    find: '4 * serviceTime.deviation',
    replace: '0 * serviceTime.deviation',
  },
  inQueue(
    'nobody at the door comes in when one who waits gives up',
    '    entry.reject(error);\n    this.#letIn();',
    '    entry.reject(error);',
  ),
  inQueue(
    'a larger maxQueued lets nobody in',
    'checkMaxQueued(value);\n    this.#letIn();',
    'checkMaxQueued(value);',
  ),
  inQueue('too many inputs at once are taken in part', ' && sizeOf(inputs) > maxQueued && ', ' && false && '),
  inQueue(
    'a size that is claimed is believed',
    'if (length <= maxQueued) return inputs.map((input) => this.submit(input, options));',
  ),
  inQueue('inputs that came in too great a number are not counted', 'this.#counts.refused += length;'),
  inQueue(
    'an input whose signal its own groupBy aborts is run',
    'if (ticket && this.#isRefused(entry, signal)) return;',
    '',
  ),
  inQueue(
    'an input whose groupBy drains belongs to the drain',
    'if (entry.turn !== this.#turn) entry.turn = this.#beginTurn();',
    '',
  ),
  inQueue(
    'an async groupBy makes a group of each input',
    'if (isThenable(group)) {',
    'if (isThenable(group) && !group) {',
  ),
  inQueue(
    'the promise of an async cost is unhandled',
    "if (typeof cost !== 'number') void ignoreRejection(cost);",
  ),
  inQueue(
    'options are read twice',
    'if (options) checkSubmitOptions(signal, timeout, priority);',
    'if (options) checkSubmitOptions(signal, timeout, options.priority);',
  ),
  inQueue(
    'an input whose signal cannot be listened to is run',
    "this.#giveUp(entry, 'aborted', error);\n    }\n  }",
    'entry.reject(error);\n    }\n  }',
  ),
  inQueue('a signal that aborts without a call is missed', 'else if (signal.aborted) onAborted();'),
  inQueue('who has gone is dropped again', "if (entry.place === 'gone') return;"),
  inQueue(
    'inputs that throw half way are taken in before',
    'const all = Array.from(inputs);',
    'if (!areTooMany) return Array.from(inputs, (input) => this.submit(input, options));\n    const all = Array.from(inputs);',
  ),
  // The decision.
  inQueue(
    'batches are formed before the sockets are read',
    'setImmediate(this.#endTurn)',
    'process.nextTick(this.#endTurn)',
  ),
  inQueue(
    'one batch too many runs',
    'const slotFree = this.#batches.size < concurrency;',
    'const slotFree = this.#batches.size <= concurrency;',
  ),
  inQueue(
    'an alarm that rings early is set again',
    'leaveAt <= Math.max(now, this.#rangFor)',
    'leaveAt <= now',
  ),
  inQueue(
    'a shorter delay waits for the old alarm',
    'if (this.#alarm.at > at || this.#alarm.isOverdue(now))',
    'if (this.#alarm.at === Infinity || this.#alarm.isOverdue(now))',
  ),
  inQueue('a full queue waits for more', 'this.#isFull || group.isFull', 'group.isFull'),
  inQueue(
    'the alarm outlives what waited',
    'this.#clearAlarms();\n    // One batch per turn',
    'void 0;\n    // One batch per turn',
  ),
  inQueue(
    'the alarm outlives who gave up',
    '    this.#letIn();\n    if (this.#room.length === 0) this.#clearAlarms();\n  }\n\n  /** The end',
    '    this.#letIn();\n  }\n\n  /** The end',
  ),
  inQueue(
    'what is left after a batch is forgotten',
    '    this.#decideAgain();\n    void this.#run(batch);',
    '    void this.#run(batch);',
  ),
  inQueue('a long backlog starves the event loop', ' && now - this.#polledAt < 1'),
  inQueue(
    'the batch function runs in the context of a caller',
    'this.#context.runInAsyncScope(this.#pump, this, this.#polledAt);',
    'this.#pump(this.#polledAt);',
  ),
  inQueue(
    'more slots are used only by the next input',
    'checkConcurrency(value);\n    this.#decideAgain();',
    'checkConcurrency(value);',
  ),
  // Clocks that come and go.
  inQueue(
    'an immediate is lost with a fake clock',
    'if (this.#immediateSetBy !== setImmediate) this.#setImmediate();',
    'if (!this.#immediateSetBy) this.#setImmediate();',
  ),
  inQueue(
    'an immediate that never comes is waited for',
    'else if ((waiting & (waiting - 1)) === 0) this.#checkImmediate();',
  ),
  inQueue(
    'moments of another clock are kept',
    'if (this.#clock !== setTimeout || now < this.#polledAt) this.#changeClock(now);',
  ),
  inQueue(
    'a run that hung under a fake clock hangs for ever',
    '    for (const { limit } of this.#batches) limit?.set(now + this.#options.runTimeout, now);\n',
  ),
  {
    name: 'an alarm that never rings is waited for',
    file: 'alarm.ts',
    find: 'return this.at < now;',
    replace: 'return false;',
  },
  {
    name: 'a fake clock is to clear a timer that is not its own',
    file: 'alarm.ts',
    find: 'this.#clearBy?.(this.#timer)',
    replace: 'clearTimeout(this.#timer as never)',
  },
  // Standstill.
  inQueue('a queue that waits for itself is not warned of', '    this.#hasWarned = true;\n', '    return;\n'),
  inQueue('the same standstill is warned of again and again', ' || this.#hasWarned) return;', ') return;'),
  inQueue(
    'a queue that waits for its lane is not warned of',
    '      this.#expectProgress(lane.progress, now);\n',
  ),
  inQueue(
    'inputs that wait for others are a standstill',
    'lane?.hasWaiting(this.#retry) ? lane.progress : undefined',
    'lane?.progress',
  ),
  inQueue('a standstill is watched while nothing waits', '    this.#standstill.clear();\n'),
  {
    name: 'a long batch is a standstill',
    file: 'progress.ts',
    find: 'Math.max(STANDSTILL, STANDSTILL_IN_BATCHES * this.#longest)',
    replace: 'STANDSTILL',
  },
  {
    name: 'a watch over the slots keeps the process alive',
    file: 'alarm.ts',
    find: 'if (!this.keepsAlive) this.unref();',
    replace: '',
  },
  {
    name: 'concurrency cannot be Infinity',
    file: 'options.ts',
    find: '(Number.isSafeInteger(value) || value === Infinity)',
    replace: 'Number.isSafeInteger(value)',
  },
  // Runs and results.
  inQueue(
    'callers hang when the batch function throws',
    '      this.#rejectAll(batch, error);\n    }\n    this.#end',
    '}\n    this.#end',
  ),
  inQueue('too many results are taken', 'list.length !== size', 'list.length < size'),
  inQueue(
    'a typed array is no answer',
    'Array.isArray(results) || types.isTypedArray(results)',
    'Array.isArray(results)',
  ),
  inQueue(
    'an Error is handed over as a value',
    'if (isError(result)) {',
    'if (isError(result) && !result) {',
  ),
  inQueue('who has gone is settled again', '} else if (entry.place === batch) {', '} else {'),
  inQueue('what has ended still counts as running', 'this.#counts.running -= batch.uncounted;'),
  inQueue('isolation stops at two', 'failed.length < 2', 'failed.length < 3'),
  inQueue(
    'isolation runs those again who have gone',
    'half.filter((entry) => entry.place === batch)',
    'half',
  ),
  inQueue('isolation goes on after an abort', ' || batch.isAborted) {', ') {'),
  inQueue('a run that hangs keeps its slot', '        this.#end(batch);\n      }, true);', '      }, true);'),
  inQueue('a run that hangs is not told', 'batch.abort(error);\n        this.#rejectAll', 'this.#rejectAll'),
  inQueue(
    'a batch that was given up ends twice',
    'if (!this.#batches.delete(batch)) return;',
    'this.#batches.delete(batch);',
  ),
  inQueue(
    'a batch ends before the promises in the places of its results',
    '      if (batch.late) await this.#settleLate(batch, batch.late);\n    } catch',
    '    } catch',
  ),
  inQueue(
    'isolation runs on before the promises in the places of results',
    '        if (batch.late) await this.#settleLate(batch, batch.late);\n        this.#count',
    '        this.#count',
  ),
  inQueue(
    'results that are late are counted only at the end',
    'this.#give(batch, entry, await result);\n      this.#count(batch);',
    'this.#give(batch, entry, await result);',
  ),
  inQueue(
    'promises among too many results are unhandled',
    'for (const result of Array.from(list)) void ignoreRejection(result);',
  ),
  inQueue(
    'a result that cannot be looked at hurts the next',
    'this.#reject(entry, error);\n    }\n  }\n\n  /** Waits for the promises',
    'this.#reject(entry, error);\n      throw error;\n    }\n  }\n\n  /** Waits for the promises',
  ),
  inQueue(
    'a listener that rejects is unhandled',
    'if (isThenable(returned)) returned.then(undefined, warn);',
    'void returned;',
  ),
  inQueue(
    'listeners that come while others are called are called',
    'of [...this.#listeners]',
    'of this.#listeners',
  ),
  {
    name: 'what has no text stops the queue when it is thrown',
    file: 'options.ts',
    find: '    return String(thrown);\n  } catch {',
    replace: '    return String(thrown);\n  } catch (error) {\n    if (error) throw error;',
  },
  {
    name: 'a message cannot be made of what a proxy hides',
    file: 'options.ts',
    find: "  } catch {\n    return 'an object';",
    replace: "  } catch (error) {\n    if (error) throw error;\n    return 'an object';",
  },
  inQueue('a batch keeps its slot of the lane', 'this.#options.lane?.leave(ran);'),
  // Giving up, draining and stopping.
  inQueue('a batch that everybody left is not told', '    place.abortIfDeserted(error);\n'),
  {
    name: 'giving up looks at every input of the batch',
    file: 'batch.ts',
    find: 'if (this.remaining === this.uncounted)',
    replace: 'if (![...this].some((entry) => entry.place === this))',
  },
  inQueue(
    'a signal of a caller who waits computes on',
    'this.#drop(entry, reason, error);\n      return;',
    'return;',
  ),
  inQueue('timers and listeners stay behind', 'entry.extras?.onLeave?.();'),
  {
    name: 'a drain waits out the delay',
    file: 'drains.ts',
    find: 'return this.resolve !== undefined;',
    replace: 'return false;',
  },
  {
    name: 'a drain behind one that has ended is forgotten',
    file: 'drains.ts',
    find: '      this.#oldest = epoch.next;\n',
    replace: '      this.#oldest = epoch.next;\n      break;\n',
  },
  {
    name: 'a drain does not wait for what earlier drains wait for',
    file: 'drains.ts',
    find: 'epoch.pending === 0 && epoch.next;',
    replace: 'epoch.next;',
  },
  inQueue(
    'who comes in by the door counts twice for a drain',
    "if (entry.place === 'nowhere') entry.turn.epoch.pending++;",
    'entry.turn.epoch.pending++;',
  ),
  inQueue(
    'a drain hurries those who come after it',
    '    this.#turn = undefined;\n    this.#decideAgain();',
    '    this.#decideAgain();',
  ),
  inQueue(
    'a hard stop waits for what waits',
    '      this.#dropAll();\n      for (const batch',
    '      for (const batch',
  ),
  inQueue(
    'a stop at its time limit leaves running callers',
    'this.#rejectAll(batch, error);\n      batch.abort(error);',
    'batch.abort(error);',
  ),
  inQueue('a queue that has stopped keeps the process alive', 'batch.limit?.unref();', 'void batch;'),
  // What waits.
  {
    name: 'the last of a line is lost when one leaves the middle',
    file: 'waiting-line.ts',
    find: 'if (!next) this.#last = previous;\n    else if',
    replace: 'if',
  },
  {
    name: 'who is behind one that left has it before it still',
    file: 'waiting-line.ts',
    find: 'else if (next.extras) next.extras.previous = previous;',
    replace: '',
  },
  {
    name: 'who is first after a cut has someone before it',
    file: 'waiting-line.ts',
    find: 'if (rest?.extras) rest.extras.previous = undefined;',
    replace: '',
  },
  {
    name: 'groups are never forgotten',
    file: 'waiting-room.ts',
    find: 'this.#groups.delete(group.key);',
    replace: '',
  },
  {
    name: 'waiting is worth nothing against priority',
    file: 'waiting-room.ts',
    find: ' * aging - (first.turn.at - otherFirst.turn.at)',
    replace: '',
  },
  {
    name: 'tenants do not take turns',
    file: 'waiting-room.ts',
    find: '      line.level.turnOver(line);\n',
    replace: '',
  },
  {
    name: 'a group that is not full holds up one that is',
    file: 'waiting-room.ts',
    find: 'if (isFull !== other.isFull(this.#batchSize, this.#maxCost)) return isFull;',
    replace: '',
  },
  {
    name: 'groups are not sorted anew when the batch size changes',
    file: 'waiting-room.ts',
    find: 'this.#ranking.rebuild();',
    replace: '',
  },
  {
    name: 'a line keeps its place when its first input has left',
    file: 'waiting-room.ts',
    find: '      group.rank(line);\n',
    replace: '',
  },
  {
    name: 'what falls behind in a heap keeps its place',
    file: 'heap.ts',
    find: 'if (!child || !this.isBefore(child, item)) break;',
    replace: 'if (child || !child) break;',
  },
  {
    name: 'a group is looked for among all of them',
    file: 'heap.ts',
    find: '  get first(): T | undefined {\n',
    replace: '  get first(): T | undefined {\n    this.rebuild();\n',
  },
  {
    name: 'batches cost more than maxCost',
    file: 'waiting-room.ts',
    find: 'if (cost > maxCost) break;',
    replace: '',
  },
  {
    name: 'in the forecast the lower priorities are ahead',
    file: 'tally.ts',
    find: 'if (node.key < key) {\n        node = node.right;',
    replace: 'if (node.key > key) {\n        node = node.right;',
  },
  // What is shared between queues and inputs.
  { name: 'queues of a lane do not take turns', file: 'lane.ts', find: ' || first !== retry', replace: '' },
  {
    name: 'slots that become free together stay free',
    file: 'lane.ts',
    find: '    this.#callNext();\n    return true;',
    replace: '    return true;',
  },
  {
    name: 'a lane waits for a queue that has nothing to send',
    file: 'lane.ts',
    find: 'if (this.#waiting.delete(retry)) this.#callNext();',
    replace: 'this.#waiting.delete(retry);',
  },
  {
    name: 'a listener for each input of a signal',
    file: 'abort-listener.ts',
    find: 'const known = listened.get(signal);',
    replace: 'const known = undefined as Listened | undefined;',
  },
  {
    name: 'an abort without a reason rejects with undefined',
    file: 'abort-listener.ts',
    find: 'if (reason !== undefined) return reason;',
    replace: 'return reason;',
  },
  {
    name: 'a signal that cannot remove a listener gets one for each input',
    file: 'abort-listener.ts',
    find: "    if (typeof signal.removeEventListener !== 'function') return;\n",
    replace: '',
  },
  {
    name: 'a signal that fails to remove its listener hurts the batch',
    file: 'abort-listener.ts',
    find: '  } catch {\n    // It calls nobody any more.\n  }',
    replace: '  } finally {\n    void 0;\n  }',
  },
  {
    name: 'a batch is not deserted while its results are counted',
    file: 'batch.ts',
    find: 'if (this.remaining === this.uncounted)',
    replace: 'if (this.remaining === 0)',
  },
  {
    name: 'the reason of an abort changes',
    file: 'batch.ts',
    find: 'if (this.#aborted) return;',
    replace: '',
  },
  {
    name: 'errors of another copy are not known',
    file: 'errors.ts',
    find: 'if (!key) return',
    replace: 'return',
  },
  {
    name: 'every error is an instance of every subclass',
    file: 'errors.ts',
    find: 'const key = brands.get(this);',
    replace: 'const key = brands.get(this) ?? brands.get(BatchingError);',
  },
  // What is learned.
  {
    name: 'a batch is expected to take no time at a constant size',
    file: 'service-time.ts',
    find: '(0.05 * this.#size) ** 2',
    replace: '0',
  },
  {
    name: 'a stall is learned as it was',
    file: 'service-time.ts',
    find: 'this.isKnown ? Math.min(Math.max(ran, likely.least), likely.most) : ran',
    replace: 'ran',
  },
  {
    name: 'batches that hung together are a load that has changed',
    file: 'service-time.ts',
    find: 'if (now - ran < this.#surprisedAt) return;',
    replace: '',
  },
  {
    name: 'a load that has changed is never believed',
    file: 'service-time.ts',
    find: 'if (this.#isSurprised || this.#weight === 1)',
    replace: 'if (this.#weight === 1)',
  },
  {
    name: 'a stall at the very beginning is believed',
    file: 'service-time.ts',
    find: 'if (this.#isSurprised || this.#weight === 1)',
    replace: 'if (this.#isSurprised)',
  },
  {
    name: 'the adaptive wait has no cap',
    file: 'adaptive-policy.ts',
    find: 'Math.min(leaveAt, latest)',
    replace: 'leaveAt',
  },
  {
    name: 'waits in vain are forgotten as slowly as others',
    file: 'adaptive-policy.ts',
    find: 'const MEMORY_IN_VAIN = 0.25;',
    replace: 'const MEMORY_IN_VAIN = MEMORY;',
  },
  {
    name: 'the adaptive wait counts only those who wait',
    file: 'adaptive-policy.ts',
    find: 'const delayed = waiting + others + missed + returned;',
    replace: 'const delayed = waiting;',
  },
  {
    name: 'the adaptive wait does not look beyond the next input',
    file: 'adaptive-policy.ts',
    find: 'best = Math.max(best, gain);',
    replace: '',
  },
  {
    name: 'who follows is expected however late the next input is',
    file: 'adaptive-policy.ts',
    find: '(upper <= soon ? ahead : 0)',
    replace: 'ahead',
  },
  {
    name: 'what follows an input is not watched while a batch runs',
    file: 'adaptive-policy.ts',
    find: 'else this.#watch(this.#afterArrival.at(together), now);',
    replace: 'else this.#situation = undefined;',
  },
  {
    name: 'old figures stay in the stats',
    file: 'distribution.ts',
    find: 'this.#current.clear();',
    replace: '',
  },
];

const wanted = process.argv.slice(2);
const chosen = faults.filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
if (chosen.length === 0) throw new Error(`no fault is called like ${wanted.join(' or ')}`);
for (const { name, file, find } of chosen) {
  const times = readFileSync(join(ROOT, CORE, file), 'utf8').split(find).length - 1;
  if (times !== 1) throw new Error(`${name}: its text is ${times} times in ${file}, not once`);
}

const copy = mkdtempSync(join(tmpdir(), 'mutate-core-'));
process.on('exit', () => {
  rmSync(copy, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

for (const path of [CORE, 'bench', 'jest.config.js', 'package.json', 'tsconfig.json']) {
  cpSync(join(ROOT, path), join(copy, path), { recursive: true });
}
symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));

/** Ends the run at the first test that fails, by its name. */
const REPORTER = 'first-failure.mjs';
writeFileSync(
  join(copy, REPORTER),
  `import { writeSync } from 'node:fs';
   export default class {
     onTestCaseResult(_, { status, fullName }) {
       if (status !== 'failed') return;
       writeSync(1, fullName);
       process.exit(1);
     }
     onTestFileResult(_, { testExecError }) {
       if (testExecError) console.error(testExecError);
     }
     onRunComplete(_, { numRuntimeErrorTestSuites }) {
       process.exit(numRuntimeErrorTestSuites > 0 ? 1 : 0);
     }
   }`,
);

const specs = readdirSync(join(copy, CORE)).filter((name) => name.endsWith('.spec.ts'));
const later = LATER.map((parts) => specs.filter((spec) => parts.some((part) => spec.includes(part))));
const rounds = [specs.filter((spec) => !later.flat().includes(spec)), ...later];

const failing = await failingTest(600_000);
if (failing !== undefined) throw new Error(`the specs fail without any fault: ${failing}`);
const rows = [['fault', 'in', 'seconds', 'noticed by']];
let survivors = 0;
for (const [index, { name, file, find, replace }] of chosen.entries()) {
  process.stderr.write(`${index + 1}/${chosen.length} ${name} … `);
  const path = join(copy, CORE, file);
  const source = readFileSync(path, 'utf8');
  const start = performance.now();
  writeFileSync(
    path,
    source.replace(find, () => replace),
  );
  const noticedBy = await failingTest(RUN_LIMIT);
  writeFileSync(path, source);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (noticedBy === undefined) survivors++;
  process.stderr.write(`${noticedBy === undefined ? 'SURVIVED' : 'killed'}, ${seconds} s\n`);
  rows.push([name, file, seconds, noticedBy ?? 'NOBODY']);
}
printTable(rows);
console.log(`${chosen.length - survivors} of ${chosen.length} faults killed`);
process.exitCode = survivors > 0 ? 1 : 0;

/** The first test of the core's specs that fails; undefined if all pass. */
async function failingTest(limit: number): Promise<string | undefined> {
  for (const round of rounds) {
    const failure = await failingTestOf(round, limit);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

async function failingTestOf(round: string[], limit: number): Promise<string | undefined> {
  const jest = join(copy, 'node_modules/jest/bin/jest.js');
  const options = ['--runInBand', '--silent', '--testTimeout', String(TEST_LIMIT)];
  const places = ['--reporters', join(copy, REPORTER), '--cacheDirectory', join(copy, '.cache')];
  const paths = round.map((spec) => join(CORE, spec));
  const child = spawn(
    process.execPath,
    ['--no-warnings', '--experimental-vm-modules', jest, ...options, ...places, '--runTestsByPath', ...paths],
    { cwd: copy, stdio: ['ignore', 'pipe', 'inherit'], timeout: limit, killSignal: 'SIGKILL' },
  );
  let failure = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (failure += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === null) return `none: the specs did not end within ${limit / 1000} s`;
  if (code !== 0 && failure === '') throw new Error('the specs could not be run');
  return failure || undefined;
}
