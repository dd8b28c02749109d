import { decide, isOpen, type Departure, type Snapshot } from './decide.js';
import type { DispatchPolicy, Plan } from './dispatch-policy.js';
import { ServiceTime } from './service-time.js';

/** Passes every event to the policy and to `ServiceTime`, in the order of time, and asks for decisions. */
export class Dispatcher {
  readonly serviceTime = new ServiceTime();
  /** Inputs that the policy has been notified of. */
  #arrived = 0;

  /** @param policy may be replaced at any time; the next one learns from what happens after that */
  constructor(public policy: DispatchPolicy) {}

  get looksBeforeAnswers(): boolean {
    return this.policy.looksBeforeAnswers ?? false;
  }

  /**
   * Notifies the policy of the inputs taken in since the last call, if there are any.
   *
   * @param entered inputs taken in since the queue was built
   * @param waiting how many of them wait now
   * @param since the earliest moment at which new ones can have come
   */
  arrive(entered: number, waiting: number, slotFree: boolean, now: number, since: number): void {
    // Some of them may have been dropped in the same turn.
    const count = Math.min(entered - this.#arrived, waiting);
    this.#arrived = entered;
    if (count > 0) this.policy.arrived?.(count, waiting, slotFree, now, since);
  }

  decide<Group>(snapshot: Snapshot<Group>, now: number): Departure<Group> | Pick<Plan, 'at'> {
    if (isOpen(snapshot)) this.policy.opened?.(snapshot, now);
    return decide(snapshot, this.policy, now);
  }

  /** A batch of `size` inputs has left. */
  leave(size: number, now: number): void {
    this.policy.left?.(size, now);
  }

  /** A batch of `size` inputs has ended after a run of `ran` milliseconds. */
  end(size: number, ran: number, now: number): void {
    this.serviceTime.record(size, ran, now);
    this.policy.ended?.(now, size);
  }
}
