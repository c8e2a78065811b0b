import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { AnyFetch } from '../../protocol/context.ts'
import type { ServerRegistration } from '../../protocol/registration.ts'
import type { GetIdToken } from '../../protocol/subject-token.ts'
import type { Settings } from './settings.ts'
import { signIn } from './sign-in.ts'
import { reasonOf } from './usage-error.ts'

/** Makes a `getIdToken` of where the ID token comes from. A file and a command are asked anew each time. */
export function idTokenGetter(
  { idToken: { source, type }, idp }: Pick<Settings, 'idToken'> & { idp: ServerRegistration },
  surroundings: { fetch: AnyFetch; notify: (line: string) => void },
): GetIdToken {
  let fromStdin: Promise<string> | undefined
  const read: GetIdToken = async (wanted) => {
    switch (source.kind) {
      case 'text':
        return source.token
      case 'file':
        return fromFile(source.path)
      case 'stdin':
        return await (fromStdin ??= fromStandardInput(wanted.signal))
      case 'command':
        return await fromCommand(source.command, wanted.signal)
      case 'sign_in': {
        const { acrValues, maxAge, signal } = wanted
        const demanded = {
          ...(acrValues !== undefined && { acrValues }),
          ...(maxAge !== undefined && { maxAge }),
        }
        return await signIn({ ...source, ...surroundings, ...demanded, idp, signal })
      }
    }
  }
  return async (wanted) => {
    const token = await read(wanted)
    if (token === '') throw new Error('The ID token is empty')
    return typeof token === 'string' ? { token, type } : token
  }
}

function fromFile(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    throw new Error(`Cannot read the ID token from ${path}: ${reasonOf(error)}`, { cause: error })
  }
}

async function fromStandardInput(signal: AbortSignal): Promise<string> {
  let text = ''
  // Whoever waits no longer must not be kept from ending by an input that stays open.
  signal.addEventListener('abort', () => process.stdin.destroy(), { once: true })
  process.stdin.setEncoding('utf8')
  // Text, since the encoding is set.
  for await (const chunk of process.stdin) text += chunk as string
  return text.trim()
}

async function fromCommand(command: string, signal: AbortSignal): Promise<string> {
  return await new Promise((resolve, reject) => {
    // What it says on standard error is for whoever looks on; standard output is the token.
    const child = spawn(command, { shell: true, stdio: ['ignore', 'pipe', 'inherit'], signal })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve(text.trim())
      else reject(new Error(`The command for the ID token failed with exit code ${code ?? 'none'}`))
    })
  })
}
