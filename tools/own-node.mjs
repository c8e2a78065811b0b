// Runs a JavaScript file with the Node that runs npm.
//
// The official conformance suite needs a newer Node than the project does, and gets it as a development dependency.
// npm puts the commands of dependencies first in the PATH of its scripts, so a plain `node` there would be that one, and
// the specs would no longer show that the oldest supported Node works.
import { spawn } from 'node:child_process'

const node = process.env.npm_node_execpath ?? process.execPath
const child = spawn(node, process.argv.slice(2), { stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === null ? 1 : 128)
})
