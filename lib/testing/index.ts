/**
 * A small enterprise in memory, to test a client of your own against: expiry, revocation, denial, step-up, outage.
 *
 * @module
 */
export { crossAppAccessError } from './cross-app-access-error.ts'
export type { CrossAppAccessErrorFields } from './cross-app-access-error.ts'
export { createTestEnterprise } from './enterprise.ts'
export type { TestEnterprise, TestEnterpriseOptions } from './enterprise.ts'
export type { TestFault } from './faults.ts'
export type { ListeningEnterprise } from './listen.ts'
export type { WantedAuthentication } from './mcp-server.ts'
export type { TestCaller, TestResponder } from './test-caller.ts'
export type { TestCounts, TestParty, TestRequest, TestStep } from './request-log.ts'
export type { TestClock } from './test-clock.ts'
