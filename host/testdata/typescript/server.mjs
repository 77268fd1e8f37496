// A server of the TypeScript SDK of 2026, which speaks nothing older, for tests.
import { McpServer, ResourceTemplate, inputRequired, completable, acceptedContent } from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import { z } from 'zod'

serveStdio(() => {
  const s = new McpServer({ name: 'ts', title: 'TypeScript', version: '2' }, { capabilities: { tools: {}, resources: {}, prompts: {} } })
  s.registerTool('read_echo', { description: 'Reads back.', inputSchema: z.object({ text: z.string() }), outputSchema: z.object({ text: z.string() }) },
    async ({ text }) => ({ content: [{ type: 'text', text }], structuredContent: { text } }))
  s.registerTool('get_name', { inputSchema: z.object({}) }, async (_args, ctx) => {
    const given = acceptedContent(ctx.mcpReq.inputResponses, 'who')
    if (!given) return inputRequired({ inputRequests: { who: inputRequired.elicit({ message: 'Who?', requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } }) } })
    return { content: [{ type: 'text', text: `hello ${given.name}` }] }
  })
  s.registerTool('get_summary', { inputSchema: z.object({}) }, async () =>
    inputRequired({ inputRequests: { text: inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: 'Summarise.' } }], maxTokens: 100 }) } }))
  s.registerResource('one', 'memo://one', { mimeType: 'text/plain' }, async (uri) => ({ contents: [{ uri: uri.href, text: 'memo' }] }))
  s.registerResource('case', new ResourceTemplate('case://{id}/notes', { list: undefined }), {}, async (uri, { id }) => ({ contents: [{ uri: uri.href, text: `notes of ${id}` }] }))
  s.registerPrompt('triage', { argsSchema: z.object({ case: completable(z.string(), (v) => [v + '1', v + '2']) }) }, async (args) => ({ messages: [{ role: 'user', content: { type: 'text', text: `Triage ${args.case}` } }] }))
  return s
}, { legacy: 'reject' })
