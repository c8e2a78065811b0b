import { redisCommand } from '../support/redis-server.ts'

/** `describe` if there is a server; else the specs are skipped, and their title says why. */
export const describeWithRedis = (title: string, specs: () => void): void => {
  if (redisCommand !== undefined) describe(title, specs)
  else describe.skip(`${title} [skipped: there is no redis-server on this machine]`, specs)
}
