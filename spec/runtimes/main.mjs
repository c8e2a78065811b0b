// Runs the suite in a runtime that reads files: Node, Bun, Deno. Prints the results as the last line.
import * as entry from 'xaa-fetch'
import { runSuite } from './suite.mjs'

const environment = globalThis.process.env
const results = await runSuite(entry, JSON.parse(environment.XAA_PLACES), { requestStreams: true })
console.log(JSON.stringify(results))
