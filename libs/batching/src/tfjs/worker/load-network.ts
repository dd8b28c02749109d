import { existsSync, realpathSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as Tfjs from '@tensorflow/tfjs';
import { messageOf, ModelFileError } from '../../inference/errors.js';
import type { ModelFiles } from '../../inference/worker/model-files.js';
import type { Network } from '../../inference/worker/runtime.js';
import type { AnyModel, ModelModule } from '../model-module.js';
import { readModelFiles } from './read-model-files.js';

export type TfjsNetwork = Network<Tfjs.Tensor>;

/**
 * Loads the model at `path`, of any kind.
 *
 * @param files records the files that are read
 * @param attempt number of earlier loads of this model in this thread
 * @throws {ModelFileError}, or what TensorFlow.js or the module throws
 */
export async function loadNetwork(
  tf: typeof Tfjs,
  path: string,
  files: ModelFiles,
  attempt: number,
): Promise<TfjsNetwork> {
  if (/\.[cm]?js$/.test(path)) return moduleNetwork(tf, path, files, attempt);
  await files.watch(join(path, 'saved_model.pb'));
  if (existsSync(join(path, 'saved_model.pb'))) return savedModelNetwork(tf, path, files);
  const model = await loadModel(tf, path, files);
  return 'predictOnBatch' in model ? layersNetwork(model) : graphNetwork(model);
}

/** Loads a layers or graph model by its `model.json`, or the folder with it. */
async function loadModel(tf: typeof Tfjs, path: string, files: ModelFiles): Promise<AnyModel> {
  const { json, weightSpecs, weightData } = await readModelFiles(path, files);
  // Drop the training config: it loads an optimizer, and fails for a loss that TensorFlow.js does not know.
  delete json.trainingConfig;
  const artifacts = await tf.io.getModelArtifactsForJSON(json, () =>
    Promise.resolve([weightSpecs, weightData]),
  );
  const handler = { load: () => Promise.resolve(artifacts) };
  const isGraph = json.format ? json.format === 'graph-model' : 'node' in json.modelTopology;
  if (isGraph) return tf.loadGraphModel(handler);
  try {
    return await tf.loadLayersModel(handler);
  } catch (cause) {
    if (!isOfKeras3(json.modelTopology)) throw cause;
    throw new Error(
      `${messageOf(cause)}; the model was saved by Keras 3, whose layers TensorFlow.js does not read: save it with Keras 2 ` +
        '(the package tf-keras, with TF_USE_LEGACY_KERAS=1), or export a SavedModel and convert that to a graph model',
      { cause },
    );
  }
}

/**
 * Recognised by its version, or by its layers: in Keras 2 these have a `batch_input_shape` and no `module`.
 */
function isOfKeras3(topology: object): boolean {
  const { keras_version: version } = topology as { keras_version?: unknown };
  if (typeof version === 'string' && /^[3-9]\./.test(version)) return true;
  return /"batch_shape":|"module":"keras\./.test(JSON.stringify(topology));
}

function layersNetwork(model: Tfjs.LayersModel): TfjsNetwork {
  return {
    kind: 'layers model',
    // `name` gets a numeric suffix when a model is loaded again.
    inputs: model.inputs.map(({ originalName, name, shape, dtype }) => ({
      name: originalName ?? name,
      shape,
      dtype,
    })),
    run: (inputs) => {
      // `predict` would split the batch into pieces of 32.
      const outputs = model.predictOnBatch(inputs);
      // A sequential model has no names before its first batch.
      return Promise.resolve(byName(model.outputNames, outputs));
    },
    dispose: () => {
      model.dispose();
    },
  };
}

function graphNetwork(model: Tfjs.GraphModel): TfjsNetwork {
  const { inputNodes, outputNodes } = model;
  /** Whether the graph has control flow, which TensorFlow.js runs asynchronously only. */
  let dynamic = false;
  return {
    kind: 'graph model',
    inputs: model.inputs.map(({ shape, dtype }, i) => ({ name: inputNodes[i] ?? '', shape, dtype })),
    run: async (inputs) => {
      const named = keyed(inputNodes, inputs);
      if (!dynamic) {
        try {
          return byName(outputNodes, model.execute(named, outputNodes));
        } catch (error) {
          // There is no other way to detect it, and TensorFlow.js warns if other graphs run asynchronously.
          if (!(error instanceof Error && error.message.includes('executeAsync'))) throw error;
          dynamic = true;
        }
      }
      return byName(outputNodes, await model.executeAsync(named, outputNodes));
    },
    dispose: () => {
      model.dispose();
    },
  };
}

/** The part of `tfjs-node` that is used here. */
interface TfjsNode {
  node?: { loadSavedModel: (path: string) => Promise<SavedModel> };
}

interface SavedModel {
  /** A dimension is a protocol buffer; an open one has the size -1. */
  signature: { inputs: Record<string, { shape: { getSize: () => number }[]; dtype: string }> };
  predict: (inputs: Tfjs.NamedTensorMap) => Tfjs.NamedTensorMap;
  dispose: () => void;
}

async function savedModelNetwork(
  tf: typeof Tfjs & TfjsNode,
  path: string,
  files: ModelFiles,
): Promise<TfjsNetwork> {
  if (!tf.node) {
    throw new Error(
      'a SavedModel runs on the backend tensorflow only; convert it with tensorflowjs_converter for others',
    );
  }
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) await files.hash(join(entry.parentPath, entry.name));
  }
  const model = await tf.node.loadSavedModel(path);
  const names = Object.keys(model.signature.inputs);
  return {
    kind: 'SavedModel',
    inputs: Object.entries(model.signature.inputs).map(([name, { shape, dtype }]) => ({
      name,
      shape: shape.map((dim) => dim.getSize()),
      dtype,
    })),
    run: (inputs) => Promise.resolve(model.predict(keyed(names, inputs))),
    dispose: () => {
      model.dispose();
    },
  };
}

