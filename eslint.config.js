import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/** The arrows of the design: what a folder of the library may import (see docs/adr). */
const arrow = (folder, forbidden, message) => ({
  files: [`libs/${folder}/**/*.ts`],
  ignores: ['**/*.spec.ts'],
  rules: { 'no-restricted-imports': ['error', { patterns: [{ regex: forbidden, message }] }] },
});

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'node_modules/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      '@typescript-eslint/unified-signatures': 'off',
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: {
      globals: { process: 'readonly', console: 'readonly', URL: 'readonly', fetch: 'readonly' },
    },
  },
  // The page's modules: the compiler checks them, with the browser's names (tsconfig.page.json of the application or the demo).
  { files: ['apps/*/public/**/*.js', 'libs/serving/public/**/*.js'], rules: { 'no-undef': 'off' } },
  arrow('batching/src/core', '^(?!node:|\\./)', 'core/ imports node: and its own files only'),
  arrow(
    'batching/src/core/*',
    '^(?!node:|\\./|\\.\\./[^./]*\\.js$)',
    "a room of core/ imports node:, its own files and those of core/ itself, not another room's",
  ),
  arrow(
    'batching/src/nest',
    '^\\.\\./(?!core/|transport/transport\\.js$)',
    'nest/ imports core/, the contract of transports and Nest only',
  ),
  arrow('batching/src/transport', '^\\.\\./(?!core/)', 'transport/ imports core/ only'),
  arrow(
    'batching/src/redis',
    '^\\.\\./(?!core/|transport/)',
    'redis/ imports transport/, core/ and ioredis only',
  ),
  arrow(
    'batching/src/nats',
    '^\\.\\./(?!core/|transport/)',
    'nats/ imports transport/, core/ and @nats-io/ only',
  ),
  arrow('batching/src/inference', '^\\.\\./(?!core/)', 'inference/ imports core/ and Nest only'),
  arrow(
    'batching/src/inference/protocol',
    '^\\.\\./',
    'inference/protocol/ is for both threads and imports its own files only',
  ),
  arrow(
    'batching/src/inference/main',
    '^\\.\\./(?!errors\\.js|protocol/|\\.\\./core/)',
    'inference/main/ imports protocol/, core/ and Nest only: it does not load what runs in the worker',
  ),
  arrow(
    'batching/src/inference/worker',
    '^\\.\\./(?!errors\\.js|protocol/|\\.\\./core/)',
    'inference/worker/ imports protocol/ and core/ only: it does not load what runs in the main thread',
  ),
  arrow(
    'batching/src/tfjs',
    '^(\\./worker/|\\.\\./(?!core/|inference/(?!worker/)))',
    'tfjs/ imports inference/, core/ and Nest only, and nothing that runs in the worker',
  ),
  arrow(
    'batching/src/tfjs/worker',
    '^\\.\\./(?!backend\\.js|model-module\\.js|\\.\\./inference/(?!main/))',
    'tfjs/worker/ imports the backends and inference/ only, and nothing that runs in the main thread',
  ),
  arrow(
    'batching/src/onnx',
    '^(\\./worker/|\\.\\./(?!core/|inference/(?!worker/)))',
    'onnx/ imports inference/, core/ and Nest only, and nothing that runs in the worker',
  ),
  arrow(
    'batching/src/onnx/worker',
    '^\\.\\./(?!errors\\.js|execution-provider\\.js|\\.\\./inference/(?!main/))',
    'onnx/worker/ imports errors, providers and inference/ only, and nothing that runs in the main thread',
  ),
  arrow(
    'batching/src/testing',
    '^(?!node:|\\./|\\.\\./(core/|nest/(batched-view|marks)\\.js$|transport/(memory-transport|settings)\\.js$))',
    'testing/ imports node:, core/ and what loads no Nest: marks, the types of views, the transport in memory',
  ),
  arrow('batching/src/reports', '^\\.\\./(?!core/)', 'reports/ imports core/ and Nest only'),
  arrow(
    'batching/src/prometheus',
    '^\\.\\./(?!core/|reports/)',
    'prometheus/ imports core/, reports/, Nest and prom-client only',
  ),
  arrow(
    'batching/src/opentelemetry',
    '^\\.\\./(?!core/|reports/)',
    'opentelemetry/ imports core/, reports/, Nest and the API of OpenTelemetry only',
  ),
  arrow(
    'batching/src/terminus',
    '^\\.\\./(?!core/|reports/)',
    'terminus/ imports core/, reports/, Nest and Terminus only',
  ),
  arrow('batching/src/dashboard', '^\\.\\./(?!core/)', 'dashboard/ imports core/ and Nest only'),
  arrow(
    'batching/src/dashboard/page',
    '^(?!\\./|\\.\\./frame\\.js$)',
    "dashboard/page/ runs in the browser and imports its own files and the frames' types only",
  ),
  arrow('batching/src/link', '^\\.\\./', 'link/ imports its own files only'),
  arrow('batching/src/cli', '^\\.\\./(?!link/)', 'cli/ imports link/ only'),
  arrow('figures', '^(\\.\\./|nest-batching|@app/)', 'figures/ imports packages and its own files only'),
  arrow('serving', '^\\.\\./', 'serving/ imports packages, the library by its name, and its own files only'),
  {
    files: ['libs/batching/src/index.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: '^(?!\\./(core|nest|transport)/)',
              message: 'the barrel is core/, nest/ and transport/',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['apps/**/*.ts', 'test/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ regex: '/libs/', message: 'import the library by its name' }] },
      ],
    },
  },
);
