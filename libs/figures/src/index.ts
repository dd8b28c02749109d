export { type Axis, type Chart, drawChart, type Series } from './draw-chart.js';
export { progressBar } from './progress-bar.js';
export { randomNumbers } from './random-numbers.js';
