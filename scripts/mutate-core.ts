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
import { progressBar } from '@app/figures';
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

const inSession = (name: string, find: string, replace = ''): Fault => ({
  name,
  file: 'session.ts',
  find,
  replace,
});

const faults: readonly Fault[] = [
  // Admission.
  {
    name: 'a queue that is stopping takes inputs',
    file: 'batch-queue.ts',
    find: '    this.#admission.close();\n',
    replace: '',
  },
  {
    name: 'one more waits than maxQueued',
    file: 'admission.ts',
    find: 'if (this.room.length >= maxQueued) return false;',
    replace: 'if (this.room.length > maxQueued) return false;',
  },
  {
    name: 'one more waits than maxQueued, on the short way in',
    file: 'admission.ts',
    find: 'this.room.length < this.options.maxQueued)',
    replace: 'this.room.length <= this.options.maxQueued)',
  },
  {
    name: 'an empty queue refuses an input dearer than maxQueuedCost',
    file: 'admission.ts',
    find: 'return !ticket || this.room.length === 0 || ',
    replace: 'return !ticket || ',
  },
  {
    name: 'an idle queue refuses an input for its timeout',
    file: 'dispatch/forecast.ts',
    find: 'if (free > 0 && ahead < free * batchSize) return 0;',
    replace: 'if (free > 0 && ahead === 0) return 0;',
  },
  {
    name: 'what has been learned is trusted for ever',
    file: 'dispatch/forecast.ts',
    find: ' * serviceTime.trust(now) - timeout',
    replace: ' - timeout',
  },
  {
    name: 'the wait is no number where batches have no bound',
    file: 'dispatch/forecast.ts',
    find: 'batchesAhead === 0 ? rest : ',
    replace: '',
  },
  {
    name: 'a refused caller shall try again at once',
    file: 'admission.ts',
    find: 'const retryAfter = Math.max(1, wait);',
    replace: 'const retryAfter = wait;',
  },
  {
    name: 'the slots are forgotten in the expected wait',
    file: 'dispatch/forecast.ts',
    find: '(batchesAhead * serviceTime.of(batchSize)) / concurrency',
    replace: 'batchesAhead * serviceTime.of(batchSize)',
  },
  {
    name: 'an input that is just in time by the mean is taken in',
    file: 'dispatch/forecast.ts',
    find: '4 * serviceTime.deviation',
    replace: '0 * serviceTime.deviation',
  },
  {
    name: 'no caller at the door comes in when a waiting one gives up',
    file: 'admission.ts',
    find: '    entry.reject(error);\n    this.letIn();',
    replace: '    entry.reject(error);',
  },
  {
    name: 'a larger maxQueued lets no caller in',
    file: 'batch-queue.ts',
    find: "checkOption('maxQueued', value);\n    this.#admission.letIn();",
    replace: "checkOption('maxQueued', value);",
  },
  {
    name: 'too many inputs at once are taken in part',
    file: 'admission.ts',
    find: ' && sizeOf(inputs) > maxQueued && ',
    replace: ' && sizeOf(inputs) < 0 && ',
  },
  {
    name: 'a size that is claimed is believed',
    file: 'admission.ts',
    find: '    if (length <= maxQueued) return undefined;\n',
    replace: '',
  },
  {
    name: 'inputs that came in too great a number are not counted',
    file: 'admission.ts',
    find: "    this.queue.ledger.refuse('full', length);\n",
    replace: '',
  },
  {
    name: 'an input whose signal its own groupBy aborts is run',
    file: 'admission.ts',
    find: 'if (!this.#takesAsIs && this.#isRefused(entry, signal)) return;',
    replace: '',
  },
  {
    name: 'an input whose groupBy drains belongs to the drain',
    file: 'admission.ts',
    find: '    entry.turn = turns.begin();\n',
    replace: '',
  },
  {
    name: 'an async groupBy makes a group of each input',
    file: 'admission.ts',
    find: 'if (!isThenable(key)) return key;',
    replace: 'if (key || !isThenable(key)) return key;',
  },
  {
    name: 'the promise of an async cost is unhandled',
    file: 'admission.ts',
    find: "if (typeof cost !== 'number') void ignoreRejection(cost);",
    replace: '',
  },
  {
    name: 'options are read twice',
    file: 'admission.ts',
    find: 'if (options) checkSubmitOptions(signal, timeout, priority);',
    replace: 'if (options) checkSubmitOptions(signal, timeout, options.priority);',
  },
  {
    name: 'an input whose signal cannot be listened to is run',
    file: 'admission.ts',
    find: "this.#giveUp(entry, 'aborted', error);\n    }\n  }",
    replace: 'entry.reject(error);\n    }\n  }',
  },
  {
    name: 'a signal that aborts without a call is missed',
    file: 'admission.ts',
    find: 'else if (signal.aborted) onAborted();',
    replace: '',
  },
  {
    name: 'an input that has ended is dropped again',
    file: 'admission.ts',
    find: "if (place === 'gone') return;",
    replace: '',
  },
  inQueue(
    'inputs that throw half way are taken in before',
    'const all = Array.from(inputs);',
    'if (!areTooMany) return Array.from(inputs, (input) => this.submit(input, options));\n    const all = Array.from(inputs);',
  ),
  // The decision.
  {
    name: 'batches are formed before the sockets are read',
    file: 'turns.ts',
    find: 'setImmediate(this.#end)',
    replace: 'process.nextTick(this.#end)',
  },
  {
    name: 'one batch too many runs',
    file: 'running-batches.ts',
    find: 'return this.all.size < this.options.concurrency;',
    replace: 'return this.all.size <= this.options.concurrency;',
  },
  {
    name: 'an alarm that rings early is set again',
    file: 'turns.ts',
    find: 'return Math.max(now, this.#rangFor);',
    replace: 'return now;',
  },
  {
    name: 'a shorter delay waits for the old alarm',
    file: 'turns.ts',
    find: 'if (this.#alarm.at > at || this.#alarm.isOverdue(now))',
    replace: 'if (this.#alarm.at === Infinity || this.#alarm.isOverdue(now))',
  },
  {
    name: 'a full queue waits for more',
    file: 'admission.ts',
    find: 'this.#acceptsNoMore || group.fillsBatch',
    replace: 'group.fillsBatch',
  },
  inQueue(
    'the alarm outlives what waited',
    'this.#clearAlarms();\n    // One batch per turn',
    'void 0;\n    // One batch per turn',
  ),
  {
    name: 'the alarm outlives the input that gave up',
    file: 'admission.ts',
    find: '    if (this.room.length === 0) this.queue.onEmpty();\n',
    replace: '',
  },
  {
    name: 'what is left after a batch is forgotten',
    file: 'batch-queue.ts',
    find: '    this.#decideSoon();\n    void this.#run(batch);',
    replace: '    void this.#run(batch);',
  },
  {
    name: 'a long backlog starves the event loop',
    file: 'batch-queue.ts',
    find: 'const isPolled = now - this.#turns.polledAt < 1 && ',
    replace: 'const isPolled = ',
  },
  {
    name: 'the batch function runs in the context of a caller',
    file: 'turns.ts',
    find: 'this.#context.runInAsyncScope(this.look, undefined, now);',
    replace: 'this.look(now);',
  },
  {
    name: 'more slots are used only by the next input',
    file: 'batch-queue.ts',
    find: "checkOption('concurrency', value);\n    this.#decideSoon();",
    replace: "checkOption('concurrency', value);",
  },
  inQueue(
    'a wait begins before the batch that blocked the event loop',
    'if (ran >= BLOCKED) this.#turns.close();',
  ),
  inQueue(
    'a wait of an input that is read before the answers begins before the batch that blocked',
    'have not waited for it.\n    this.#turns.close();',
    'have not waited for it.',
  ),
  // Clocks that come and go.
  {
    name: 'an immediate is lost with a fake clock',
    file: 'turns.ts',
    find: 'if (this.#immediateSetBy !== this.clock.setImmediate) this.#setImmediate();',
    replace: 'if (!this.#immediateSetBy) this.#setImmediate();',
  },
  {
    name: 'an immediate that never comes is waited for',
    file: 'turns.ts',
    find: 'else if (this.#mayBeLost) this.#checkImmediate();',
    replace: '',
  },
  {
    name: 'moments of another clock are kept',
    file: 'turns.ts',
    find: 'if (this.#timersSetBy !== this.clock.setTimeout || now < this.polledAt) {',
    replace: 'if (now > Infinity) {',
  },
  {
    name: 'a run that hung under a fake clock hangs for ever',
    file: 'batch-queue.ts',
    find: '    this.#layers.timeLimit.restart(now);\n',
    replace: '',
  },
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
  {
    name: 'a queue that waits for itself is not warned of',
    file: 'progress.ts',
    find: '    this.#hasWarned = true;\n',
    replace: '    return;\n',
  },
  {
    name: 'the same standstill is warned of again and again',
    file: 'progress.ts',
    find: ' || this.#hasWarned) return;',
    replace: ') return;',
  },
  {
    name: 'a queue that waits for its lane is not warned of',
    file: 'running-batches.ts',
    find: '    this.#standstill.watch(this.#lane.progress, now);\n',
    replace: '',
  },
  {
    name: 'inputs that wait for others are a standstill',
    file: 'running-batches.ts',
    find: 'this.#lane?.hasWaiting(this.retry) ? this.#lane.progress : undefined',
    replace: 'this.#lane?.progress',
  },
  {
    name: 'a standstill is watched while nothing waits',
    file: 'batch-queue.ts',
    find: '    this.#turns.clearAlarm();\n    this.#running.clearAlarm();\n',
    replace: '    this.#turns.clearAlarm();\n',
  },
  {
    name: 'a long batch is a standstill',
    file: 'progress.ts',
    find: 'Math.max(STANDSTILL, STANDSTILL_IN_RUNS * this.#longest)',
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
    file: 'checks.ts',
    find: '(Number.isSafeInteger(value) || value === Infinity)',
    replace: 'Number.isSafeInteger(value)',
  },
  // Runs and results.
  {
    name: 'callers hang when the batch function throws',
    file: 'batch-queue.ts',
    find: '      batch.reject(error);\n    }\n    this.#end',
    replace: '    }\n    this.#end',
  },
  {
    name: 'too many results are taken',
    file: 'run/checked.ts',
    find: 'list.length !== length',
    replace: 'list.length < length',
  },
  {
    name: 'a typed array is no answer',
    file: 'run/checked.ts',
    find: 'Array.isArray(results) || types.isTypedArray(results)',
    replace: 'Array.isArray(results)',
  },
  {
    name: 'an Error is handed over as a value',
    file: 'batch.ts',
    find: 'if (isError(result)) {',
    replace: 'if (isError(result) && !result) {',
  },
  {
    name: 'an input that has ended is settled again',
    file: 'batch.ts',
    find: '} else if (entry.place === this) {',
    replace: '} else {',
  },
  {
    name: 'what has ended still counts as running',
    file: 'ledger.ts',
    find: '    this.#running -= batch.uncounted;\n',
    replace: '',
  },
  {
    name: 'isolation stops at two',
    file: 'run/isolating.ts',
    find: 'return size < 2 ||',
    replace: 'return size < 3 ||',
  },
  {
    name: 'isolation runs inputs again whose callers have gone',
    file: 'run/isolating.ts',
    find: 'half.filter((index) => this.batch.isAwaited(index))',
    replace: 'half',
  },
  {
    name: 'isolation goes on after an abort',
    file: 'run/isolating.ts',
    find: ' || batch.isAborted;',
    replace: ';',
  },
  {
    name: 'a run that hangs keeps its slot',
    file: 'run/time-limited.ts',
    find: '      giveUp(error);\n',
    replace: '',
  },
  {
    name: 'a run that hangs is not aborted',
    file: 'run/time-limited.ts',
    find: '      batch.abort(error);\n',
    replace: '',
  },
  {
    name: 'a batch ends before the promises in the places of its results',
    file: 'batch-queue.ts',
    find: '      if (late) await late;\n',
    replace: '      void late;\n',
  },
  {
    name: 'isolation runs on before the promises in the places of results',
    file: 'run/isolating.ts',
    find: 'await Promise.allSettled(places.filter(types.isPromise))',
    replace: 'await Promise.allSettled([] as Promise<unknown>[])',
  },
  {
    name: 'results that are late are counted only at the end',
    file: 'batch.ts',
    find: '      this.#give(entry, await result);\n      this.ledger.count(this);\n',
    replace: '      this.#give(entry, await result);\n',
  },
  {
    name: 'promises among too many results are unhandled',
    file: 'run/checked.ts',
    find: 'ignoreRejections(list);',
    replace: '',
  },
  {
    name: 'a result that cannot be looked at hurts the next',
    file: 'batch.ts',
    find: '        // A getter threw: the error of this input alone.\n        this.#reject(entry, error);',
    replace: '        this.#reject(entry, error);\n        throw error;',
  },
  {
    name: 'a listener that rejects is unhandled',
    file: 'ledger.ts',
    find: 'if (isThenable(returned)) returned.then(undefined, warn);',
    replace: 'void returned;',
  },
  {
    name: 'listeners that come while others are called are called',
    file: 'ledger.ts',
    find: 'of [...this.#listeners]',
    replace: 'of this.#listeners',
  },
  {
    name: 'what has no text stops the queue when it is thrown',
    file: 'checks.ts',
    find: '    return String(thrown);\n  } catch {',
    replace: '    return String(thrown);\n  } catch (error) {\n    if (error) throw error;',
  },
  {
    name: 'a message cannot be made of what a proxy hides',
    file: 'checks.ts',
    find: "  } catch {\n    return 'an object';",
    replace: "  } catch (error) {\n    if (error) throw error;\n    return 'an object';",
  },
  {
    name: 'a batch keeps its slot of the lane',
    file: 'running-batches.ts',
    find: '    this.#lane?.release(ran, now);\n',
    replace: '',
  },
  {
    name: 'a part that a time limit gave up does not end the search',
    file: 'run/isolating.ts',
    find: '    if (isAborted && isOver) throw abortReason;\n',
    replace: '',
  },
  {
    name: 'a time limit rings for a run that has ended',
    file: 'run/time-limited.ts',
    find: '      alarm.clear();\n      this.#alarms.delete(alarm);',
    replace: '      this.#alarms.delete(alarm);',
  },
  {
    name: 'promises in places outlive the time limit',
    file: 'run/time-limited.ts',
    find: 'Promise.race([place, isOver])',
    replace: 'place',
  },
  {
    name: 'what a run returns late is unhandled',
    file: 'run/time-limited.ts',
    find: '      batch.giveLate(index, late);\n    }, ignore);',
    replace: '      batch.giveLate(index, late);\n    });',
  },
  {
    name: 'a batch function gets what the queue works with',
    file: 'run/checked.ts',
    find: 'new UserContext(batch)',
    replace: 'batch',
  },
  // Giving up, draining and stopping.
  {
    name: 'a batch without callers is not aborted',
    file: 'batch.ts',
    find: '    if (this.remaining === this.uncounted) this.abort(error);\n',
    replace: '',
  },
  {
    name: 'giving up looks at every input of the batch',
    file: 'batch.ts',
    find: 'if (this.remaining === this.uncounted)',
    replace: 'if (![...this].some((entry) => entry.place === this))',
  },
  {
    name: 'the signal of a waiting caller computes on',
    file: 'admission.ts',
    find: "if (typeof place === 'string') this.#drop(entry, reason, error);\n    else",
    replace: "if (typeof place !== 'string')",
  },
  {
    name: 'timers and listeners stay behind',
    file: 'entry.ts',
    find: '    this.extras?.onEnd?.();\n',
    replace: '',
  },
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
  {
    name: 'an input that comes in by the door counts twice for a drain',
    file: 'admission.ts',
    find: "if (entry.place === 'nowhere') entry.turn.epoch.pending++;",
    replace: 'entry.turn.epoch.pending++;',
  },
  {
    name: 'a drain hurries inputs that come after it',
    file: 'batch-queue.ts',
    find: '    this.#turns.close();\n',
    replace: '',
  },
  {
    name: 'a hard stop waits for what waits',
    file: 'batch-queue.ts',
    find: '      this.#admission.dropAll();\n      for (const batch',
    replace: '      for (const batch',
  },
  {
    name: 'a stop at its time limit leaves running callers',
    file: 'batch-queue.ts',
    find: '      batch.reject(error);\n      batch.abort(error);',
    replace: '      batch.abort(error);',
  },
  {
    name: 'a queue that has stopped keeps the process alive',
    file: 'batch-queue.ts',
    find: '    this.#layers.timeLimit.unref();\n',
    replace: '',
  },
  // What waits.
  {
    name: 'the last of a line is lost when one leaves the middle',
    file: 'waiting/waiting-line.ts',
    find: 'if (!next) this.#last = previous;\n    else if',
    replace: 'if',
  },
  {
    name: 'an input behind one that left still has it before it',
    file: 'waiting/waiting-line.ts',
    find: 'else if (next.extras) next.extras.previous = previous;',
    replace: '',
  },
  {
    name: 'the first input after a cut has another before it',
    file: 'waiting/waiting-line.ts',
    find: 'if (rest?.extras) rest.extras.previous = undefined;',
    replace: '',
  },
  {
    name: 'groups are never forgotten',
    file: 'waiting/waiting-room.ts',
    find: 'this.#groups.delete(group.key);',
    replace: '',
  },
  {
    name: 'waiting is worth nothing against priority',
    file: 'waiting/group.ts',
    find: ' * aging - (first.turn.at - otherFirst.turn.at)',
    replace: '',
  },
  {
    name: 'tenants do not take turns',
    file: 'waiting/waiting-room.ts',
    find: '      line.level.turnOver(line);\n',
    replace: '',
  },
  {
    name: 'a group that is not full holds up one that is',
    file: 'waiting/waiting-room.ts',
    find: 'if (fillsBatch !== other.fillsBatch(this.#batchSize, this.#maxCost)) return fillsBatch;',
    replace: '',
  },
  {
    name: 'groups are not sorted anew when the batch size changes',
    file: 'waiting/waiting-room.ts',
    find: 'this.#ranking.rebuild();',
    replace: '',
  },
  {
    name: 'a line keeps its place when its first input has left',
    file: 'waiting/waiting-room.ts',
    find: '      group.rank(line);\n',
    replace: '',
  },
  {
    name: 'what falls behind in a heap keeps its place',
    file: 'waiting/heap.ts',
    find: 'if (!child || !this.isBefore(child, item)) break;',
    replace: 'if (child || !child) break;',
  },
  {
    name: 'a group is looked for among all of them',
    file: 'waiting/heap.ts',
    find: '  get first(): T | undefined {\n',
    replace: '  get first(): T | undefined {\n    this.rebuild();\n',
  },
  {
    name: 'batches cost more than maxCost',
    file: 'waiting/waiting-room.ts',
    find: 'if (cost > maxCost) break;',
    replace: '',
  },
  {
    name: 'in the forecast the lower priorities are ahead',
    file: 'waiting/tally.ts',
    find: 'if (node.key < key) {\n        node = node.right;',
    replace: 'if (node.key > key) {\n        node = node.right;',
  },
  // Keys, and inputs that callers share.
  {
    name: 'keyBy is not asked where nothing else is',
    file: 'admission.ts',
    find: ' && !options.keyBy;',
    replace: ';',
  },
  {
    name: 'a key that is a promise is a key',
    file: 'admission.ts',
    find: 'if (!isThenable(key)) return key;',
    replace: 'return key;',
  },
  {
    name: 'a Map is an answer without keyBy',
    file: 'run/checked.ts',
    find: 'if (types.isMap(results) && keyBy) {',
    replace: 'if (types.isMap(results)) {',
  },
  {
    name: 'undefined in a Map counts as missing',
    file: 'run/checked.ts',
    find: 'results.has(key)',
    replace: 'results.get(key) !== undefined',
  },
  {
    name: 'a missing key is always undefined',
    file: 'run/checked.ts',
    find: "missing === 'undefined' ?",
    replace: 'missing ?',
  },
  {
    name: 'promises of a Map that no caller asked for go unhandled',
    file: 'run/checked.ts',
    find: 'if (types.isPromise(result)) void ignoreRejection(result);',
    replace: 'void result;',
  },
  {
    name: 'parts of a failed batch have the keys of its first inputs',
    file: 'run/isolating.ts',
    find: 'return this.batch.keyOf(this.#inBatch(index));',
    replace: 'return this.batch.keyOf(index);',
  },
  {
    name: 'coalesce without keyBy is taken',
    file: 'options.ts',
    find: 'if (resolved.coalesce === true && !resolved.keyBy) {',
    replace: 'if (false as boolean) {',
  },
  {
    name: 'an input that has ended is joined for ever',
    file: 'shared-inputs.ts',
    find: '    this.onEnd();\n',
    replace: '',
  },
  {
    name: 'the first caller takes the shared input along',
    file: 'shared-inputs.ts',
    find: 'if (this.callers.length === 1) {',
    replace: 'if (this.callers.first === caller) {',
  },
  {
    name: 'a shared input outlives its last caller',
    file: 'shared-inputs.ts',
    find: 'if (this.callers.length === 1) {',
    replace: 'if (this.callers.length === 0) {',
  },
  {
    name: 'a caller that gives up while the others are served counts twice',
    file: 'shared-inputs.ts',
    find: "    if (this.entry.place === 'gone') return;\n",
    replace: '',
  },
  {
    name: 'a caller that leaves a running input counts as dropped',
    file: 'shared-inputs.ts',
    find: "if (this.phase === 'running') this.ledger.endJoined(1, false);\n    else ",
    replace: '',
  },
  {
    name: 'the errors of callers that joined count as results',
    file: 'shared-inputs.ts',
    find: '!(outcome instanceof Rejection)',
    replace: 'true',
  },
  {
    name: 'a drain does not count callers that share an input',
    file: 'shared-inputs.ts',
    find: '    caller.turn.epoch.pending++;\n',
    replace: '',
  },
  {
    name: 'callers that wait at the door with others are submitted',
    file: 'ledger.ts',
    find: 'const coalesced = this.#joined - joined.blocked;',
    replace: 'const coalesced = this.#joined;',
  },
  {
    name: 'callers that joined at the door are not blocked',
    file: 'batch-queue.ts',
    find: ' + this.#admission.joined.blocked',
    replace: '',
  },
  {
    name: 'a caller that joins is refused for its deadline',
    file: 'admission.ts',
    find: 'const late = shared ? 0 : this.#lateness(timeout, priority);',
    replace:
      'const late = this.#lateness(timeout, priority);\n    if (late > 0 && shared) this.#drop(entry, "timeout", new DeadlineError(name, timeout, late));\n    else',
  },
  {
    name: 'cost and group are asked of each caller of a key',
    file: 'admission.ts',
    find: 'const ticket = isKnown ? undefined : ',
    replace: 'void isKnown;\n    const ticket = ',
  },
  {
    name: 'an input that its own cost submitted is not joined',
    file: 'admission.ts',
    find: 'const shared = this.#shared?.get(key);',
    replace: 'const shared = isKnown ? this.#shared?.get(key) : undefined;',
  },
  {
    name: 'a caller that joins changes no priority',
    file: 'admission.ts',
    find: 'if (!extras || priority <= (extras.ticket?.priority ?? 0)) return;',
    replace: 'if (extras) return;',
  },
  {
    name: 'a caller of low priority holds the others back',
    file: 'admission.ts',
    find: 'if (!extras || priority <= (extras.ticket?.priority ?? 0)) return;',
    replace: 'if (!extras) return;',
  },
  {
    name: 'an input at the door keeps its priority',
    file: 'admission.ts',
    find: '    else extras.ticket = ticket;\n',
    replace: '',
  },
  {
    name: 'an input of higher priority stands behind younger ones',
    file: 'waiting/waiting-room.ts',
    find: 'line.insert(entry, (other) => other.turn.order > entry.turn.order);',
    replace: 'line.push(entry);',
  },
  {
    name: 'an input put between others is not counted',
    file: 'waiting/waiting-line.ts',
    find: '    next.extras.previous = entry;\n    this.length++;\n',
    replace: '    next.extras.previous = entry;\n',
  },
  {
    name: 'an input put between others is not linked back to',
    file: 'waiting/waiting-line.ts',
    find: '    next.extras.previous = entry;\n',
    replace: '',
  },
  {
    name: 'a hard stop drops one caller of each input',
    file: 'admission.ts',
    find: 'for (const caller of [...callers]) {',
    replace: 'for (const caller of [...callers].slice(0, 1)) {',
  },
  {
    name: 'a caller that shares a running input timed out waiting',
    file: 'admission.ts',
    find: "typeof entry.place !== 'string' && entry.place.phase === 'running'",
    replace: "typeof entry.place !== 'string' && entry.place.phase === 'blocked'",
  },
  // What is shared between queues and inputs.
  { name: 'queues of a lane do not take turns', file: 'lane.ts', find: ' || first !== retry', replace: '' },
  {
    name: 'slots that become free together stay free',
    file: 'lane.ts',
    find: '    this.#callFirst();\n    return true;',
    replace: '    return true;',
  },
  {
    name: 'a lane waits for a queue that has nothing to send',
    file: 'lane.ts',
    find: 'if (this.#line.delete(retry)) this.#callFirst();',
    replace: 'this.#line.delete(retry);',
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
    find: '  } catch {\n    // The listener stays, and has no callbacks left to call.\n  }',
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
    find: 'if (this.#isAborted) return;',
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
    file: 'dispatch/service-time.ts',
    find: '(0.05 * this.#size) ** 2',
    replace: '0',
  },
  {
    name: 'a stall is learned as it was',
    file: 'dispatch/service-time.ts',
    find: 'this.isKnown ? Math.min(Math.max(ran, likely.least), likely.most) : ran',
    replace: 'ran',
  },
  {
    name: 'batches that hung together are a load that has changed',
    file: 'dispatch/service-time.ts',
    find: 'if (now - ran < this.#surprisedAt) return;',
    replace: '',
  },
  {
    name: 'a load that has changed is never believed',
    file: 'dispatch/service-time.ts',
    find: 'if (this.#isSurprised || this.#weight === 1)',
    replace: 'if (this.#weight === 1)',
  },
  {
    name: 'a stall at the very beginning is believed',
    file: 'dispatch/service-time.ts',
    find: 'if (this.#isSurprised || this.#weight === 1)',
    replace: 'if (this.#isSurprised)',
  },
  {
    name: 'an adaptive wait is longer than maxDelay',
    file: 'dispatch/adaptive-policy.ts',
    find: 'Math.min(leaveAt, latest)',
    replace: 'leaveAt',
  },
  {
    name: 'a batch waits on when every caller is there',
    file: 'dispatch/adaptive-policy.ts',
    find: ' && !decision.isComplete ? ',
    replace: ' ? ',
  },
  {
    name: 'an adaptive decision outlives its inputs',
    file: 'dispatch/adaptive-policy.ts',
    find: '|| queue.waiting >= decision.waiting)',
    replace: '|| true)',
  },
  {
    name: 'wasted waits are forgotten as slowly as others',
    file: 'dispatch/hindsight.ts',
    find: 'const MEMORY_OF_WASTE = 0.25;',
    replace: 'const MEMORY_OF_WASTE = MEMORY;',
  },
  {
    name: 'a wait costs the waiting inputs only',
    file: 'dispatch/hindsight.ts',
    find: 'const delayed = waiting + others + Math.max(missed, joined);',
    replace: 'const delayed = waiting;',
  },
  {
    name: 'callers that come back count for nothing',
    file: 'dispatch/hindsight.ts',
    find: 'untilOtherSlot < Infinity ? 0 : census.returning(waiting)',
    replace: '0',
  },
  {
    name: 'a slot that is free soon counts for nothing',
    file: 'dispatch/hindsight.ts',
    find: 'Math.max(0, serviceTime(waiting) - untilOtherSlot)',
    replace: '0',
  },
  {
    name: 'a hidden arrival is taken for one that would have joined',
    file: 'dispatch/hindsight.ts',
    find: 'if (isHidden && !isStopped && some > waited) continue;',
    replace: '',
  },
  {
    name: 'probes come as often however many are wasted',
    file: 'dispatch/hindsight.ts',
    find: 'Math.min(RAREST, 2 * this.#pause)',
    replace: 'this.#pause',
  },
  {
    name: 'a census is steady by chance',
    file: 'dispatch/census.ts',
    find: 'return this.#steadyFor >= SETTLED;',
    replace: 'return this.isSteady;',
  },
  {
    name: 'any census is steady',
    file: 'dispatch/census.ts',
    find: 'const DISPERSION = 0.3;',
    replace: 'const DISPERSION = 30;',
  },
  inQueue(
    'callers of a batch that blocked are answered before the sockets are read',
    'await this.#look(batch, results);',
    ';',
  ),
  inQueue(
    'answers wait for the next batch of a function that blocks',
    ' && batch.ranUntil === undefined;',
    ';',
  ),
  inQueue(
    'rejections of a batch that blocked are unhandled while the sockets are read',
    '    ignoreRejections(results);\n',
  ),
  // Sessions.
  inSession(
    'the pushes behind a step that failed run all the same',
    'this.#rejectAll(new SessionInterruptedError(error));',
  ),
  inSession('an abort leaves the pushes of a session', '    this.#rejectAll(reason);\n'),
  inSession('a step has the state of an older one', '          this.#state = state;\n'),
  inSession('two steps of a session run at once', 'this.#running ??= this.#run();', 'void this.#run();'),
  inSession('a session takes one push too many', 'this.#pushes.length >= this', 'this.#pushes.length > this'),
  inSession('a closed session takes pushes', '      if (this.#closed) throw this.#closed.reason;\n'),
  inSession('a closed session does not wait for its steps', '      await this.#running;\n'),
  inSession('a closed session listens to its signal for ever', '      this.#stopListening?.();\n'),
  inSession('an aborted signal is not seen', '    if (signal?.aborted) this.#abort();\n'),
  inSession('a state that was replaced is kept', 'if (before !== state) void dispose(before);', ';'),
  inSession(
    'a state is disposed of though it stays',
    'if (before !== state) void dispose(before);',
    'void dispose(before);',
  ),
  inSession(
    'the state of a step that was given up is kept',
    'if (state !== this.#state) void dispose(state);',
    ';',
  ),
  inSession('the last state is kept', '      await dispose(this.#state);\n'),
  inSession(
    'a step that waited runs in the context of another caller',
    'context ? context.runInAsyncScope(submit) : submit()',
    'submit()',
  ),
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
const strays = chosen.flatMap(({ name, file, find }) => {
  const times = readFileSync(join(ROOT, CORE, file), 'utf8').split(find).length - 1;
  return times === 1 ? [] : [`${name}: its text is ${times} times in ${file}, not once`];
});
if (strays.length > 0) throw new Error(strays.join('\n'));

const copy = mkdtempSync(join(tmpdir(), 'mutate-core-'));
process.on('exit', () => {
  rmSync(copy, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

for (const path of [
  CORE,
  'sim',
  'bench',
  'libs/figures',
  'jest.config.js',
  'test/second-attempt.ts',
  'package.json',
  'tsconfig.json',
]) {
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

const specs = [CORE, 'sim']
  .flatMap((folder) =>
    readdirSync(join(copy, folder), { recursive: true }).map((name) => join(folder, String(name))),
  )
  // Of sim/ only what tests the queue: it also has a spec of reports/, which is not copied.
  .filter((path) => path.endsWith('.spec.ts') && !path.endsWith('capacity.spec.ts'));
const later = LATER.map((parts) => specs.filter((spec) => parts.some((part) => spec.includes(part))));
const rounds = [specs.filter((spec) => !later.flat().includes(spec)), ...later];

const failing = await failingTest(600_000);
if (failing !== undefined) throw new Error(`the specs fail without any fault: ${failing}`);
const rows = [['fault', 'in', 'seconds', 'noticed by']];
let survivors = 0;
const bar = progressBar('{bar} {value} of {total} | {name}');
bar.start(chosen.length, 0, { name: '' });
for (const [index, { name, file, find, replace }] of chosen.entries()) {
  bar.update(index, { name });
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
  rows.push([name, file, seconds, noticedBy ?? 'NO TEST']);
}
bar.update(chosen.length, { name: '' });
bar.stop();
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
  const child = spawn(
    process.execPath,
    ['--no-warnings', '--experimental-vm-modules', jest, ...options, ...places, '--runTestsByPath', ...round],
    { cwd: copy, stdio: ['ignore', 'pipe', 'inherit'], timeout: limit, killSignal: 'SIGKILL' },
  );
  let failure = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (failure += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === null) return `none: the specs did not end within ${limit / 1000} s`;
  if (code !== 0 && failure === '') throw new Error('the specs could not be run');
  return failure || undefined;
}
