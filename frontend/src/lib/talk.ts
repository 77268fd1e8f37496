// A conversation as it is drawn: its entries in order, put together to turns, and what a turn came about through.

import { cited } from './markdown'
import type { ChatPush, EntryView, LiveView, OutcomeView, ProposedView, RunningView, StageView } from './types'

/** One call of a turn: what the model wanted, how it goes, and how it ended. */
export interface Call { key: string; proposed: ProposedView | null; entry: EntryView | null; at: string }
export type Part = { kind: 'answer'; key: number; entry: EntryView } | { kind: 'calls'; key: string; calls: Call[] }
/** A question with all that followed it. Without a question when that is among the older entries. */
export interface Turn { seq: number; question: EntryView | null; parts: Part[]; end: EntryView | null; entries: readonly EntryView[] }

/** Puts an entry in its place. One that is there already is replaced; one that stands in another's place takes away that one with what followed it. */
export function added(entries: readonly EntryView[], e: EntryView): readonly EntryView[] {
  const same = entries.findIndex((x) => x.seq === e.seq)
  if (same >= 0) return entries.with(same, e)
  const fork = entries.findIndex((x) => x.kind === e.kind && e.versions.includes(x.seq))
  const kept = fork < 0 ? entries : entries.filter((x, i) => i < fork || x.seq > e.seq)
  const at = kept.findLastIndex((x) => x.seq < e.seq) + 1
  return [...kept.slice(0, at), e, ...kept.slice(at)]
}

/** A newer page, with the older entries that were loaded before it. */
export function merged(entries: readonly EntryView[], page: readonly EntryView[], more: boolean): readonly EntryView[] {
  const first = page[0]
  return first && more ? [...entries.filter((e) => e.seq < first.seq), ...page] : page
}

/** Puts entries together to turns. A turn whose entries are the same objects as before is the same object. */
export function grouped(entries: readonly EntryView[], before: readonly Turn[] = []): Turn[] {
  const known = new Map(before.map((t) => [t.seq, t]))
  const mine = new Map<number, EntryView[]>()
  for (const e of entries) {
    const t = mine.get(e.turn)
    if (t) t.push(e)
    else mine.set(e.turn, [e])
  }
  return [...mine].map(([seq, its]) => {
    const old = known.get(seq)
    return old && old.entries.length === its.length && old.entries.every((e, k) => e === its[k]) ? old : turn(seq, its)
  })
}

function turn(seq: number, entries: readonly EntryView[]): Turn {
  const t: Turn = { seq, question: null, parts: [], end: null, entries }
  // Some models count their calls anew with every answer, so an id may come again: the first outcome after the answer is meant.
  const open = new Set(entries.filter((e) => e.outcome))
  const ended = (id: string, after: number): EntryView | null => {
    for (const e of open) if (e.outcome?.id === id && e.seq > after) { open.delete(e); return e }
    return null
  }
  const calls = (key: string): Call[] => {
    const last = t.parts.at(-1)
    if (last?.kind === 'calls') return last.calls
    const fresh: Part = { kind: 'calls', key: `calls ${key}`, calls: [] }
    t.parts.push(fresh)
    return fresh.calls
  }
  for (const e of entries) {
    if (e.kind === 'question') t.question = e
    else if (e.kind === 'end') t.end = e
    else if (e.kind === 'answer') {
      if (e.text.trim() !== '' || e.reasoning !== '' || e.versions.length > 1 || e.calls.length === 0) t.parts.push({ kind: 'answer', key: e.seq, entry: e })
      for (const [i, p] of e.calls.entries()) calls(String(e.seq)).push({ key: `${e.seq} ${i}`, proposed: p, entry: ended(p.id, e.seq), at: e.at })
    } else if (open.delete(e)) {
      calls(String(e.seq)).push({ key: `${e.seq}`, proposed: null, entry: e, at: e.at })
    }
  }
  return t
}

/** What is under way after a push. A new entry takes away what it was made of. */
export function lived(live: LiveView | null, p: ChatPush, model: string): LiveView | null {
  let now = p.live ?? live
  if (p.idle) return p.live
  if (p.part) {
    if (now && p.rev <= now.rev) return now // it is in there
    const begun = now ?? { phase: 'asking', since: new Date().toISOString(), model, parts: [], running: [], retry: '', sent: null, rev: 0 }
    const old = begun.parts[p.index]
    const parts = begun.parts.slice()
    if (old) parts[p.index] = { ...old, text: old.text + p.part.text, name: p.part.name || old.name }
    else parts.push(p.part)
    now = { ...begun, parts, rev: p.rev }
  }
  if (now && !p.live && p.entry?.kind === 'answer') now = { ...now, parts: [] }
  const id = p.entry?.outcome?.id
  if (now && !p.live && id) now = { ...now, running: now.running.filter((r) => r.id !== id) }
  return now
}

