// An MCP server of a few lines, for the window's tests. Its description of echo comes from a file beside it, so that a
// test can change what it offers without changing its program. "--mode" makes it misbehave in one way.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const mode = process.argv[2] ?? ''
const about = readFileSync(new URL('about.txt', import.meta.url), 'utf8').trim()
const text = { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] }
const tools = [
  { name: 'read_env', description: 'Says whether TOKEN is set.', inputSchema: { type: 'object' } },
  { name: 'echo', description: about, inputSchema: text },
  { name: 'isolate_host', description: 'Cuts a computer off the network.', inputSchema: { type: 'object', properties: { host: { type: 'string' } }, required: ['host'] } },
]
if (mode === 'cyclic') tools.push({ name: 'cyclic', description: 'Refers to itself.', inputSchema: { type: 'object', properties: { next: { $ref: '#' } } } })

if (mode === 'reader') tools.push({ name: 'read_note', description: 'Reads a file.', inputSchema: { type: 'object', properties: { path: { type: 'string' } }, required: ['path'] } })

if (mode === 'asker') tools.push({ name: 'read_queue', description: 'Asks which queue, and says it.', inputSchema: { type: 'object' } })
let asked // the call that waits for a person

const send = (id, result) => console.log(JSON.stringify({ jsonrpc: '2.0', id, result }))
const say = (id, said) => send(id, { content: [{ type: 'text', text: said }] })
console.error('own server started')
if (mode === 'hungry') for (const held = []; ; ) held.push(Buffer.alloc(16 << 20, 1))

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line)
  if (id === undefined) return
  if (id === 'q1') {
    say(asked, JSON.stringify(JSON.parse(line).result))
    return
  }
  if (method === 'initialize') {
    if (mode === 'long-line') {
      process.stdout.write('x'.repeat(100 << 20) + '\n')
      return
    }
    send(id, { protocolVersion: '2025-11-25', capabilities: mode === 'offers' ? { tools: {}, prompts: {}, resources: {} } : { tools: {} }, serverInfo: { name: 'own', version: '1.2.3' } })
  } else if (method === 'tools/list') send(id, { tools })
  else if (method === 'prompts/list') send(id, { prompts: [{ name: 'summary', description: 'Summarises the notes.' }] })
  else if (method === 'prompts/get') send(id, { messages: [{ role: 'user', content: { type: 'text', text: 'Summarise the notes.' } }] })
  else if (method === 'resources/list') send(id, { resources: [{ uri: 'note://one', name: 'one', mimeType: 'text/plain' }] })
  else if (method === 'resources/templates/list') send(id, { resourceTemplates: [] })
  else if (method === 'resources/read') send(id, { contents: [{ uri: params.uri, mimeType: 'text/plain', text: `note of ${params.uri}` }] })
  else if (method === 'tools/call' && params.name === 'echo') say(id, params.arguments.text)
  else if (method === 'tools/call' && params.name === 'isolate_host') say(id, `${params.arguments.host} is cut off`)
  else if (method === 'tools/call' && params.name === 'read_queue') {
    asked = id
    const properties = { queue: { type: 'string', title: 'Queue', description: 'Where the ticket goes.', default: 'SOC tier 1' }, priority: { type: 'integer', title: 'Priority', minimum: 1, maximum: 4 }, notify: { type: 'boolean', title: 'Tell the owner' },
      kind: { type: 'string', title: 'Kind', enum: ['incident', 'request'] }, teams: { type: 'array', title: 'Teams', items: { type: 'string', enum: ['network', 'identity', 'endpoint'] } } }
    console.log(JSON.stringify({ jsonrpc: '2.0', id: 'q1', method: 'elicitation/create', params: { mode: 'form', message: 'Which queue should this ticket go to?', requestedSchema: { type: 'object', properties, required: ['queue', 'priority'] } } }))
  } else if (method === 'tools/call' && params.name === 'read_note') {
    try {
      say(id, readFileSync(params.arguments.path, 'utf8'))
    } catch (e) {
      say(id, `refused: ${e.code}`)
    }
  } else if (method === 'tools/call' && params.name === 'read_env') {
    const token = process.env.TOKEN
    console.error(`TOKEN is ${token}`) // what a careless server does
    say(id, token === undefined ? 'TOKEN is not set' : 'TOKEN is set, sha256 ' + createHash('sha256').update(token).digest('hex'))
  } else console.log(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'no such method' } }))
})
