import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listen } from './listen.ts'

/** Whether there is a `redis-server` or `valkey-server` on this machine, and its name. */
export const redisCommand: string | undefined = ['redis-server', 'valkey-server'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
)

/** A server on a free port of the loopback interface, with nothing on disk. */
export class RedisServer {
  readonly port: number
  readonly #flags: readonly string[]
  #process: ChildProcess | undefined

  private constructor(port: number, flags: readonly string[]) {
    this.port = port
    this.#flags = flags
  }

  static async start(...flags: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), flags)
    await server.restart()
    return server
  }

  /** Starts three masters that share the slots. Each knows the others when this is done. */
  static async startCluster(): Promise<RedisServer[]> {
    const start = async () => {
      const dir = mkdtempSync(join(tmpdir(), 'xaa-fetch-redis-'))
      const busPort = String(await freePort())
      return RedisServer.start('--cluster-enabled', 'yes', '--cluster-port', busPort, '--dir', dir)
    }
    const nodes = await Promise.all([start(), start(), start()])
    const [first] = nodes
    const run = (node: RedisServer, ...command: string[]) => {
      const cli = (redisCommand ?? '').replace('server', 'cli')
      return spawnSync(cli, ['-p', String(node.port), 'CLUSTER', ...command], { encoding: 'utf8' }).stdout
    }
    const ends = [0, 5461, 10922, 16384]
    nodes.forEach((node, index) => {
      run(node, 'ADDSLOTSRANGE', String(ends[index]), String((ends[index + 1] ?? 0) - 1))
      run(node, 'SET-CONFIG-EPOCH', String(index + 1))
    })
    const [, busPort = ''] = /@(\d+)/.exec(run(first, 'NODES')) ?? []
    for (const node of nodes.slice(1)) run(node, 'MEET', '127.0.0.1', String(first.port), busPort)
    const isReady = (node: RedisServer) => /cluster_state:ok[^]*cluster_known_nodes:3/.test(run(node, 'INFO'))
    for (let looks = 0; !nodes.every(isReady); looks++) {
      if (looks > 10_000) throw new Error('The nodes of the cluster do not find each other')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return nodes
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Ends it, if it runs, and starts it empty on the same port. */
  async restart(): Promise<void> {
    await this.close()
    const flags = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
    const child = spawn(redisCommand ?? 'redis-server', [...flags, ...this.#flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#process = child
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)))
      child.stdout.on('data', (chunk: Buffer) => {
        if (chunk.toString().includes('Ready to accept connections')) resolve()
      })
    })
  }

  /** Stops it without closing a connection. */
  suspend(): void {
    this.#process?.kill('SIGSTOP')
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  async close(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    // A stopped process heeds nothing else.
    child.kill('SIGKILL')
    await ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function freePort(): Promise<number> {
  const { port, close } = await listen(createServer())
  await close()
  return port
}
