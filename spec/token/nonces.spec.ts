import { Nonces } from '../../lib/token/nonces.ts'

describe('the nonces of servers', () => {
  it('are those of the thousand origins that gave one last (G8)', () => {
    const nonces = new Nonces()
    for (let at = 0; at < 1_000; at++) nonces.set(`https://${at}.example`, 'first')
    nonces.set('https://0.example', 'second')
    nonces.set('https://another.example', 'first')
    expect([nonces.size, nonces.get('https://0.example'), nonces.has('https://1.example')]).toEqual([
      ...[1_000, 'second', false],
    ])
  })
})
