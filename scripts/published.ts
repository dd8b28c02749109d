/** What of this repository is published, beyond the manifest in `libs/batching/package.json`. */
export const published = {
  /**
   * The repository's address on the web, as `https://<host>/<owner>/<name>`; empty while it has none. The published manifest
   * and the links of the published README are made of it, and a release needs it.
   */
  repositoryUrl: '',
  /** Folders of `libs/batching/src` whose `index.ts` is an entry point, `nest-batching/<folder>`. */
  entryPoints: [
    'core',
    'testing',
    'tfjs',
    'onnx',
    'prometheus',
    'opentelemetry',
    'terminus',
    'redis',
    'nats',
    'dashboard',
  ],
};
