import { lookup as resolve } from 'node:dns'
import type { LookupAddress, LookupAllOptions } from 'node:dns'
import { BlockList, isIP } from 'node:net'
import type { LookupFunction } from 'node:net'

const ipv4Networks = [
  ['0.0.0.0', 8], // this network
  ['10.0.0.0', 8],
  ['100.64.0.0', 10], // carrier-grade NAT
  ['127.0.0.0', 8], // loopback
  ['169.254.0.0', 16], // link-local, metadata services of clouds among them
  ['172.16.0.0', 12],
  ['192.0.0.0', 24], // protocol assignments
  ['192.0.2.0', 24], // documentation
  ['192.168.0.0', 16],
  ['198.18.0.0', 15], // benchmarks
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, broadcast
] as const

const ipv6Networks = [
  ['::', 96], // unspecified, loopback, IPv4-compatible
  ['::ffff:0:0:0', 96], // IPv4-translated
  ['64:ff9b:1::', 48], // local NAT64
  ['100::', 64], // discard
  ['2001::', 23], // protocol assignments, Teredo among them
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4
  ['3fff::', 20], // documentation
  ['5f00::', 16], // segment routing
  ['fc00::', 7], // unique local
  ['fe80::', 10], // link-local
  ['fec0::', 10], // site-local
  ['ff00::', 8], // multicast
] as const

/** Every address that is not one of the public internet. IPv4 rules cover IPv4-mapped IPv6 addresses too. */
const privateAddresses = new BlockList()
for (const [network, prefix] of ipv4Networks) {
  privateAddresses.addSubnet(network, prefix, 'ipv4')
  // NAT64: the IPv4 address is embedded.
  privateAddresses.addSubnet(`64:ff9b::${network}`, 96 + prefix, 'ipv6')
}
for (const [network, prefix] of ipv6Networks) privateAddresses.addSubnet(network, prefix, 'ipv6')

/** Whether an address is private, loopback, link-local or in another way none of the public internet. */
export function isPrivateAddress(address: string): boolean {
  // A zone is for link-local addresses, and is no part of the address.
  const [plain = ''] = address.split('%', 1)
  const family = isIP(plain)
  return family === 0 || privateAddresses.check(plain, family === 6 ? 'ipv6' : 'ipv4')
}

/** Whether an origin is this very machine, whatever resolves names. */
export function isThisMachine(origin: string | URL): boolean {
  const hostname = hostnameOf(origin)
  return isLocalName(hostname) || hostname === '::1' || (isIP(hostname) === 4 && hostname.startsWith('127.'))
}

/** As `URL` writes it, without the brackets of an IPv6 address and without a dot at its end. */
function hostnameOf(origin: string | URL): string {
  return new URL(origin).hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
}

/** @see [RFC 6761 §6.3](https://www.rfc-editor.org/rfc/rfc6761#section-6.3) */
function isLocalName(hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost')
}

/**
 * Refuses private addresses, for all hosts but those that are allowed to have one.
 *
 * The addresses that are looked at are those that are connected to, so that a name which resolves to something else a
 * moment later gains nothing.
 */
export class AddressGuard {
  readonly #allowed: ReadonlySet<string>

  constructor(allowed: readonly string[]) {
    this.#allowed = new Set(allowed.map((host) => host.toLowerCase()))
  }

  /** Refuses hosts that are addresses themselves, which nothing resolves. */
  check(origin: string | URL): void {
    const hostname = hostnameOf(origin)
    if (this.#allowed.has(hostname)) return
    const isPrivate = isIP(hostname) !== 0 && isPrivateAddress(hostname)
    if (isLocalName(hostname) || isPrivate) throw refusal(hostname)
  }

  /** A `lookup` for connections. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    if (this.#allowed.has(hostname.toLowerCase())) return resolve(hostname, options, callback)
    const all: LookupAllOptions = { ...options, all: true }
    resolve(hostname, all, (error, addresses) => {
      const [first] = addresses ?? []
      if (error !== null || first === undefined) return callback(error ?? refusal(hostname), [])
      // One is enough: a name that has both kinds is an attempt to get past.
      if (addresses.some(({ address }: LookupAddress) => isPrivateAddress(address)))
        return callback(refusal(hostname), [])
      if (options.all === true) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}

function refusal(hostname: string): NodeJS.ErrnoException {
  const text = `${hostname} is, or resolves to, an address that is private, loopback or link-local; allowPrivateAddresses lists the hosts that may`
  return Object.assign(new Error(text), { code: 'ERR_PRIVATE_ADDRESS' })
}
