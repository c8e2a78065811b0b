/**
 * Tokens and sessions shared by many processes, on Redis or Valkey, with the client that the application has.
 *
 * @module
 */
export { redisStore } from './redis-store.ts'
export type { RedisStoreOptions, StoreKey } from './options.ts'
