import { X509Certificate, createPrivateKey } from 'node:crypto'
import { resolve } from 'node:path'
import * as z from 'zod/mini'
import type { ParsePayload } from 'zod/v4/core'
import { behaviourShape, serversShape, wholeChecks } from '../options/configuration.ts'
import {
  choice,
  countFrom,
  isObject,
  object,
  ownMembers,
  text,
  trimmedText,
  withoutPrototype,
} from '../options/option-schema.ts'
import type { Schema, WholeCheck } from '../options/option-schema.ts'
import type { CrossAppAccessOptions, ResourceOptions } from '../options/options.ts'
import { jwk, parameters, registrationWith } from '../options/registrations.ts'
import type { Credentials, Registration } from '../options/registrations.ts'
import { reasonOf, textOf } from './files.ts'

/** What a settings file is read in: its paths are relative to the directory, its variables are of the environment. */
export interface Surroundings {
  readonly directory: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/** What a settings file says, with everything that stands elsewhere. */
export interface Settings extends Servers, Behaviour {
  $schema?: string | undefined
  idToken?: IdToken | undefined
  /** Certificate authorities, as PEM. */
  ca?: string | undefined
}

interface Servers {
  idp?: Registration | undefined
  authorizationServers?: Registration[] | undefined
  resources?: (ResourceOptions & { url: string })[] | undefined
}

type Behaviour = { [Name in keyof typeof behaviourShape]?: CrossAppAccessOptions[Name] }

/** Where an ID token comes from, and what kind of token it is. */
export interface IdToken {
  source?: IdTokenSource | undefined
  type?: string | undefined
  signIn?: { port?: number | undefined; scope?: string | undefined } | undefined
}

/** Where an ID token comes from. Paths are absolute. */
export type IdTokenSource =
  | { kind: 'file'; path: string }
  | { kind: 'stdin' }
  | { kind: 'command'; command: string }
  | { kind: 'text'; token: string }
  | { kind: 'refresh_token'; token: string; path?: string | undefined }

/** Settings that are enough for the library: the servers are there. */
type CompleteSettings = Settings & { [Name in keyof Servers]-?: NonNullable<Servers[Name]> }

/** The schema of a settings file for the command, which takes from flags what is not in it. */
export function settingsSchema(around: Surroundings): Schema<Settings> {
  const { idp, authorizationServers, resources } = serversOf(around)
  return object(
    {
      ...restOf(around),
      idp: z.optional(idp),
      authorizationServers: z.optional(authorizationServers),
      resources: z.optional(resources),
    },
    ...wholeChecks,
  )
}

/** The schema of a settings file for the library. */
export function completeSettingsSchema(around: Surroundings): Schema<CompleteSettings> {
  return object({ ...restOf(around), ...serversOf(around) }, ...wholeChecks)
}

function serversOf(around: Surroundings) {
  return serversShape(registrationWith(credentialsOf(around)))
}

function restOf(around: Surroundings) {
  return {
    ...behaviourShape,
    $schema: z.optional(text),
    idToken: z.optional(idTokenOf(around)),
    ca: z.optional(z.pipe(fileOf(around), certificates)),
  }
}

// ---- What stands elsewhere -------------------------------------------------------------------------------------------

/** What was found, and in which file if it was one. */
interface Found {
  text: string
  path?: string
}

function problem(payload: ParsePayload, path: PropertyKey[], message: string): never {
  payload.issues.push({ code: 'custom', path, input: {}, message })
  // Nobody is given it, because of the issue.
  return undefined as never
}

/** A file whose path stands in the settings. No problem quotes the path: somebody may have written the secret itself there. */
function fileOf({ directory }: Surroundings): Schema<Found> {
  return z.pipe(
    text,
    z.transform((given: string, payload: ParsePayload) => {
      const path = resolve(directory, given)
      try {
        const content = textOf(path)
        return content === '' ? problem(payload, [], 'is an empty file') : { text: content, path }
      } catch (error) {
        return problem(payload, [], `cannot be read: ${reasonOf(error)}`)
      }
    }),
  )
}

function variableOf({ env }: Surroundings): Schema<Found> {
  return z.pipe(
    text,
    z.transform((name: string, payload: ParsePayload) => {
      const content = env[name]?.trim() ?? ''
      return content === '' ? problem(payload, [], 'is a variable that is not set') : { text: content }
    }),
  )
}

/** How many of these members there are, malformed ones too. */
function countOf(value: object, ...names: string[]): number {
  return names.filter((name) => Object.hasOwn(value, name)).length
}

const oneOrigin: WholeCheck = (value, add) => {
  if (countOf(value, 'file', 'env') !== 1) add([], 'must have either file or env')
}

const textIn = z.transform(({ text }: Found) => text)

/** A text of a file or of a variable, without the white space around it. */
function elsewhere(around: Surroundings): Schema<Found> {
  const shape = { file: z.optional(fileOf(around)), env: z.optional(variableOf(around)) }
  return z.pipe(
    object(shape, oneOrigin),
    // The check says that there is one.
    z.transform(({ file, env }) => (file ?? env) as Found),
  )
}

function textOrElsewhere(around: Surroundings): Schema<Found> {
  const there = elsewhere(around)
  const here: Schema<Found> = z.pipe(
    trimmedText,
    z.transform((text: string) => ({ text })),
  )
  return choice([here, there], (value) => (isObject(value) ? there : here))
}

function credentialsOf(around: Surroundings): Credentials {
  const secret = z.pipe(textOrElsewhere(around), textIn)
  const keyElsewhere = z.pipe(z.pipe(elsewhere(around), z.transform(keyIn)), jwk)
  const key = choice([jwk, keyElsewhere], (value) =>
    isObject(value) && ('file' in value || 'env' in value) ? keyElsewhere : jwk,
  )
  return { clientSecret: secret, secret, key, parameters: z.pipe(textsOf(secret), parameters) }
}

/** Texts by name, each here or elsewhere. */
function textsOf(each: Schema<string>): Schema<unknown> {
  return z.transform((value: unknown, payload: ParsePayload) => {
    const members = ownMembers(value)
    if (!isObject(members)) return members
    const read = Object.entries(members).map(([name, member]: [string, unknown]) => {
      const result = each.safeParse(member, { reportInput: true })
      if (result.success) return [name, result.data]
      for (const { path, message } of result.error.issues) problem(payload, [name, ...path], message)
      return [name, undefined]
    })
    return withoutPrototype(Object.fromEntries(read) as object)
  })
}

function keyIn({ text }: Found, payload: ParsePayload): unknown {
  try {
    return text.startsWith('-----BEGIN')
      ? createPrivateKey(text).export({ format: 'jwk' })
      : (JSON.parse(text) as unknown)
  } catch {
    // What was thrown may quote the key.
    return problem(payload, [], 'must be a private key: a JWK, or PEM (-----BEGIN PRIVATE KEY-----)')
  }
}

const certificates = z.transform(({ text }: Found, payload: ParsePayload) => {
  try {
    // TLS passes over what it cannot read, and trusts nothing more.
    new X509Certificate(text)
    return text
  } catch {
    return problem(payload, [], 'holds no certificate: certificate authorities are given as PEM')
  }
})

// ---- The ID token ----------------------------------------------------------------------------------------------------

const oneToken: WholeCheck = (value, add) => {
  if (countOf(value, 'file', 'command', 'env', 'refreshToken') > 1)
    add([], 'must have one of file, command, env and refreshToken')
}

function idTokenOf(around: Surroundings): Schema<IdToken> {
  const tokenFile: Schema<IdTokenSource> = z.pipe(
    text,
    z.transform((path: string): IdTokenSource =>
      path === '-' ? { kind: 'stdin' } : { kind: 'file', path: resolve(around.directory, path) },
    ),
  )
  const shape = {
    file: z.optional(tokenFile),
    command: z.optional(text),
    env: z.optional(variableOf(around)),
    refreshToken: z.optional(textOrElsewhere(around)),
    type: z.optional(text),
    signIn: z.optional(object({ port: z.optional(countFrom(0)), scope: z.optional(text) })),
  }
  return z.pipe(
    object(shape, oneToken),
    z.transform(({ file, command, env, refreshToken, ...rest }): IdToken => {
      if (file !== undefined) return { ...rest, source: file }
      if (command !== undefined) return { ...rest, source: { kind: 'command', command } }
      if (env !== undefined) return { ...rest, source: { kind: 'text', token: env.text } }
      if (refreshToken === undefined) return rest
      return { ...rest, source: { kind: 'refresh_token', token: refreshToken.text, path: refreshToken.path } }
    }),
  )
}
