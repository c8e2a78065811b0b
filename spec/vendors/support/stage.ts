import type { CrossAppAccessOptions, ResourceOptions, ServerRegistration } from '../../../lib/index.ts'
import type { Vendor } from './profile.ts'
import { startWorld } from './world.ts'
import type { World } from './world.ts'

const open: World[] = []

/** Starts a vendor's world, which {@link closeStage} ends. */
export async function stage(vendor: Vendor): Promise<World> {
  const world = await startWorld(vendor)
  open.push(world)
  return world
}

/** Ends all worlds, and fails where a server broke or the MCP server saw what it must not see. */
export async function closeStage(): Promise<void> {
  const worlds = open.splice(0)
  const leaks = worlds.flatMap((world) => world.leaks())
  await Promise.all(worlds.map((world) => world.close()))
  if (leaks.length > 0) throw new Error(`The MCP server has seen ${leaks.join(', ')}`)
}

/** The options of the recipe with another registration at the identity provider. */
export function atIdp(
  options: CrossAppAccessOptions,
  changes: Partial<ServerRegistration>,
): CrossAppAccessOptions {
  return { ...options, idp: merge(options.idp, changes) }
}

/** The options of the recipe with another registration at the authorization server. */
export function atServer(
  options: CrossAppAccessOptions,
  changes: Partial<ServerRegistration>,
): CrossAppAccessOptions {
  const [own, ...others] = options.authorizationServers
  if (own === undefined) throw new Error('There is no authorization server')
  return { ...options, authorizationServers: [merge(own, changes), ...others] }
}

/** The options of the recipe with more to say about the resource. */
export function forResource(
  options: CrossAppAccessOptions,
  changes: Partial<ResourceOptions>,
): CrossAppAccessOptions {
  const [resource] = options.resources
  if (typeof resource !== 'object' || resource instanceof URL) throw new Error('There is no resource')
  return { ...options, resources: [{ ...resource, ...changes }] }
}

// A secret and another way to authenticate exclude each other.
function merge(registration: ServerRegistration, changes: Partial<ServerRegistration>): ServerRegistration {
  const { clientSecret, clientAuthentication, ...rest } = registration
  if (changes.clientSecret !== undefined || changes.clientAuthentication !== undefined)
    return { ...rest, ...changes }
  return {
    ...rest,
    ...(clientSecret !== undefined && { clientSecret }),
    ...(clientAuthentication !== undefined && { clientAuthentication }),
    ...changes,
  }
}
