import { longestLease } from './options.ts'

/*
 * What must happen in Redis in one piece. All keys of a script are declared and have the same hash tag, so that it runs on
 * a cluster too. A key of another type than expected is garbage: it is overwritten, never an error.
 */

/**
 * KEYS: lease. ARGV: owner, milliseconds. Gives 0 if the lease is the owner's now, else the milliseconds it has left. What
 * has no end, or one that no lease has, is none.
 */
export const acquireLease: string = `
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left <= ${longestLease} then return math.max(left, 1) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0`

/** KEYS: lease. ARGV: owner, milliseconds. Takes it anew if Redis has lost it. Gives 1 if it is the owner's, else 0. */
export const extendLease = `
local owner = redis.pcall('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

/** KEYS: lease. ARGV: owner, channel, message. Ends the owner's lease, and nobody else's, and wakes who waits for it. */
export const releaseLease = `
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1`

/**
 * KEYS: entry, generation, index. ARGV: generation known, value, milliseconds. Keeps an entry unless its account has been
 * forgotten since. Gives the generation.
 */
export const keepEntry = `
local generation = redis.pcall('GET', KEYS[2])
if type(generation) ~= 'string' then generation = '' end
if generation ~= '' and generation ~= ARGV[1] then return generation end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if type(redis.pcall('SADD', KEYS[3], KEYS[1])) ~= 'number' then
  redis.call('DEL', KEYS[3])
  redis.call('SADD', KEYS[3], KEYS[1])
end
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
return generation`

/** KEYS: entry. ARGV: value. Deletes the entry if it still has that value. */
export const deleteEntry = `
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`

/** KEYS: generation, index, entries. ARGV: new generation, milliseconds, channel, message. Forgets an account. */
export const forgetAccount = `
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1`

/** KEYS: session. ARGV: value expected, value, milliseconds. Gives 0 if another value is there. */
export const writeSession = `
local current = redis.pcall('GET', KEYS[1])
if type(current) == 'string' and current ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`
