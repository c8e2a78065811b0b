// Packages that are ESM only are transpiled with the specs, so that `jest` needs no --experimental-vm-modules.
// The ESM that users get is exercised by spec/packaging.spec.ts and by the examples.

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  testEnvironmentOptions: { globalsCleanup: 'off' },
  roots: ['<rootDir>/spec'],
  testMatch: ['**/*.spec.ts'],
  // They have a package.json and packages of their own, and are run by commands of their own.
  modulePathIgnorePatterns: ['clients', 'runtimes', 'undici8'].map(
    (name) => `<rootDir>/spec/${name}/node_modules/`,
  ),
  setupFiles: ['<rootDir>/spec/support/property-seed.ts'],
  // No spec measures time: this only ends one that hangs, on machines of any speed.
  testTimeout: 180_000,
  // Most specs wait for sockets and child processes: both cores of a small machine are of use.
  maxWorkers: '100%',
  testSequencer: '<rootDir>/.ci/slow-first.mjs',
  transform: {
    '^.+\\.m?[jt]s$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } },
    ],
  },
  transformIgnorePatterns: [
    '/node_modules/(?!(jose|oidc-provider|rettime|until-async|@open-draft/deferred-promise)/)',
  ],
}