/** The last word of each call: text of a "ran" row, or what became of it. */
export const outcomeWord: Record<OutcomeView['state'], string> = {
  ok: 'ran', 'tool-error': 'The tool says it failed', denied: 'Blocked', failed: 'Failed', cancelled: 'Cancelled', refused: 'Not called',
}
export const runningWord: Record<RunningView['state'], string> = { next: 'comes next', waiting: 'waits for you', running: 'runs' }

/** Opens by itself: nothing that was stopped is folded away. */
export const stopped = (o: OutcomeView): boolean => o.state === 'denied' || o.state === 'failed' || o.state === 'refused'

/** Whether what was asked for had no effect: a result can be kept back after the tool ran. */
export const ranNot = (o: OutcomeView): boolean => o.state === 'denied' && !o.stage.toLowerCase().includes('result') && o.stage.toLowerCase() !== 'outcome'

const stages = ['resolve', 'pin', 'inspect', 'label', 'decide', 'consent', 'intent', 'execute', 'inspect result', 'outcome']
/** The ten stages of a call as far as its outcome tells; none if it does not say how far it got, or if it did not get to the gate. */
export function stagesOf(o: OutcomeView): StageView[] {
  const stop = stages.indexOf(o.stage.toLowerCase())
  if (o.state === 'refused' || (stop < 0 && !ended(o))) return []
  return stages.map((name, i) => ({ name, detail: '', micros: 0, state: stop >= 0 && i > stop ? 'not reached' : i === stop ? 'stopped' : name === 'consent' && o.asked ? 'asked' : 'passed' }))
}
const ended = (o: OutcomeView): boolean => o.state === 'ok' || o.state === 'tool-error'
/** It got past the decision. */
export const allowed = (o: OutcomeView): boolean => ended(o) || o.state === 'failed' || (o.state === 'denied' && !ranNot(o))
/** "stage 5 of 10" */
export const stageOf = (o: OutcomeView): string => { const at = stages.indexOf(o.stage.toLowerCase()); return at < 0 ? '' : `stage ${at + 1} of ${stages.length}` }

export const nameOf = (c: { server: string; tool: string }): string => (c.server ? `${c.server}.${c.tool}` : c.tool)

/** All that the panel tells of a turn. Offsets are in milliseconds after the question, -1 if it is not known. */
export interface Came {
  question: EntryView | null
  answers: EntryView[]
  calls: Call[]
  outcomes: OutcomeView[]
  cited: number[]
  findings: number
  asked: number
  proposed: number
  executed: number
  used: number
  whole: number
}
export function cameAbout(t: Turn): Came {
  const answers = t.entries.filter((e) => e.kind === 'answer')
  const calls = t.parts.flatMap((p) => (p.kind === 'calls' ? p.calls : []))
  const ran = t.entries.filter((e) => e.outcome)
  const outcomes = ran.flatMap((e) => (e.outcome ? [e.outcome] : []))
  const start = Date.parse(t.question?.at ?? '')
  const after = (iso: string | undefined, less = 0): number => { const at = Date.parse(iso ?? '') - less - start; return Number.isFinite(at) ? Math.max(0, at) : -1 }
  const first = answers[0]
  const wants = answers.find((a) => a.calls.length > 0)
  const last = answers.at(-1)
  const end = t.end ?? t.entries.at(-1)
  return {
    question: t.question, answers, calls, outcomes,
    cited: last ? cited(last.text) : [],
    findings: outcomes.reduce((n, o) => n + o.findings.length, 0),
    asked: first ? after(first.at, first.tookMillis) : -1,
    proposed: after(wants?.at), executed: after(ran[0]?.at, ran[0]?.outcome?.tookMillis), used: last && last !== wants ? after(last.at) : -1, whole: after(end?.at),
  }
}
/** "+2.40 s", "+11.4 s", "+2 min 5 s" */
export function offset(millis: number): string {
  if (millis < 0) return ''
  if (millis < 10_000) return `+${(millis / 1000).toFixed(2)} s`
  if (millis < 60_000) return `+${(millis / 1000).toFixed(1)} s`
  return `+${Math.floor(millis / 60_000)} min ${Math.round((millis % 60_000) / 1000)} s`
}

/** What is under way, in words. */
export function phaseWords(live: LiveView): string {
  const model = live.model || 'the model'
  switch (live.phase) {
    case 'retrying': return `Asking ${model} again${live.retry ? `: ${live.retry}` : ''}`
    case 'waiting': return 'Waits for your decision'
    case 'calling': { const r = live.running.find((x) => x.state === 'running') ?? live.running[0]; return r ? `${nameOf(r)} runs` : 'A call runs' }
    case 'asking': {
      const last = live.parts.at(-1)
      return !last ? `Asking ${model}` : last.kind === 'reasoning' ? `${model} is thinking` : last.kind === 'call' ? `${model} wants to call ${last.name || 'a tool'}` : `${model} is answering`
    }
  }
}
