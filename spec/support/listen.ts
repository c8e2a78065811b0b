import { once } from 'node:events'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo, Server, Socket } from 'node:net'

/** A server that listens on a port of the loopback interface. */
export interface Listening {
  port: number
  /** Where it is if it speaks HTTP without TLS. */
  origin: string
  /** Connections accepted so far. */
  connections: number
  /** Ends it and its connections, whatever is spoken on them. */
  close: () => Promise<void>
}

/** Lets a server listen, or what answers the requests of plain HTTP. */
export async function listen(serving: Server | RequestListener, port = 0): Promise<Listening> {
  // No end of its own to idle connections: a busy process would close one in the moment in which the client uses it.
  const server = typeof serving === 'function' ? createServer({ keepAliveTimeout: 0 }, serving) : serving
  const sockets = new Set<Socket>()
  // TLS and HTTP/2 servers tell of the TCP connection too.
  server.on('connection', (socket: Socket) => {
    listening.connections++
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
  })
  // A herd of clients connects at once.
  server.listen({ port, host: '127.0.0.1', backlog: 4096 })
  await once(server, 'listening')
  const { port: own } = server.address() as AddressInfo
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  }
  const listening = { port: own, origin: `http://127.0.0.1:${own}`, connections: 0, close }
  return listening
}
