// The clients, each as its users would set it up. `open` gives what the checks need: a call that says who the server
// takes the caller for, and an end.
import { createMCPClient } from '@ai-sdk/mcp'
import { experimental_createMCPClient as createMCPClient1 } from 'ai-sdk-mcp-1'
import Anthropic from '@anthropic-ai/sdk'
import { MultiServerMCPClient, loadMcpTools } from '@langchain/mcp-adapters'
import { MCPClient } from '@mastra/mcp'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { MCPServerSSE, MCPServerStreamableHttp } from '@openai/agents'
import axios from 'axios'
import ky from 'ky'
import { createFetch } from 'ofetch'
import OpenAI from 'openai'
import createClient from 'openapi-fetch'
import wretch from 'wretch'

/** MCP clients: `open(url, xaaFetch, authProvider)`, over Streamable HTTP unless `legacy`. */
export const mcpClients = [
  { name: '@ai-sdk/mcp', way: 'fetch', open: (url, fetch) => openAiSdk({ type: 'http', url, fetch }) },
  {
    ...{ name: 'ai-sdk-mcp-1', way: 'fetch' },
    open: (url, fetch) => openAiSdk({ type: 'http', url, fetch }, createMCPClient1),
  },
  {
    ...{ name: '@ai-sdk/mcp', way: 'fetch, SSE', legacy: true },
    open: (url, fetch) => openAiSdk({ type: 'sse', url, fetch }),
  },
  {
    ...{ name: '@openai/agents', way: 'fetch' },
    open: (url, fetch) => openAgents(new MCPServerStreamableHttp({ url, fetch })),
  },
  {
    ...{ name: '@openai/agents', way: 'fetch, SSE', legacy: true },
    open: (url, fetch) => openAgents(new MCPServerSSE({ url, fetch })),
  },
  { name: '@mastra/mcp', way: 'fetch', open: (url, fetch) => openMastra({ fetch, url: new URL(url) }) },
  {
    ...{ name: '@mastra/mcp', way: 'OAuthClientProvider' },
    open: (url, _, authProvider) => openMastra({ authProvider, url: new URL(url) }),
  },
  {
    ...{ name: '@langchain/mcp-adapters', way: 'loadMcpTools, fetch' },
    async open(url, fetch) {
      const client = new Client({ name: 'clients', version: '1.0.0' })
      await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch }))
      const tools = await loadMcpTools('chat', client)
      return { call: () => invoke(tools), close: () => client.close() }
    },
  },
  {
    ...{ name: '@langchain/mcp-adapters', way: 'MultiServerMCPClient, OAuthClientProvider' },
    async open(url, _, authProvider) {
      const client = new MultiServerMCPClient({
        mcpServers: { chat: { transport: 'http', url, authProvider } },
      })
      const tools = await client.getTools()
      return { call: () => invoke(tools), close: () => client.close() }
    },
  },
]

async function openAiSdk(transport, create = createMCPClient) {
  const client = await create({ transport })
  const { whoami } = await client.tools()
  const call = async () => textOf(await whoami.execute({}, { toolCallId: '1', messages: [] }))
  return { call, close: () => client.close() }
}

async function openAgents(server) {
  await server.connect()
  return { call: async () => (await server.callTool('whoami', {}))[0].text, close: () => server.close() }
}

async function openMastra(server) {
  const client = new MCPClient({ id: crypto.randomUUID(), servers: { chat: server } })
  const { toolsets, errors } = await client.listToolsetsWithErrors()
  if (errors?.chat !== undefined) {
    await client.disconnect()
    throw new Error(errors.chat)
  }
  const call = async () => textOf(await toolsets.chat.whoami.execute({}))
  return { call, close: () => client.disconnect() }
}

async function invoke(tools) {
  const result = await tools.find(({ name }) => name === 'whoami').invoke({})
  return typeof result === 'string' ? result : textOf({ content: result })
}

const textOf = ({ content }) => content[0].text

/** Clients that are not here, and why. */
export const notRun = {
  '@modelcontextprotocol/client 2.x, @modelcontextprotocol/sdk 1.x':
    'in the main suite: spec/clients.spec.ts, spec/adapters/mcp.spec.ts',
  'mcp-remote 0.15':
    'takes no fetch and imports its own from undici; reads a header file, which `xaa headers` can write',
  'agents 0.32 (Cloudflare)':
    'runs inside workerd alone; takes the options of the MCP SDK, `fetch` among them',
  'use-mcp 0.0.21': 'runs in browsers alone, and takes neither fetch nor authProvider',
  '@mastra/mcp 0.x': 'takes no fetch; what npm picks on Node 20',
}

/** HTTP clients: `open(baseUrl, xaaFetch)`, and `call(path)` gives the JSON that the server answers. */
export const httpClients = [
  {
    name: 'openai',
    way: 'fetch, no Authorization of its own',
    open(baseURL, fetch) {
      // It would always send its key: a header that is null is left out.
      const client = new OpenAI({ baseURL, fetch, apiKey: 'none', defaultHeaders: { Authorization: null } })
      return { call: (path) => client.post(path, { body: { model: 'any' } }) }
    },
  },
  {
    name: '@anthropic-ai/sdk',
    way: 'fetch, no key of its own',
    open(baseURL, fetch) {
      const defaultHeaders = { Authorization: null, 'X-Api-Key': null }
      const client = new Anthropic({ baseURL, fetch, apiKey: null, authToken: null, defaultHeaders })
      return { call: (path) => client.post(path, { body: { model: 'any' } }) }
    },
  },
  {
    ...{ name: 'ky', way: 'fetch' },
    open(base, fetch) {
      const client = ky.create({ fetch })
      return { call: (path) => client.post(absolute(base, path), { json: {} }).json() }
    },
  },
  {
    ...{ name: 'ofetch', way: 'createFetch' },
    open(base, fetch) {
      const client = createFetch({ fetch, Headers })
      return { call: (path) => client(absolute(base, path), { method: 'POST', body: {} }) }
    },
  },
  {
    ...{ name: 'axios', way: 'fetch adapter' },
    open(baseURL, fetch) {
      const client = axios.create({ baseURL, adapter: 'fetch', env: { fetch } })
      return { call: async (path) => (await client.post(path, {})).data }
    },
  },
  {
    ...{ name: 'wretch', way: 'fetchPolyfill' },
    open(base, fetch) {
      const client = wretch().fetchPolyfill(fetch)
      return { call: (path) => client.url(absolute(base, path)).post({}).json() }
    },
  },
  {
    ...{ name: 'openapi-fetch', way: 'fetch' },
    open(base, fetch) {
      return {
        async call(path) {
          const url = new URL(absolute(base, path))
          const client = createClient({ baseUrl: url.origin, fetch })
          const { data, error } = await client.POST(url.pathname + url.search, { body: {} })
          if (error !== undefined) throw error
          return data
        },
      }
    },
  },
]

const absolute = (base, path) => (path.startsWith('http') ? path : base + path)
