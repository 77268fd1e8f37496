// What a conversation is put together from, without a window.

import { describe, expect, test } from 'vitest'
import { answer, coverage, outcome, question, wants } from '../dev/chat'
import { servers } from '../dev/servers'
import { barred, newCase } from './cases'
import { commanded, offered } from './commands'
import { added, cameAbout, grouped, lived, merged, offset, stagesOf } from './talk'
import type { ChatPush, EntryView, OutcomeView } from './types'

const q = (n: number, over: Partial<EntryView> = {}): EntryView => question(n, '09:00:00', `q${n}`, over)
const seqs = (all: readonly EntryView[]): number[] => all.map((e) => e.seq)
let revs = 0
const push = (over: Partial<ChatPush>): ChatPush => ({ id: 't', rev: ++revs, entry: null, index: 0, part: null, live: null, idle: false, ...over })
const ended = (over: Partial<OutcomeView>): OutcomeView => outcome(1, 1, '09:00:00', over).outcome!

describe('entries', () => {
  test('have their place, whatever the order they come in', () => {
    const all = [4, 1, 3, 2, 3].reduce<readonly EntryView[]>((s, n) => added(s, q(n)), [])
    expect(seqs(all)).toEqual([1, 2, 3, 4])
  })
  test('take away what they stand in for, and keep what came after themselves', () => {
    expect(seqs(added([q(1), q(2), q(3), q(9)], q(5, { versions: [2, 5] })))).toEqual([1, 5, 9])
    expect(seqs(added([q(1), q(2)], answer(5, 1, '09:00:00', '', { versions: [2, 5] })))).toEqual([1, 2, 5]) // a question is no answer
  })
  test('of a newer page go after the older ones, or replace all when there are none', () => {
    expect(seqs(merged([q(1), q(2), q(3)], [q(3), q(4)], true))).toEqual([1, 2, 3, 4])
    expect(seqs(merged([q(1), q(2)], [q(7)], false))).toEqual([7])
  })
})

describe('turns', () => {
  test('hold calls of several answers in one list until there is text', () => {
    const [t] = grouped([q(1), answer(2, 1, '09:00:00', '', { calls: [wants('a', 's', 'x', {})] }), answer(3, 1, '09:00:00', '', { calls: [wants('b', 's', 'y', {})] }), answer(4, 1, '09:00:00', 'So.'), answer(5, 1, '09:00:00', '', { calls: [wants('c', 's', 'z', {})] })])
    expect(t?.parts.map((p) => (p.kind === 'calls' ? p.calls.length : p.entry.text))).toEqual([2, 'So.', 1])
  })
  test('are the same objects while their entries are', () => {
    const before = grouped(coverage)
    expect(grouped([...coverage, q(20)], before)[0]).toBe(before[0])
    expect(grouped(coverage.with(-1, { ...coverage.at(-1)! }), before)[0]).not.toBe(before[0])
  })
  test('whose question is not loaded still have what followed', () => {
    const [t] = grouped(coverage.slice(3))
    expect(t?.question).toBeNull()
    expect(cameAbout(t!)).toMatchObject({ asked: -1, whole: -1, cited: [1, 2, 9], findings: 1 })
  })
})

describe('what is under way', () => {
  const live = { rev: 0, phase: 'asking', since: '', model: 'm', parts: [], running: [{ id: 'a', server: 's', tool: 't', effect: 'read', state: 'running' }], retry: '', sent: null } as const
  const some = { ...live, parts: [], running: [...live.running] }
  test('grows by parts, begins by itself, and ends', () => {
    const a = lived(null, push({ part: { kind: 'text', text: 'one', name: '' } }), 'm')
    expect(lived(a, push({ part: { kind: 'text', text: ' two', name: '' } }), 'm')?.parts).toEqual([{ kind: 'text', text: 'one two', name: '' }])
    expect(lived(a, push({ idle: true }), 'm')).toBeNull()
  })
  test('a part far away begins the next one: there are no holes', () => expect(lived(some, push({ index: 1e9, part: { kind: 'text', text: 'x', name: '' } }), 'm')?.parts).toHaveLength(1))
  test('what it holds already is not added again', () => {
    const held = { ...some, rev: 1e9, parts: [{ kind: 'text' as const, text: 'one', name: '' }] }
    expect(lived(held, push({ rev: 1e9, part: { kind: 'text', text: 'one', name: '' } }), 'm')?.parts[0]?.text).toBe('one')
    expect(lived(held, push({ rev: 1e9 + 1, part: { kind: 'text', text: ' two', name: '' } }), 'm')?.parts[0]?.text).toBe('one two')
  })
  test('a call that ended does not run', () => expect(lived(some, push({ entry: outcome(3, 1, '09:00:00', { id: 'a' }) }), 'm')?.running).toEqual([]))
})

describe('stages', () => {
  test.each<[Partial<OutcomeView>, string[]]>([
    [{ state: 'ok' }, ['passed', 'passed', 'passed']], [{ state: 'ok', asked: true }, ['passed', 'asked', 'passed']], [{ state: 'denied', stage: 'decide' }, ['stopped', 'not reached', 'not reached']], [{ state: 'denied', stage: 'Consent', asked: true }, ['passed', 'stopped', 'not reached']],
    [{ state: 'failed' }, []], [{ state: 'cancelled' }, []], [{ state: 'refused' }, []], [{ state: 'denied', stage: 'elsewhere' }, []],
  ])('%o', (over, want) => expect(stagesOf(ended(over)).filter((s) => ['decide', 'consent', 'outcome'].includes(s.name)).map((s) => s.state)).toEqual(want))
  test.each([[-1, ''], [0, '+0.00 s'], [2110, '+2.11 s'], [11_400, '+11.4 s'], [125_000, '+2 min 5 s']])('%d ms after is "%s"', (ms, words) => expect(offset(ms)).toBe(words))
})

describe('commands', () => {
  const known = { servers, resources: [] }
  test('are only at the beginning', () => {
    expect(commanded('what is /run for?', known)).toBeNull()
    expect(offered('see /ru', known)).toBeNull()
    expect(commanded('/etc/passwd is what?', known)).toBeNull()
    expect(commanded('/delete it', known)).toContain('There is no command /delete')
  })
  test('call with the arguments as they were written', () => expect(commanded('/tool sentinel.query {"query": "a  b",\n"rowCap": 1}', known)).toEqual({ kind: 'call', server: 'sentinel', tool: 'query', args: '{"query": "a  b",\n"rowCap": 1}' }))
  test('offer nothing of a server that nobody approved', () => expect(offered('/run ', known)?.offers.some((o) => o.label.startsWith('ticketing'))).toBe(false))
})

describe('a case', () => {
  const m = (name: string, local: boolean) => ({ name, kind: 'openai', url: '', model: '', local, hasKey: true, keyName: '', header: '', images: false, reasons: false, context: 0, output: 0, prices: { input: 0, cached: 0, output: 0 } }) as const
  test('bars what is elsewhere, or what it does not name', () => {
    expect(barred(m('a', false), undefined, false)).toBe('')
    expect(barred(m('a', false), undefined, true)).toContain('Settings')
    expect(barred(m('a', false), { ...newCase(), name: 'X', localOnly: true }, false)).toContain('X allows only')
    expect(barred(m('a', true), { ...newCase(), name: 'X', models: ['b'] }, false)).toContain('X does not name it')
    expect(barred(m('b', true), { ...newCase(), models: ['b'], localOnly: true }, true)).toBe('')
  })
})
