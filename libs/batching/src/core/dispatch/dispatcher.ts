import { decide, isOpen, type Departure, type View } from './decide.js';
import type { DispatchPolicy, Plan } from './dispatch-policy.js';
import { ServiceTime } from './service-time.js';

/** One policy at work: it hears of every event in order, and is asked when a batch shall leave. */
export class Dispatcher {
  readonly serviceTime = new ServiceTime();
  /** Inputs that the policy knows of. */
  #arrived = 0;

  constructor(private readonly policy: DispatchPolicy) {}

  /**
   * Inputs may have come.
   *
   * @param entered inputs taken in since the queue was built
   * @param waiting those of them that wait now
   * @param since the earliest moment at which they can have come
   */
  arrive(entered: number, waiting: number, slotFree: boolean, now: number, since: number): void {
    // Inputs that came may have gone again in the same turn.
    const count = Math.min(entered - this.#arrived, waiting);
    this.#arrived = entered;
    if (count > 0) this.policy.arrived?.(count, waiting, slotFree, now, since);
  }

  decide<Group>(view: View<Group>, now: number): Departure<Group> | Pick<Plan, 'at'> {
    if (isOpen(view)) this.policy.opened?.(view, now);
    return decide(view, this.policy, now);
  }

  /** A batch of `size` inputs has left. */
  leave(size: number, now: number): void {
    this.policy.left?.(size, now);
  }

  /** A batch of `size` inputs has ended, having run for `ran` milliseconds. */
  end(size: number, ran: number, now: number): void {
    this.serviceTime.record(size, ran, now);
    this.policy.ended?.(now, size);
  }
}
