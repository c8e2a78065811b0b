import { spawn } from 'node:child_process'
import { buffer } from 'node:stream/consumers'
import { idTokenFromRefreshToken } from '../id-token-from-refresh-token.ts'
import type { AnyFetch } from '../protocol/context.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import { makeRoom } from '../token/make-room.ts'
import { reasonOf, rewritePrivately, textIn, textOf } from './files.ts'
import type { IdTokenSource } from './settings-schema.ts'

/** Refresh tokens of a session that are remembered: an older one in its file is of somebody else. */
const mostKnown = 100

/** What a session at the identity provider takes. */
interface Provider {
  idp: ServerRegistration
  /** Default: the global fetch. */
  fetch: AnyFetch | undefined
}

/** Makes a `getIdToken` of where the ID token comes from. A file and a command are asked anew each time. */
export function idTokenGetter(source: IdTokenSource, type: string, provider: Provider): GetIdToken {
  const read = readerOf(source, provider)
  return async (wanted) => {
    const token = await read(wanted)
    if (token === '') throw new Error('The ID token is empty')
    return typeof token === 'string' ? { token, type } : token
  }
}

function readerOf(source: IdTokenSource, provider: Provider): GetIdToken {
  switch (source.kind) {
    case 'text':
      return () => source.token
    case 'file':
      return () => fromFile(source.path)
    case 'command':
      return ({ signal }) => fromCommand(source.command, signal)
    case 'stdin': {
      let read: Promise<string> | undefined
      return ({ signal }) => (read ??= fromStandardInput(signal))
    }
    case 'refresh_token': {
      const { token, path } = source
      return path === undefined
        ? idTokenFromRefreshToken({ ...provider, refreshToken: token })
        : fromRefreshTokenIn(path, provider)
    }
  }
}

function fromFile(path: string): string {
  try {
    return textOf(path)
  } catch (error) {
    throw new Error(`Cannot read the ID token from ${path}: ${reasonOf(error)}`, { cause: error })
  }
}

async function fromStandardInput(signal: AbortSignal): Promise<string> {
  // Whoever waits no longer must not be kept from ending by an input that stays open.
  signal.addEventListener('abort', () => process.stdin.destroy(), { once: true })
  return textIn(await buffer(process.stdin))
}

async function fromCommand(command: string, signal: AbortSignal): Promise<string> {
  return await new Promise((resolve, reject) => {
    // What it says on standard error is for whoever looks on; standard output is the token.
    const child = spawn(command, { shell: true, stdio: ['ignore', 'pipe', 'inherit'], signal })
    const chunks: Uint8Array[] = []
    child.stdout.on('data', (chunk: Uint8Array) => chunks.push(chunk))
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve(textIn(Buffer.concat(chunks)))
      else reject(new Error(`The command for the ID token failed with exit code ${code ?? 'none'}`))
    })
  })
}

/**
 * Keeps the session whose refresh token is in a file, and writes each new one to it. If somebody else has written another
 * one, of a new sign-in, that begins another session.
 */
function fromRefreshTokenIn(path: string, provider: Provider): GetIdToken {
  /** The refresh tokens that the file may hold without anybody else having written it. */
  let ours = new Set<string>()
  let session: GetIdToken | undefined
  return (wanted) => {
    const refreshToken = fromFile(path)
    if (session === undefined || !ours.has(refreshToken)) {
      const known = (ours = new Set([refreshToken]))
      session = idTokenFromRefreshToken({
        ...provider,
        refreshToken,
        onRotate: (rotated) => {
          makeRoom(known, mostKnown, rotated).add(rotated)
          rewritePrivately(path, `${rotated}\n`)
        },
      })
    }
    return session(wanted)
  }
}
