/** NEST names a project whose Nest the specs run on instead of this one's, as `npm run matrix` does with an older major. */
const { NEST } = process.env;

/** Specs stand beside the source; end-to-end tests in `test/`. Those import the library by its name and get the built one. */
export default {
  rootDir: '.',
  testMatch: ['libs', 'apps', 'sim', 'test'].map((folder) => `<rootDir>/${folder}/**/*.spec.ts`),
  testEnvironment: 'node',
  setupFilesAfterEnv: ['<rootDir>/test/second-attempt.ts'],
  reporters: ['default', '<rootDir>/scripts/closing-line.js'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
          target: 'es2022',
        },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  moduleNameMapper: {
    ...(NEST ? { '^((?:@nestjs|reflect-metadata|rxjs)(?:/.*)?)$': `${NEST}/node_modules/$1` } : {}),
    '^nest-batching$': '<rootDir>/dist/libs/batching/index.js',
    '^nest-batching/(.*)$': '<rootDir>/dist/libs/batching/$1/index.js',
    '^@app/figures$': '<rootDir>/libs/figures/src/index.ts',
    '^@app/serving$': '<rootDir>/libs/serving/src/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  // The built library's package.json has the name of its source's.
  modulePathIgnorePatterns: ['<rootDir>/dist/libs/batching/package.json'],
  // Browsers, worker threads and child processes share two cores; a busy machine may be ten times as slow as an idle one.
  testTimeout: 120_000,
};
