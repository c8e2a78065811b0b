// The last two lines are what Jest needs for packages that are ES modules only, as xaa-fetch and jose are: any transform
// that takes JavaScript too (@swc/jest, babel-jest, ts-jest with allowJs), and no exception for these two.

/** @type {import('jest').Config} */
export default {
  testMatch: ['**/*.test.ts'],
  transform: { '^.+\\.[jt]s$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' } } }] },
  transformIgnorePatterns: ['/node_modules/(?!(xaa-fetch|jose)/)'],
}