async function moduleNetwork(
  tf: typeof Tfjs,
  path: string,
  files: ModelFiles,
  attempt: number,
): Promise<TfjsNetwork> {
  await files.watch(path);
  if (!existsSync(path) || !statSync(path).isFile()) throw new ModelFileError(`${path} is missing`);
  await files.hash(path);
  const url = pathToFileURL(path);
  if (attempt > 0) {
    // A thread caches imports, even failed ones, so the URL has to differ. The module's own imports stay
    // cached.
    url.searchParams.set('attempt', String(attempt));
    Reflect.deleteProperty(createRequire(import.meta.url).cache, realpathSync(path));
  }
  const imported = (await import(url.href)) as Partial<ModelModule> & { default?: object };
  // The exports of a CommonJS module may be on `default` only.
  const { inputs, load, run } = { ...imported.default, ...imported } as Partial<ModelModule>;
  if (typeof inputs !== 'object' || typeof run !== 'function') {
    throw new Error(
      'a model given as a module must export `inputs` (name: { shape, dtype }) and `run(tf, batch, state)`',
    );
  }
  const loaded: AnyModel[] = [];
  const state = await load?.(tf, async (file) => {
    const model = await loadModel(tf, resolve(dirname(path), file), files);
    loaded.push(model);
    return model;
  });
  const names = Object.keys(inputs);
  const isTensor = (value: unknown): value is Tfjs.Tensor => value instanceof tf.Tensor;
  return {
    kind: 'module',
    inputs: Object.entries(inputs).map(([name, { shape, dtype = 'float32' }]) => ({
      name,
      shape: [null, ...shape],
      dtype,
    })),
    run: async (tensors) => {
      const batch = names.length === 1 ? tensors[0] : keyed(names, tensors);
      const results: unknown = await run(tf, batch as never, state);
      if (isTensor(results)) return { output: results };
      if (typeof results === 'object' && results && Object.values(results).every(isTensor)) {
        return results as Tfjs.NamedTensorMap;
      }
      throw new Error(`\`run\` must return a tensor, or tensors by name; it returned a ${typeof results}`);
    },
    dispose: () => {
      for (const model of loaded) model.dispose();
    },
  };
}

/** The input tensors by name. */
function keyed(names: readonly string[], tensors: readonly Tfjs.Tensor[]): Tfjs.NamedTensorMap {
  if (names.length !== tensors.length) {
    throw new Error(`the model takes ${names.length} tensors and got ${tensors.length}`);
  }
  return Object.fromEntries(names.map((name, i) => [name, tensors[i]])) as Tfjs.NamedTensorMap;
}

/** The outputs by name. A layer with several outputs has one name for all of them, so an index is added. */
function byName(names: readonly string[], outputs: Tfjs.Tensor | Tfjs.Tensor[]): Tfjs.NamedTensorMap {
  const tensors = Array.isArray(outputs) ? outputs : [outputs];
  return Object.fromEntries(
    tensors.map((tensor, i) => {
      const name = names[i] ?? '';
      return [names.indexOf(name) < i ? `${name}:${i}` : name, tensor];
    }),
  );
}
