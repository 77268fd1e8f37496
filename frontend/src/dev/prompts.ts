// Made-up consent requests: level 1 with a preview, level 2 with a name to type, level 3.

import type { DiffLine, PromptView } from '../lib/types'

const diff = (text: string): DiffLine[] => {
  let [old, neu] = [0, 0]
  return text.split('\n').map((l) => {
    const sign = (l[0] ?? ' ') as DiffLine['sign']
    if (sign !== '+') old++
    if (sign !== '-') neu++
    return { sign, old: sign === '+' ? 0 : old, new: sign === '-' ? 0 : neu, text: l.slice(1) }
  })
}
export const ruleDiff = diff(` title: LSASS handle from an unusual parent
 id: 5d0b7c1e-3f52-4c4e-9a7d-2f3c3a1b9e44
 status: experimental
 author: N. Okafor
 date: 2026-11-23
 logsource:
   product: windows
   service: security
 detection:
   selection:
     EventID:
       - 4656
+      - 4663
     ObjectName|endswith: '\\lsass.exe'
     AccessMask:
       - '0x1410'
+      - '0x1fffff'
+  filter_backup:
+    ProcessName: 'C:\\ProgramData\\bagent\\bagent.exe'
-  condition: selection
+  condition: selection and not filter_backup
 falsepositives:
   - Backup agents that snapshot process memory
-level: medium
+level: high`)

const content = ruleDiff.filter((l) => l.sign !== '-').map((l) => l.text).join('\n')
const quoted = 'C:\\ProgramData\\bagent\\bagent.exe'
const start = content.indexOf(quoted)
const soon = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString()

export function promptWrite(): PromptView {
  const path = '/home/analyst/detections/rules/windows/lsass_handle_unusual_parent.yml'
  return {
    id: 'p-1', digest: '9f2c41d7a81be0550c1177d2943aa6f10b8de2c4', practice: false, question: 'Change the file lsass_handle_unusual_parent.yml?', consequence: 'changes 1 file, +5 −2 lines', level: 1,
    target: path, effect: 'write', server: 'filesystem', serverVersion: '2026.8.31', tool: 'write_file', tier: 'strong', enforced: 14, demanded: 14, pin: 'Pinned: definition and files unchanged since you approved them on 2026-11-18.',
    askedBy: 'Run', askedDetail: 'You started this call at 09:47:30.',
    args: [
      { pointer: '/path', kind: 'string', value: path, origin: 'you', detail: 'You, 09:47:30', spans: [], note: '' },
      { pointer: '/content', kind: 'string', value: content, origin: 'outside', detail: 'You, quoting #3', spans: [{ start, end: start + quoted.length, origin: 'outside', detail: 'Result #3, sentinel.query' }], note: 'The marked part comes from a tool result.' },
      { pointer: '/options/label', kind: 'string', value: 'invoice\u202Efdp.exe', origin: 'model', detail: 'Model', spans: [], note: '' },
      { pointer: '/overwrite', kind: 'boolean', value: 'true', origin: 'default', detail: '', spans: [], note: '' },
    ],
    exact: JSON.stringify({ content, options: { label: 'invoice\u202Efdp.exe' }, overwrite: true, path }),
    findings: [{ engine: 'hidden', rule: 'bidi', severity: 'warn', where: '/options/label', text: 'A right-to-left override makes “fdp.exe” read as “exe.pdf”.' }],
    leaves: 'Nothing', leavesDetail: 'The server has no network.', undo: 'Not by Cordon', undoDetail: 'Keep a copy of the old file if you may need it.', rule: 'consent.write', reason: 'Writes need your consent',
    also: [{ id: 'flow.quoted', reason: 'the text to write contains a tool result.', then: 'ask' }],
    preview: { path, exists: true, added: 5, removed: 2, lines: ruleDiff }, allowLabel: 'Write file once', opened: soon(-13), deadline: soon(107), armMillis: 800,
  }
}
export function promptHigh(): PromptView {
  return {
    ...promptWrite(), id: 'p-2', digest: '51b0e93c7d2208aa', question: 'Isolate WS-FIN-0142 from the network?', consequence: 'cuts every connection except the one to the EDR console', level: 2, target: 'WS-FIN-0142', effect: 'high', server: 'edr', serverVersion: '1.9.3', tool: 'isolate_host',
    args: [
      { pointer: '/hostname', kind: 'string', value: 'WS-FIN-0142', origin: 'you', detail: 'You, 09:51:58', spans: [], note: '' },
      { pointer: '/device_id', kind: 'string', value: '7f3a91c2-5d0e-4b8e-a1f4-0c2b6d9e8f10', origin: 'outside', detail: 'Result #2, edr.find_host', spans: [], note: 'Chosen by a tool result.' },
      { pointer: '/isolation_type', kind: 'string', value: 'full', origin: 'model', detail: 'Model', spans: [], note: '' },
      { pointer: '/token', kind: 'string', value: 'edr-responder', origin: 'secret', detail: 'Secret, by name', spans: [], note: '' },
    ],
    exact: '{"device_id":"7f3a91c2-5d0e-4b8e-a1f4-0c2b6d9e8f10","hostname":"WS-FIN-0142","isolation_type":"full"}', findings: [], preview: null, allowLabel: 'Isolate host', leaves: 'The 4 arguments', leavesDetail: 'To edr-api.corp[.]example over TLS, with the secret edr-responder.', undo: 'Yes, by a second call', undoDetail: 'edr.release_host, usually within 2 minutes.', rule: 'consent.high', reason: 'High-impact calls need the target’s name', also: [{ id: 'flow.target', reason: 'a tool result chose the device ID.', then: 'ask' }], deadline: soon(91),
  }
}
export const promptTwo = (): PromptView => ({ ...promptHigh(), id: 'p-3', level: 3, effect: 'irreversible', question: 'Wipe WS-FIN-0142?', consequence: 'erases the disk; it cannot be undone', allowLabel: 'Wipe host', undo: 'No', undoDetail: 'The disk is gone.' })
export const promptPractice = (): PromptView => ({ ...promptWrite(), id: 'p-4', practice: true, question: 'Write the file note.txt?', consequence: 'creates 1 file in an empty practice folder', findings: [], args: promptWrite().args.slice(0, 1), exact: '{"path":"note.txt"}', server: 'practice', serverVersion: '', tool: 'write_file', also: [], preview: { path: '/tmp/practice/note.txt', exists: false, added: 2, removed: 0, lines: [{ sign: '+', old: 0, new: 1, text: 'Practice.' }, { sign: '+', old: 0, new: 2, text: 'Nothing depends on this file.' }] } })
