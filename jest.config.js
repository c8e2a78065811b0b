// Packages that are ESM only are transpiled with the specs, so that `jest` needs no --experimental-vm-modules.
// The ESM that users get is exercised by spec/packaging.spec.ts and by the examples.

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/spec'],
  testMatch: ['**/*.spec.ts'],
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
