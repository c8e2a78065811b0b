// Runs the suite in a runtime that reads files: Node, Bun, Deno. Prints the results as the last line.
import * as entry from 'xaa-fetch'
import * as testing from 'xaa-fetch/testing'
import { runKit, runListening } from './kit.mjs'
import { runSuite } from './suite.mjs'

const environment = globalThis.process.env
const results = await runSuite(entry, JSON.parse(environment.XAA_PLACES), { requestStreams: true })
results.push(...(await runKit(entry, testing)), ...(await runListening(entry, testing)))
console.log(JSON.stringify(results))
