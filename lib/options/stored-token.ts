import * as z from 'zod/mini'
import { isHeaderSafe } from '../protocol/token-endpoint.ts'
import { oneOf, ownMembers, that, withoutPrototype } from './option-schema.ts'
import type { Schema } from './option-schema.ts'
import type { StoredToken } from './token-store.ts'

// eslint-disable-next-line no-control-regex
const controlCharacter = /[\u0000-\u001f\u007f-\u009f]/
/** A server's lifetime is taken as a day at most (E5), and so is a store's. */
const longestLifetimeMs = 86_400_000

const isLifetime = (value: unknown): boolean =>
  typeof value === 'number' && value > 0 && value <= longestLifetimeMs

const text = z.optional(
  that<string>((value) => typeof value === 'string' && !controlCharacter.test(value), 'must be a text'),
)

/**
 * What a store gives, checked like a server's answer (G6). A token of another kind, without an end or that no header can
 * carry is as good as none.
 */
export const storedToken: Schema<StoredToken> = z.pipe(
  z.pipe(
    z.transform((value: unknown) => ownMembers(value)),
    z.object({
      value: that<string>(isHeaderSafe, 'must be a token that a header can carry'),
      tokenType: oneOf('Bearer'),
      expiresAt: that<number>(Number.isFinite, 'must be a time'),
      leftMs: z.optional(that<number>(Number.isFinite, 'must be a time')),
      lifetimeMs: that<number>(isLifetime, 'must be a lifetime of a day at most'),
      scope: text,
      key: text,
    }),
  ),
  z.transform(withoutPrototype),
)
