import { mcpOrigin } from './back-channel.ts'
import type { IssuedToken } from './back-channel.ts'

// Users and clients are numbers, resources are numbers and URLs, and a place is a user at a resource.

export const users = [0, 1, 2]
export const clients = [0, 1]
export const resources = [`${mcpOrigin}/mcp/a`, `${mcpOrigin}/mcp/b`]

/** The one user who may have the scope that goes by this name. */
export const privileged = { user: 2, scope: 'admin' }

/** A user that no call is for. */
export const nobody = -1

/** As events name it. */
export function placeOf(user: number, resource: number): string {
  return `user-${user} ${resources[resource]}`
}

/** Where a token belongs. */
export function placeOfToken({
  subjectToken,
  resource,
}: Pick<IssuedToken, 'subjectToken' | 'resource'>): string {
  return placeOf(userOf(subjectToken), indexOf(resource))
}

/** Whose token an exchange asks for, and for which resource. */
export function placeIn(form: URLSearchParams): string {
  return placeOfToken({
    subjectToken: form.get('subject_token') ?? '',
    resource: form.get('resource') ?? '',
  })
}

/** The index of a resource; what metadata may call it is below it. */
export function indexOf(resource: string): number {
  return resources.indexOf(resource.replace(/\/write$/, ''))
}

/** Subject tokens are `user-1.2`: the user's number, and how often they have signed in. */
export function userOf(subjectToken: string): number {
  return Number(/^user-(\d+)\./.exec(subjectToken)?.[1])
}
