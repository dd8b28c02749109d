import { simulateQueues } from '../sim/queue-simulator.js';
import { AdaptivePolicy } from '../libs/batching/src/core/dispatch/adaptive-policy.js';
import { bursts, closedLoop, poisson, simulate } from '../sim/simulator.js';
const curve = { alpha: 0.25, beta: 5, batchSize: 32 };
for (const blocking of [false, true]) for (const load of [poisson(0.3, curve), bursts(0.3, curve), closedLoop(4), closedLoop(16), closedLoop(32, .5, 1)]) {
  const scene = { curve, maxDelay: 30, loads: [load], items: 15_000, seed: 1, blocking };
  const [m] = simulate(new AdaptivePolicy(), scene);
  const real = await simulateQueues({ curve, load, dispatch: 'adaptive', maxDelay: 30, items: 15_000, seed: 1, blocking });
  console.log(blocking, load.name, m?.mean.toFixed(3), real.mean.toFixed(3));
}
