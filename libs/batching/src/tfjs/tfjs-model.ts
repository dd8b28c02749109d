import { InferenceModel } from '../inference/main/inference-model.js';
import type { TfjsBackend } from './backend.js';

/**
 * A loaded model. Get it with `@InjectTfjsModel(name)`; in a unit test, an object with a `predict` can
 * replace it.
 */
export class TfjsModel extends InferenceModel {
  override get backend(): TfjsBackend {
    return super.backend as TfjsBackend;
  }
}
