import { Account, Accounts } from '../../lib/token/account.ts'

const clock = { now: () => 0, monotonic: () => 0 }
const backOff = { minMs: 1000, maxMs: 60_000, terminalMs: 30_000 }
const accountsFor = (maxEntries: number) => new Accounts({ maxEntries, backOff, clock })

describe('accounts (E0, G8)', () => {
  it('are one for the same subject and resource, and another as soon as one differs', () => {
    const accounts = accountsFor(10)
    const alice = accounts.of('alice', 0)
    expect(accounts.of('alice', 0)).toBe(alice)
    const others = [accounts.of('bob', 0), accounts.of('alice', 1), accounts.of(undefined, 0)]
    expect(new Set([alice, ...others, accounts.of('null', 0), accounts.of('', 0)]).size).toBe(6)
  })

  it('make room for another: the one not used for the longest time goes, and says so', () => {
    const accounts = accountsFor(2)
    const [a, b] = [accounts.of('a', 0), accounts.of('b', 0)]
    accounts.of('a', 0)
    accounts.of('c', 0)
    expect([a.evicted, b.evicted]).toEqual([false, true])
    expect(accounts.of('b', 0)).not.toBe(b)
  })

  it('never go while a flight is under way', () => {
    const accounts = accountsFor(1)
    const busy = accounts.of('a', 0)
    busy.flights.set('', { startedAt: 0, isSoft: false, token: new Promise(() => undefined) })
    accounts.of('b', 0)
    expect(busy.evicted).toBe(false)
    expect(accounts.of('a', 0)).toBe(busy)
  })

  it('hold no secret after a sign-out, and know that there was one (H8)', () => {
    const account = new Account({ backOff, clock })
    account.refreshTokens.set('x', { token: 'secret', type: 'refresh_token' })
    account.keptIdJag = { grant: { idJag: 'secret' }, expiresAt: 1, wantedBy: '' }
    const { epoch, refreshTokens } = account
    account.forget()
    // By a flight that was under way.
    refreshTokens.set('y', { token: 'secret', type: 'refresh_token' })
    expect(account.epoch).toBe(epoch + 1)
    expect(JSON.stringify([...account.refreshTokens, account.keptIdJag])).not.toContain('secret')
    expect(account.refusals.token).toBeUndefined()
  })
})
