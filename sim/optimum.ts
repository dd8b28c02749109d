import { capacity, type ServiceCurve } from './simulator.js';

/**
 * The least mean latency that any policy can reach under Poisson arrivals with one executor, at a share `rho`
 * of the capacity: by relative value iteration on the semi-Markov decision process of the inputs waiting at
 * an idle executor, where either a batch leaves or one more arrival is waited for (Tijms, A First Course in
 * Stochastic Models, 2003, §7.1 and §7.2). The cost is inputs present × time; by Little's law its average
 * over the arrival rate is the mean latency.
 */
export function optimalMeanLatency(rho: number, curve: ServiceCurve): number {
  const { batchSize } = curve;
  const rate = rho * capacity(curve);
  // States beyond are cut off; even at ρ .9 they are hardly ever visited.
  const most = 5 * batchSize + 50;
  const batches = Array.from({ length: batchSize + 1 }, (_, size) => batchOf(size, rate, curve, most));
  // Unit of the uniform steps that the process is transformed to; no stay in a state may be shorter.
  const step = Math.min(1 / rate, curve.alpha + curve.beta);
  let values = new Float64Array(most + 1);

  const waitForOne = (waiting: number) => {
    const duration = 1 / rate;
    const after = values[waiting + 1] ?? Infinity;
    return perStep(waiting, duration, waiting * duration, after);
  };
  const leave = (waiting: number) => {
    const size = Math.min(waiting, batchSize);
    const { duration, chances } = batches[size] ?? batchOf(size, rate, curve, most);
    let after = 0;
    for (const [came, chance] of chances.entries()) {
      after += chance * (values[Math.min(most, waiting - size + came)] ?? 0);
    }
    // Inputs that are present wait all of the time, those that come meanwhile half of it on average.
    return perStep(waiting, duration, waiting * duration + (rate * duration * duration) / 2, after);
  };
  const perStep = (waiting: number, duration: number, cost: number, after: number) => {
    const share = step / duration;
    return share * cost + share * after + (1 - share) * (values[waiting] ?? 0);
  };

  for (let iteration = 0; iteration < 50_000; iteration++) {
    const next = values.map((_, waiting) =>
      waiting === 0 ? waitForOne(0) : Math.min(waitForOne(waiting), leave(waiting)),
    );
    // The change of every value converges to the average cost of a step.
    let least = Infinity;
    let greatest = -Infinity;
    for (let waiting = 0; waiting <= most / 2; waiting++) {
      const change = (next[waiting] ?? 0) - (values[waiting] ?? 0);
      least = Math.min(least, change);
      greatest = Math.max(greatest, change);
    }
    const [origin = 0] = next;
    values = next.map((value) => value - origin);
    if (greatest - least < 1e-6 * least) return (least + greatest) / 2 / step / rate;
  }
  throw new Error(`no convergence at ρ ${rho}`);
}

/** How long a batch takes, and the chances that 0, 1, 2, … inputs come meanwhile. */
function batchOf(size: number, rate: number, { alpha, beta }: ServiceCurve, most: number) {
  const duration = alpha * size + beta;
  const mean = rate * duration;
  const chances: number[] = [];
  let chance = Math.exp(-mean);
  for (let came = 0; came < most && (came < mean || chance > 1e-12); came++) {
    chances.push(chance);
    chance *= mean / (came + 1);
  }
  return { duration, chances };
}

/**
 * Inoue's upper bound on the mean latency when every batch takes all that wait and leaves at once, with
 * batches of any size (arXiv 1912.06322): close for a load of .3 and more. Not a bound where the batch size
 * is limited.
 */
export function inoueBound(rate: number, { alpha, beta }: ServiceCurve): number {
  const share = rate * alpha;
  return (1.5 * beta) / (1 - share) + ((alpha / 2) * (share + 2)) / (1 - share * share);
}
